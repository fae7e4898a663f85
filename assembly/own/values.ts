// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { hashOf } from '../memory/hash';
import { Slice, sameBytes } from '../memory/slice';

/**
 * What all configurations of this VM send: who sees such a value on a request asks whether an earlier run of the chain
 * wrote it (runs.ts). Finding one takes the same time for one configuration as for thousands.
 */

/** A value that a configuration sends in one of its headers. */
@unmanaged
export class Value {
  private next: usize;
  private hash: u64;
  private bytes: Slice;

  /** Adds the value, if there is one. This object must live until it is removed. */
  add(bytes: Slice): void {
    this.bytes = bytes;
    if (bytes.size == 0) return;
    this.hash = hashOf(bytes, 0);
    const list = listOf(this.hash);
    this.next = load<usize>(list);
    store<usize>(list, changetype<usize>(this));
    const count = countOf(bytes.size);
    store<u32>(count, load<u32>(count) + 1);
  }

  /** Removes the value. */
  remove(): void {
    const size = this.bytes.size;
    if (size == 0) return;
    let place = listOf(this.hash);
    while (load<usize>(place) != changetype<usize>(this)) place = load<usize>(place);
    store<usize>(place, this.next);
    store<u32>(countOf(size), load<u32>(countOf(size)) - 1);
  }

  static find(wanted: Slice): bool {
    const hash = hashOf(wanted, 0);
    for (let at = load<usize>(listOf(hash)); at; at = changetype<Value>(at).next) {
      const value = changetype<Value>(at);
      if (value.hash == hash && sameBytes(value.bytes, wanted)) return true;
    }
    return false;
  }
}

/** Bytes that a Value takes. */
export const VALUE_SIZE: usize = (offsetof<Value>() + 7) & ~7;

/** Heads of lists of values, by their hashes. */
const LISTS: u32 = 1024;
const lists = memory.data(4096, 4); // LISTS * 4

/** How many values there are of each size: most headers of peers have a size that no value has, and need no hash. */
const SIZES: u32 = 256;
const counts = memory.data(1024, 4); // SIZES * 4

function listOf(hash: u64): usize {
  return lists + ((<u32>hash & (LISTS - 1)) << 2);
}

function countOf(size: u32): usize {
  return counts + ((size & (SIZES - 1)) << 2);
}

/** Whether a header's value is what some configuration of this VM sends. */
export function isOurs(value: Slice): bool {
  return value.size > 0 && load<u32>(countOf(value.size)) > 0 && Value.find(value);
}
