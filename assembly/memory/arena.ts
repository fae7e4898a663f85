// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { allocate, allocateFor, releaseAll } from './blocks';

/**
 * Memory for what one callback needs: handed out in a row, and all of it taken back at once when the next
 * callback begins. The host's answers land here (host/malloc.ts), and the codecs' results.
 *
 * While a stream is served the arena never grows: what does not fit is refused with 0, which the host turns
 * into an error of the call that asked for it. While a configuration is loaded, `reserve` makes room.
 */

/**
 * Bytes at hand for every callback: twice Envoy's default limit of 60 KiB on all request headers together, so
 * that one answer of the host and what is made from it fit side by side.
 */
const HOME_SIZE: u32 = 131072;
const home = memory.data(131072, 16);

let top: usize = home;
let limit: usize = home + HOME_SIZE;
let loans: usize = 0;
let refusedSize: usize = 0;

/** Starts over: everything handed out since the last call is gone. */
export function startOver(): void {
  if (loans) {
    releaseAll(loans);
    loans = 0;
    limit = home + HOME_SIZE;
  }
  top = home;
  refusedSize = 0;
}

/** `size` bytes, 8-aligned, until the next callback; 0 if they are not there. */
export function take(size: usize): usize {
  const at = top;
  if (size > limit - at) {
    refusedSize = size;
    return 0;
  }
  top = min(limit, (at + size + 7) & ~7);
  return at;
}

/** Where the arena stands, for `backTo`. */
export function mark(): usize {
  return top;
}

/** Takes back all that was handed out since `mark` said this. Not where `reserve` made room in between. */
export function backTo(marked: usize): void {
  top = marked;
}

/** How many bytes the last refused `take` of this callback wanted; 0 if none was refused. */
export function refused(): usize {
  return refusedSize;
}

/**
 * Makes sure that `size` more bytes can be taken in this callback; false if there is no memory for them.
 * Only while a configuration is loaded. What was taken before stays where it is.
 */
export function reserve(size: usize): bool {
  if (size <= limit - top) return true;
  const block = loans ? allocateFor(loans, size) : allocate(size);
  if (!block) return false;
  if (!loans) loans = block;
  top = block;
  limit = block + size;
  return true;
}
