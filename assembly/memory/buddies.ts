// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Room of fixed size for pieces of any size that come and go while streams are served: a buddy allocator. A piece is a
 * power of two of bytes; two halves that are both free become one again, so that room never stays in pieces. Nothing is
 * asked of the host: when no piece is free the answer is 0, and the caller gives something back first.
 *
 *     one byte a unit: 0, or 1 + the order of the free piece that begins there | units of 256 bytes ...
 *     in a free piece: | next: usize | previous: usize |
 */

const UNIT_BITS: u32 = 8;
const MOST_ORDERS: u32 = 16;

let start: usize = 0;
let marks: usize = 0;
let orders: u32 = 0;

/** Heads of the lists of free pieces, one for each order. */
const free = memory.data(64, 4); // MOST_ORDERS * 4

/** The order of the room, and of a piece: how many times a unit doubles to hold `size` bytes. */
export function orderFor(size: u32): u32 {
  return size <= 1 << UNIT_BITS ? 0 : 32 - UNIT_BITS - <u32>clz<u32>(size - 1);
}

/** Bytes that a piece of an order takes. */
export function pieceSize(order: u32): u32 {
  return 1 << (UNIT_BITS + order);
}

/** Bytes that must be there for a room of an order, below MOST_ORDERS: its units and their marks. */
export function roomSize(order: u32): u32 {
  return pieceSize(order) + (1 << order);
}

/** Begins with an empty room of an order at `at`, 8-aligned, which has `roomSize` bytes. */
export function openRoom(at: usize, order: u32): void {
  start = at;
  orders = order + 1;
  marks = at + pieceSize(order);
  memory.fill(marks, 0, 1 << order);
  memory.fill(free, 0, MOST_ORDERS << 2);
  push(at, order);
}

/** A piece of an order; 0 if there is none, even of a larger one. */
export function takePiece(order: u32): usize {
  let found = order;
  while (found < orders && !load<usize>(free + (found << 2))) found++;
  if (found >= orders) return 0;
  const at = load<usize>(free + (found << 2));
  unlink(at, found);
  while (found > order) {
    found--;
    push(at + pieceSize(found), found);
  }
  return at;
}

/** Gives a piece back. */
export function givePiece(at: usize, order: u32): void {
  while (order + 1 < orders) {
    const buddy = start + ((at - start) ^ pieceSize(order));
    if (load<u8>(mark(buddy)) != order + 1) break;
    unlink(buddy, order);
    at = min(at, buddy);
    order++;
  }
  push(at, order);
}

function mark(at: usize): usize {
  return marks + ((at - start) >> UNIT_BITS);
}

function push(at: usize, order: u32): void {
  const head = free + (order << 2);
  const next = load<usize>(head);
  store<usize>(at, next);
  store<usize>(at, 0, 4);
  if (next) store<usize>(next, at, 4);
  store<usize>(head, at);
  store<u8>(mark(at), <u8>(order + 1));
}

function unlink(at: usize, order: u32): void {
  const next = load<usize>(at);
  const previous = load<usize>(at, 4);
  if (previous) store<usize>(previous, next);
  else store<usize>(free + (order << 2), next);
  if (next) store<usize>(next, previous, 4);
  store<u8>(mark(at), 0);
}
