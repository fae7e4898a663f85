// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Room of fixed size for pieces of any size that come and go while streams are served: a buddy allocator. A piece is a
 * power of two of bytes; two halves that are both free become one again, so that room never stays in pieces. Nothing is
 * asked of the host: when no piece is free the answer is 0, and the caller releases something first.
 *
 *     one byte a unit: 0, or 1 + the order of the free piece that begins there | units of 256 bytes ...
 *     in a free piece: | next: usize | previous: usize |
 */

const UNIT_BITS: u32 = 8;
const MOST_ORDERS: u32 = 16;

/** The order of a room or of a piece: how many times a unit doubles to hold `size` bytes. */
export function orderFor(size: u32): u32 {
  return size <= 1 << UNIT_BITS ? 0 : 32 - UNIT_BITS - <u32>clz<u32>(size - 1);
}

/** Bytes that a piece of an order takes. */
export function pieceSize(order: u32): u32 {
  return 1 << (UNIT_BITS + order);
}

/** Bytes that must be there for a room of an order, below MOST_ORDERS: its units, their marks, and heads of lists. */
export function roomSize(order: u32): u32 {
  return pieceSize(order) + (1 << order) + (MOST_ORDERS << 2);
}

@unmanaged
export class Room {
  private start: usize;
  private marks: usize;
  /** Heads of the lists of free pieces, one for each order. */
  private free: usize;
  private orders: u32;

  /** Begins with an empty room of an order at `at`, 8-aligned, which has `roomSize` bytes. */
  open(at: usize, order: u32): void {
    this.start = at;
    this.orders = order + 1;
    this.free = at + pieceSize(order);
    this.marks = this.free + (MOST_ORDERS << 2);
    memory.fill(this.free, 0, (MOST_ORDERS << 2) + (1 << order));
    this.push(at, order);
  }

  /** A piece of an order; 0 if there is none, even of a larger one. */
  take(order: u32): usize {
    let found = order;
    while (found < this.orders && !load<usize>(this.free + (found << 2))) found++;
    if (found >= this.orders) return 0;
    const at = load<usize>(this.free + (found << 2));
    this.unlink(at, found);
    while (found > order) {
      found--;
      this.push(at + pieceSize(found), found);
    }
    return at;
  }

  /** Releases a piece. */
  release(at: usize, order: u32): void {
    while (order + 1 < this.orders) {
      const buddy = this.start + ((at - this.start) ^ pieceSize(order));
      if (load<u8>(this.mark(buddy)) != order + 1) break;
      this.unlink(buddy, order);
      at = min(at, buddy);
      order++;
    }
    this.push(at, order);
  }

  private mark(at: usize): usize {
    return this.marks + ((at - this.start) >> UNIT_BITS);
  }

  private push(at: usize, order: u32): void {
    const head = this.free + (order << 2);
    const next = load<usize>(head);
    store<usize>(at, next);
    store<usize>(at, 0, 4);
    if (next) store<usize>(next, at, 4);
    store<usize>(head, at);
    store<u8>(this.mark(at), <u8>(order + 1));
  }

  private unlink(at: usize, order: u32): void {
    const next = load<usize>(at);
    const previous = load<usize>(at, 4);
    if (previous) store<usize>(previous, next);
    else store<usize>(this.free + (order << 2), next);
    if (next) store<usize>(next, previous, 4);
    store<u8>(this.mark(at), 0);
  }
}

/** Bytes that a Room takes. */
export const ROOM_SIZE: usize = offsetof<Room>();
