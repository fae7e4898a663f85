// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { giveBlock, takeBlock } from './blocks';
import { givePiece, openRoom, orderFor, pieceSize, roomSize, takePiece } from './buddies';
import { hashOf } from './hash';
import { Slice, sameBytes, slice } from './slice';

/**
 * A cache from bytes to bytes, for one VM: what was kept is found by content only, and the entry that was not asked for
 * longest goes first. Its room is taken when it is opened; keeping and finding ask for no memory.
 *
 * Entries hang in short lists by their hash. A list never has more than MOST_IN_LIST entries: a newcomer pushes out the
 * last one. So whoever makes hashes collide (the seed is the VM's own) buys misses, which any new content costs as well,
 * and no long searches.
 *
 *     heads, one for each list: u32    entries: Entry    room for keys and values (buddies.ts)
 */
@unmanaged
class Entry {
  hash: u64;
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

let block: usize = 0;
let capacity: u32 = 0;
let lists: usize = 0;
let mask: u32 = 0;
let unused: usize = 0;
let newest: usize = 0;
let oldest: usize = 0;
let seed: u64 = 0;

let count: u32 = 0;
let bytes: u32 = 0;
let pushedOut: u32 = 0;

/** The hash of the key that was sought last. */
let soughtHash: u64 = 0;

const key = slice(memory.data(8, 4));

/** The most entries of the cache that is open; 0 if none is. */
export function cacheCapacity(): u32 {
  return capacity;
}

/** How many entries there are. */
export function cacheEntries(): u32 {
  return count;
}

/** Bytes of room that entries take. */
export function cacheBytes(): u32 {
  return bytes;
}

/** How many entries were ever pushed out by others. */
export function cacheEvictions(): u32 {
  return pushedOut;
}

/** Opens an empty cache for `entries` entries, 0 for none, in place of the one before; false if there is no memory. */
export function openCache(entries: u32, hashSeed: u64): bool {
  closeCache();
  if (!entries) return true;
  const order = orderFor(max(LEAST_ROOM, min(MOST_ROOM, entries * ROOM_FOR_EACH)));
  const listCount: u32 = 1 << (32 - <u32>clz<u32>(entries));
  const entriesAt = (listCount * 4 + 7) & ~7;
  const roomAt = entriesAt + entries * ENTRY_SIZE;
  block = takeBlock(roomAt + roomSize(order));
  if (!block) return false;
  lists = block;
  mask = listCount - 1;
  memory.fill(lists, 0, listCount * 4);
  for (let i = entries; i-- > 0; ) free(changetype<Entry>(block + entriesAt + i * ENTRY_SIZE));
  openRoom(block + roomAt, order);
  capacity = entries;
  seed = hashSeed;
  return true;
}

/** Closes the cache and gives its memory back. */
export function closeCache(): void {
  if (block) giveBlock(block);
  block = 0;
  capacity = 0;
  unused = 0;
  newest = 0;
  oldest = 0;
  count = 0;
  bytes = 0;
}

/** Finds the value that was kept for a key, which makes it the newest; false if there is none. */
export function find(wanted: Slice, value: Slice): bool {
  if (!capacity) return false;
  // A peer often sends several requests in a row: then not even a hash is needed.
  if (newest) {
    key.set(changetype<Entry>(newest).at, changetype<Entry>(newest).keySize);
    if (sameBytes(key, wanted)) {
      value.set(key.end(), changetype<Entry>(newest).valueSize);
      return true;
    }
  }
  const hash = hashOf(wanted, seed);
  soughtHash = hash;
  for (let at = load<usize>(listOf(hash)); at; at = changetype<Entry>(at).next) {
    const entry = changetype<Entry>(at);
    if (entry.hash != hash) continue;
    key.set(entry.at, entry.keySize);
    if (!sameBytes(key, wanted)) continue;
    if (at != newest) {
      unlink(entry);
      link(entry);
    }
    value.set(key.end(), entry.valueSize);
    return true;
  }
  return false;
}

/**
 * Keeps a value for the key that was sought last, and not found; `value` is then the kept copy. What would take more
 * than a quarter of the room is not kept, and `value` stays as it is.
 */
export function keep(newKey: Slice, value: Slice): void {
  const size = newKey.size + value.size;
  const order = orderFor(size);
  if (!capacity || pieceSize(order) * 4 > max(LEAST_ROOM, capacity * ROOM_FOR_EACH)) return;
  const hash = soughtHash;
  shorten(listOf(hash));
  if (!unused) pushOut(changetype<Entry>(oldest));
  let at = takePiece(order);
  while (!at) {
    pushOut(changetype<Entry>(oldest));
    at = takePiece(order);
  }
  const entry = changetype<Entry>(unused);
  unused = entry.next;
  memory.copy(at, newKey.at, newKey.size);
  memory.copy(at + newKey.size, value.at, value.size);
  value.at = at + newKey.size;
  entry.hash = hash;
  entry.at = at;
  entry.keySize = newKey.size;
  entry.valueSize = value.size;
  const list = listOf(hash);
  entry.next = load<usize>(list);
  store<usize>(list, changetype<usize>(entry));
  link(entry);
  count++;
  bytes += pieceSize(order);
}

function listOf(hash: u64): usize {
  return lists + ((<u32>hash & mask) << 2);
}

/** Makes room in a list for one more. */
function shorten(list: usize): void {
  let length: u32 = 0;
  let last: usize = 0;
  for (let at = load<usize>(list); at; at = changetype<Entry>(at).next) {
    last = at;
    length++;
  }
  if (length >= MOST_IN_LIST) pushOut(changetype<Entry>(last));
}

function pushOut(entry: Entry): void {
  let place = listOf(entry.hash);
  const at = changetype<usize>(entry);
  while (load<usize>(place) != at) place = load<usize>(place) + offsetof<Entry>('next');
  store<usize>(place, entry.next);
  unlink(entry);
  const order = orderFor(entry.keySize + entry.valueSize);
  givePiece(entry.at, order);
  free(entry);
  count--;
  bytes -= pieceSize(order);
  pushedOut++;
}

function free(entry: Entry): void {
  entry.next = unused;
  unused = changetype<usize>(entry);
}

/** Makes an entry the newest. */
function link(entry: Entry): void {
  entry.newer = 0;
  entry.older = newest;
  if (newest) changetype<Entry>(newest).newer = changetype<usize>(entry);
  else oldest = changetype<usize>(entry);
  newest = changetype<usize>(entry);
}

function unlink(entry: Entry): void {
  if (entry.newer) changetype<Entry>(entry.newer).older = entry.older;
  else newest = entry.older;
  if (entry.older) changetype<Entry>(entry.older).newer = entry.newer;
  else oldest = entry.newer;
}
