// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { allocate, release } from '../memory/blocks';

/**
 * The series of requests that this VM has: for each the host's ids of its four metrics, found by a hash of all that its
 * labels are made of. A series is never forgotten: Envoy keeps a metric for as long as the VM that made it lives.
 *
 *     an entry   | hash: u64, 0 for none | ids of four metrics: u32 each | - |
 */

const ENTRY_SIZE: u32 = 24;
const IDS: usize = 8;

let entries: usize = 0;
/** One less than the number of entries, a power of two of at least twice the most series. */
let mask: u32 = 0;
let most: u32 = 0;
let count: u32 = 0;

/** Makes room for so many series, if there is not more already; false if there is no memory. */
export function makeRoom(wanted: u32): bool {
  if (wanted <= most) return true;
  const size: u32 = 2 << (32 - <u32>clz<u32>((wanted - 1) | 1));
  const at = allocate(size * ENTRY_SIZE);
  if (!at) return false;
  memory.fill(at, 0, size * ENTRY_SIZE);
  const before = entries;
  const beforeMask = mask;
  entries = at;
  mask = size - 1;
  most = wanted;
  if (before) {
    for (let i: u32 = 0; i <= beforeMask; i++) {
      const from = before + i * ENTRY_SIZE;
      if (load<u64>(from) != 0) memory.copy(place(load<u64>(from)), from, ENTRY_SIZE);
    }
    release(before);
  }
  return true;
}

/** How many series there are. */
export function seriesCount(): u32 {
  return count;
}

/** Where the entry of a hash stands, or is to stand. */
function place(hash: u64): usize {
  let i = <u32>hash & mask;
  while (true) {
    const at = entries + i * ENTRY_SIZE;
    const found = load<u64>(at);
    if (found == hash || found == 0) return at;
    i = (i + 1) & mask;
  }
}

/** The ids of a series, or 0 if it is not there. */
export function find(hash: u64): usize {
  const at = place(hash);
  return load<u64>(at) == hash ? at + IDS : 0;
}

/** Adds a series that is not there; the answer is where its ids are to be written, 0 if there are `limit` already. */
export function add(hash: u64, limit: u32): usize {
  // The table is never more than half full: `place` ends.
  if (count >= min(limit, mask >> 1)) return 0;
  const at = place(hash);
  store<u64>(at, hash);
  count++;
  return at + IDS;
}
