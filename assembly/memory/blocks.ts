// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Memory for what outlives a callback and dies one day: configurations and what belongs to them.
 *
 * Blocks are powers of two. A freed block waits in the list of its size for the next one of that size, so
 * that what an old configuration held serves the one after it, and memory does not grow with the number of
 * listener updates. Nothing here traps: when there is no more memory, the answer is 0.
 *
 *     | next: usize | power: u32 | what the owner sees ... |
 *     ^ the block                ^ the address handed out, 8-aligned
 *
 * `next` chains the free blocks of one size, or, while in use, the blocks of one owner.
 */

const HEADER: usize = 8;
const SMALLEST: u32 = 5; // 32 bytes
const LARGEST: u32 = 25; // 32 MiB, more than the module's maximum memory
const PAGE: usize = 65536;

/** Heads of the lists of free blocks, one for each power of two. */
const free = memory.data(84, 4); // (LARGEST - SMALLEST + 1) * 4

/** Where memory that was never handed out begins. */
let frontier: usize = (__heap_base + 7) & ~7;

function list(power: u32): usize {
  return free + ((power - SMALLEST) << 2);
}

/** The smallest power of two that has room for a header and `size` bytes. */
function powerFor(size: usize): u32 {
  const whole = size + HEADER;
  return max<u32>(SMALLEST, 32 - <u32>clz<u32>(<u32>(whole - 1)));
}

/**
 * A block of at least `size` bytes, 8-aligned, its contents undefined; 0 if there is no memory left.
 * Never called while a stream is being served: it may ask the host for another page.
 */
export function takeBlock(size: usize): usize {
  if (size >= (<usize>1) << (LARGEST - 1)) return 0;
  const power = powerFor(size);
  let block = load<usize>(list(power));
  if (block) {
    store<usize>(list(power), load<usize>(block));
  } else {
    const end = frontier + ((<usize>1) << power);
    const pages = <i32>((end + PAGE - 1) / PAGE);
    if (pages > memory.size() && memory.grow(pages - memory.size()) < 0) return 0;
    block = frontier;
    frontier = end;
    store<u32>(block + 4, power);
  }
  store<usize>(block, 0);
  return block + HEADER;
}

/** Gives one block back, and nothing that was taken for it. */
export function giveBlock(address: usize): void {
  const block = address - HEADER;
  const head = list(load<u32>(block + 4));
  store<usize>(block, load<usize>(head));
  store<usize>(head, block);
}

/** A block that lives exactly as long as `owner`, which is a block itself; 0 if there is no memory left. */
export function takeFor(owner: usize, size: usize): usize {
  const address = takeBlock(size);
  if (address) {
    store<usize>(address - HEADER, load<usize>(owner - HEADER));
    store<usize>(owner - HEADER, address - HEADER);
  }
  return address;
}

/** Gives an owner back, together with everything that was taken for it. */
export function giveAll(owner: usize): void {
  let block = owner - HEADER;
  while (block) {
    const next = load<usize>(block);
    giveBlock(block + HEADER);
    block = next;
  }
}
