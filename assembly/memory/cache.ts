// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { allocate, release } from './blocks';
import { hashOf } from './hash';
import { orderFor, pieceSize, ROOM_SIZE, Room, roomSize } from './room';
import { Slice, sameBytes, slice } from './slice';

/**
 * A cache from bytes to bytes: what was kept is found by content only (and by a number that says what was made of it), and the entry that was not asked for longest goes
 * first. Its room is allocated when it is opened; keeping and finding take no memory.
 *
 * Entries hang in short lists by their hash. A list never has more than MOST_IN_LIST entries: a newcomer pushes out the
 * last one. So whoever makes hashes collide (the seed is the VM's own) buys misses, which any new content costs as well,
 * and no long searches.
 *
 *     heads, one for each list: u32    entries: Entry    room for keys and values (room.ts)
 */
@unmanaged
class Entry {
  hash: u64;
  /** What was made of the key: for each use of the cache, and what it wants to know of a key, a number. */
  use: u32;
  /** The key's bytes, and the value's right behind them. */
  at: usize;
  keySize: u32;
  valueSize: u32;
  /** The next of the same list, or of the free ones. */
  next: usize;
  /** Its neighbours by time of use. */
  newer: usize;
  older: usize;
}

const ENTRY_SIZE: u32 = 40;
const MOST_IN_LIST: u32 = 8;

/** Bytes of room for each entry: the metadata of a usual peer, once as header and once decoded. */
const ROOM_FOR_EACH: u32 = 2048;
const LEAST_ROOM: u32 = 65536;
const MOST_ROOM: u32 = 8388608;

const key = slice(memory.data(8, 4));

@unmanaged
export class Cache {
  /** The most entries; 0: it is not open. */
  capacity: u32;
  /** How many entries there are. */
  count: u32;
  /** Bytes of room that entries take. */
  bytes: u32;
  /** How many entries were ever pushed out by others. */
  evictions: u32;
  private seed: u64;
  private room: Room;
  private roomBytes: u32;
  private block: usize;
  private lists: usize;
  private mask: u32;
  private unused: usize;
  private newest: usize;
  private oldest: usize;

  /**
   * Opens an empty cache for `entries` entries, 0 for none, in place of the one before; false if there is no memory, and
   * then it is closed.
   */
  open(entries: u32, hashSeed: u64): bool {
    this.close();
    if (!entries) return true;
    const order = orderFor(max(LEAST_ROOM, min(MOST_ROOM, entries * ROOM_FOR_EACH)));
    const listCount: u32 = 1 << (32 - <u32>clz<u32>(entries));
    const entriesAt = (listCount * 4 + <u32>ROOM_SIZE + 7) & ~7;
    const roomAt = entriesAt + entries * ENTRY_SIZE;
    const block = allocate(roomAt + roomSize(order));
    if (!block) return false;
    this.block = block;
    this.lists = block;
    this.mask = listCount - 1;
    memory.fill(block, 0, listCount * 4);
    for (let i = entries; i-- > 0; ) this.free(changetype<Entry>(block + entriesAt + i * ENTRY_SIZE));
    this.room = changetype<Room>(block + listCount * 4);
    this.room.open(block + roomAt, order);
    this.roomBytes = pieceSize(order);
    this.capacity = entries;
    this.seed = hashSeed;
    return true;
  }

  /** Closes the cache and releases its memory. */
  close(): void {
    if (this.block) release(this.block);
    this.block = 0;
    this.capacity = 0;
    this.unused = 0;
    this.newest = 0;
    this.oldest = 0;
    this.count = 0;
    this.bytes = 0;
  }

  /** The hash of a key, for `find` and `keep`. */
  hash(wanted: Slice): u64 {
    return hashOf(wanted, this.seed);
  }

  /** Whether the key is that of the entry that was used last: then not even its hash is needed. `value` as of `find`. */
  findNewest(wanted: Slice, use: u32, value: Slice): bool {
    return this.newest != 0 && isKeyOf(changetype<Entry>(this.newest), wanted, use, value);
  }

  /** Finds the value that was kept for a key with this hash, which makes it the newest; false if there is none. */
  find(wanted: Slice, hash: u64, use: u32, value: Slice): bool {
    if (!this.capacity) return false;
    for (let at = load<usize>(this.listOf(hash)); at; at = changetype<Entry>(at).next) {
      const entry = changetype<Entry>(at);
      if (entry.hash != hash || !isKeyOf(entry, wanted, use, value)) continue;
      if (at != this.newest) {
        this.unlink(entry);
        this.link(entry);
      }
      return true;
    }
    return false;
  }

  /**
   * Keeps a value for a key that is not there yet and has this hash; `value` is then the kept copy. What would take more
   * than a quarter of the room is not kept, and `value` stays as it is.
   */
  keep(newKey: Slice, hash: u64, use: u32, value: Slice): void {
    const size = newKey.size + value.size;
    const order = orderFor(size);
    if (!this.capacity || pieceSize(order) * 4 > this.roomBytes) return;
    this.shorten(this.listOf(hash));
    if (!this.unused) this.pushOut(changetype<Entry>(this.oldest));
    let at = this.room.take(order);
    while (!at && this.oldest) {
      this.pushOut(changetype<Entry>(this.oldest));
      at = this.room.take(order);
    }
    if (!at) return;
    const entry = changetype<Entry>(this.unused);
    this.unused = entry.next;
    memory.copy(at, newKey.at, newKey.size);
    memory.copy(at + newKey.size, value.at, value.size);
    value.at = at + newKey.size;
    entry.hash = hash;
    entry.use = use;
    entry.at = at;
    entry.keySize = newKey.size;
    entry.valueSize = value.size;
    const list = this.listOf(hash);
    entry.next = load<usize>(list);
    store<usize>(list, changetype<usize>(entry));
    this.link(entry);
    this.count++;
    this.bytes += pieceSize(order);
  }

  private listOf(hash: u64): usize {
    return this.lists + ((<u32>hash & this.mask) << 2);
  }

  /** Makes room in a list for one more. */
  private shorten(list: usize): void {
    let length: u32 = 0;
    let last: usize = 0;
    for (let at = load<usize>(list); at; at = changetype<Entry>(at).next) {
      last = at;
      length++;
    }
    if (length >= MOST_IN_LIST) this.pushOut(changetype<Entry>(last));
  }

  private pushOut(entry: Entry): void {
    let place = this.listOf(entry.hash);
    const at = changetype<usize>(entry);
    while (load<usize>(place) != at) place = load<usize>(place) + offsetof<Entry>('next');
    store<usize>(place, entry.next);
    this.unlink(entry);
    const order = orderFor(entry.keySize + entry.valueSize);
    this.room.release(entry.at, order);
    this.free(entry);
    this.count--;
    this.bytes -= pieceSize(order);
    this.evictions++;
  }

  private free(entry: Entry): void {
    entry.next = this.unused;
    this.unused = changetype<usize>(entry);
  }

  /** Makes an entry the newest. */
  private link(entry: Entry): void {
    entry.newer = 0;
    entry.older = this.newest;
    if (this.newest) changetype<Entry>(this.newest).newer = changetype<usize>(entry);
    else this.oldest = changetype<usize>(entry);
    this.newest = changetype<usize>(entry);
  }

  private unlink(entry: Entry): void {
    if (entry.newer) changetype<Entry>(entry.newer).older = entry.older;
    else this.newest = entry.older;
    if (entry.older) changetype<Entry>(entry.older).newer = entry.newer;
    else this.oldest = entry.newer;
  }
}

/** Whether an entry was kept for this key; `value` is then what was kept. */
function isKeyOf(entry: Entry, wanted: Slice, use: u32, value: Slice): bool {
  key.set(entry.at, entry.keySize);
  if (entry.use != use || !sameBytes(key, wanted)) return false;
  value.set(entry.at + entry.keySize, entry.valueSize);
  return true;
}
