// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { allocate, release } from './blocks';

/**
 * Records of one size, found by their ids in constant time. They come from chunks, which are allocated when all records
 * are in use and released when none of theirs is:
 *
 *     chunk   | next | previous | free records | records in use | record | record | ...
 *
 * Chunks that have free records are chained. One chunk without any record in use is kept for what comes next.
 *
 * This is the only place that may take memory while streams are served (tools/check-no-trap.ts), and it has a bound.
 */

/** What each record begins with. */
@unmanaged
export class Entry {
  id: u32;
  /** The next record with the same head, or of the free ones. */
  next: usize;
  chunk: usize;
}

@unmanaged
class Chunk {
  next: usize;
  previous: usize;
  /** The first of its free records. */
  free: usize;
  inUse: u32;
}

const CHUNK_HEADER: u32 = 16;
const RECORDS_IN_CHUNK: u32 = 128;

@unmanaged
export class Pool {
  /** How many records are in use. */
  live: u32;
  /** The most that may be. */
  private most: u32;
  private recordSize: u32;
  /** `headCount` lists of records, by their ids. Hosts count ids up, so that the lists fill evenly. */
  private heads: usize;
  private mask: u32;
  /** Chunks that have free records. */
  private chunks: usize;
  /** How many chunks have no record in use: 0 or 1. */
  private empty: u32;

  /**
   * Begins with no records. `heads` is room for `headCount` addresses, all 0; `headCount` is a power of two.
   * `recordSize` is a multiple of 8.
   */
  open(recordSize: u32, most: u32, heads: usize, headCount: u32): void {
    this.live = 0;
    this.most = most;
    this.recordSize = recordSize;
    this.heads = heads;
    this.mask = headCount - 1;
    this.chunks = 0;
    this.empty = 0;
  }

  /** Makes the first chunk now, so that there are records even if others take all memory before the first is needed. */
  fill(): void {
    if (!this.chunks) this.growByChunk();
  }

  private head(id: u32): usize {
    return this.heads + ((id & this.mask) << 2);
  }

  /** The record of an id, or null. */
  find(id: u32): Entry | null {
    for (let at = load<usize>(this.head(id)); at; at = changetype<Entry>(at).next) {
      if (changetype<Entry>(at).id == id) return changetype<Entry>(at);
    }
    return null;
  }

  /** The next record that has the id of this one, or null: where an id is a hash several may have it. */
  findNext(entry: Entry): Entry | null {
    for (let at = entry.next; at; at = changetype<Entry>(at).next) {
      if (changetype<Entry>(at).id == entry.id) return changetype<Entry>(at);
    }
    return null;
  }

  /** The first record of one of the `headCount` lists, for going through all. */
  first(list: u32): Entry | null {
    const at = load<usize>(this.head(list));
    return at ? changetype<Entry>(at) : null;
  }

  /** A new record for an id that has none; what it holds beside the id is undefined. null: as many as may be are in use,
   * or there is no memory left. */
  add(id: u32): Entry | null {
    if (this.live >= this.most || (!this.chunks && !this.growByChunk())) return null;
    const chunk = changetype<Chunk>(this.chunks);
    const entry = changetype<Entry>(chunk.free);
    chunk.free = entry.next;
    if (chunk.inUse == 0) this.empty--;
    chunk.inUse++;
    if (!chunk.free) this.unchain(chunk);
    entry.id = id;
    const head = this.head(id);
    entry.next = load<usize>(head);
    store<usize>(head, changetype<usize>(entry));
    this.live++;
    return entry;
  }

  /** Takes a record back. */
  remove(entry: Entry): void {
    const at = changetype<usize>(entry);
    let place = this.head(entry.id);
    while (load<usize>(place) != at) place = load<usize>(place) + offsetof<Entry>('next');
    store<usize>(place, entry.next);
    this.live--;
    const chunk = changetype<Chunk>(entry.chunk);
    entry.id = 0;
    entry.next = chunk.free;
    if (!chunk.free) this.chain(chunk);
    chunk.free = at;
    chunk.inUse--;
    if (chunk.inUse > 0) return;
    if (this.empty > 0) {
      this.unchain(chunk);
      release(entry.chunk);
    } else {
      this.empty = 1;
    }
  }

  /** Releases all chunks: no record is in use any more. */
  close(): void {
    for (let list: u32 = 0; list <= this.mask; list++) {
      for (let entry = this.first(list); entry; entry = this.first(list)) this.remove(entry);
    }
    if (this.empty > 0) release(this.chunks);
    this.chunks = 0;
    this.empty = 0;
  }

  private growByChunk(): bool {
    const at = allocate(CHUNK_HEADER + RECORDS_IN_CHUNK * this.recordSize);
    if (!at) return false;
    const chunk = changetype<Chunk>(at);
    chunk.free = 0;
    chunk.inUse = 0;
    for (let i = RECORDS_IN_CHUNK; i-- > 0; ) {
      const entry = changetype<Entry>(at + CHUNK_HEADER + i * this.recordSize);
      entry.id = 0;
      entry.chunk = at;
      entry.next = chunk.free;
      chunk.free = changetype<usize>(entry);
    }
    this.chain(chunk);
    this.empty = 1;
    return true;
  }

  private chain(chunk: Chunk): void {
    chunk.next = this.chunks;
    chunk.previous = 0;
    if (this.chunks) changetype<Chunk>(this.chunks).previous = changetype<usize>(chunk);
    this.chunks = changetype<usize>(chunk);
  }

  private unchain(chunk: Chunk): void {
    if (chunk.previous) changetype<Chunk>(chunk.previous).next = chunk.next;
    else this.chunks = chunk.next;
    if (chunk.next) changetype<Chunk>(chunk.next).previous = chunk.previous;
  }
}

/** Bytes that a Pool takes. */
export const POOL_SIZE: usize = offsetof<Pool>();
