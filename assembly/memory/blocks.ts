// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Memory for what outlives a callback and is released one day: configurations and what belongs to them, the cache's
 * room, chunks of the pools of streams.
 *
 * Blocks of any size lie one behind the other. A released block merges with free neighbours at once, so that memory
 * that was many small blocks can be one large block again. Nothing here traps: where there is no memory, the answer is 0.
 *
 *     | size, and 1 if in use | size of the block before | next | previous | what the owner sees ...
 *     ^ the block                                                          ^ the address handed out, 8-aligned
 *
 * `next` and `previous` chain the free blocks of one bin. In use, `next` chains the blocks of one owner.
 */

const HEADER: u32 = 16;
const BEFORE: usize = 4;
const NEXT: usize = 8;
const PREVIOUS: usize = 12;
const IN_USE: u32 = 1;
/** A block that is split leaves at least this much: a header and eight bytes. */
const SMALLEST: u32 = 24;
/** More than the module's maximum memory. */
const TOO_LARGE: usize = 1 << 26;
const PAGE: u32 = 65536;

/** Heads of the lists of free blocks: bin n holds sizes from 2^n up to 2^(n+1) - 1. */
const bins = memory.data(128, 4);

/** Where the blocks begin, where they end, and the last one of them; 0: there is none yet. */
const start: usize = (__heap_base + 7) & ~7;
let end: usize = start;
let last: usize = 0;
addMemory(<u32>memory.size() * PAGE);

function sizeOf(block: usize): u32 {
  return load<u32>(block) & ~IN_USE;
}

function isFree(block: usize): bool {
  return (load<u32>(block) & IN_USE) == 0;
}

function binFor(size: u32): usize {
  return bins + ((31 - clz<u32>(size)) << 2);
}

/**
 * A block of at least `size` bytes, 8-aligned, its contents undefined; 0 if there is no memory left. It may ask the
 * host for more memory: while streams are served only `Pool` calls it (memory/pool.ts).
 */
export function allocate(size: usize): usize {
  if (size >= TOO_LARGE) return 0;
  const whole = max<u32>(SMALLEST, (<u32>size + HEADER + 7) & ~7);
  let block = findFree(whole);
  if (!block) {
    if (!grow(whole)) return 0;
    block = findFree(whole);
    if (!block) return 0;
  }
  unlink(block);
  const rest = sizeOf(block) - whole;
  if (rest >= SMALLEST) {
    store<u32>(block, whole);
    addFree(block + whole, rest, whole);
  }
  store<u32>(block, sizeOf(block) | IN_USE);
  store<usize>(block, 0, NEXT);
  return block + HEADER;
}

/** Releases one block, and nothing that was allocated for it. */
export function release(address: usize): void {
  let block = address - HEADER;
  let size = sizeOf(block);
  let before = load<u32>(block, BEFORE);
  const next = block + size;
  if (next < end && isFree(next)) {
    unlink(next);
    size += sizeOf(next);
  }
  if (before && isFree(block - before)) {
    block -= before;
    unlink(block);
    size += before;
    before = load<u32>(block, BEFORE);
  }
  addFree(block, size, before);
}

/** A block that lives exactly as long as `owner`, which is a block itself; 0 if there is no memory left. */
export function allocateFor(owner: usize, size: usize): usize {
  const address = allocate(size);
  if (address) {
    store<usize>(address - HEADER, load<usize>(owner - HEADER, NEXT), NEXT);
    store<usize>(owner - HEADER, address - HEADER, NEXT);
  }
  return address;
}

/** Releases an owner together with everything that was allocated for it. */
export function releaseAll(owner: usize): void {
  let block = owner - HEADER;
  while (block) {
    const next = load<usize>(block, NEXT);
    release(block + HEADER);
    block = next;
  }
}

/** The first free block of at least `size` bytes, or 0: from the bin of this size, or else from one of larger sizes. */
function findFree(size: u32): usize {
  let bin = binFor(size);
  for (let block = load<usize>(bin); block; block = load<usize>(block, NEXT)) {
    if (sizeOf(block) >= size) return block;
  }
  for (bin += 4; bin < bins + 128; bin += 4) {
    if (load<usize>(bin)) return load<usize>(bin);
  }
  return 0;
}

/** Asks the host for as many pages as a block of `size` bytes needs; false if there are none left. */
function grow(size: u32): bool {
  const free = last && isFree(last) ? sizeOf(last) : 0;
  const pages = <i32>((size - min(free, size) + PAGE - 1) / PAGE);
  if (memory.grow(pages) < 0) return false;
  addMemory(<u32>memory.size() * PAGE);
  return true;
}

/** Takes in the memory up to `newEnd`: the last block grows, if it is free, or a new one follows it. */
function addMemory(newEnd: usize): void {
  const size = <u32>(newEnd - end);
  if (size < SMALLEST) return;
  if (last && isFree(last)) {
    unlink(last);
    end = newEnd;
    addFree(last, sizeOf(last) + size, load<u32>(last, BEFORE));
  } else {
    const block = end;
    end = newEnd;
    addFree(block, size, last ? sizeOf(last) : 0);
  }
}

/** Makes a free block of what lies at an address, and puts it into its bin. `before`: the size of the block before it. */
function addFree(block: usize, size: u32, before: u32): void {
  store<u32>(block, size);
  store<u32>(block, before, BEFORE);
  const next = block + size;
  if (next < end) store<u32>(next, size, BEFORE);
  else last = block;
  const bin = binFor(size);
  const first = load<usize>(bin);
  store<usize>(block, first, NEXT);
  store<usize>(block, 0, PREVIOUS);
  if (first) store<usize>(first, block, PREVIOUS);
  store<usize>(bin, block);
}

/** Takes a free block out of its bin. */
function unlink(block: usize): void {
  const next = load<usize>(block, NEXT);
  const previous = load<usize>(block, PREVIOUS);
  if (previous) store<usize>(previous, next, NEXT);
  else store<usize>(binFor(sizeOf(block)), next);
  if (next) store<usize>(next, previous, PREVIOUS);
}
