// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Bytes that somebody else owns: where they start, and how many they are.
 *
 * AssemblyScript functions return one value and there are no value structs. So wherever a function here
 * yields bytes, the caller hands it a Slice to fill, as the last argument, and the function returns a status.
 * Slices stand in static memory (see `slice` below) or inside a block: none is ever made on the request path.
 */
@unmanaged
export class Slice {
  at: usize;
  size: u32;

  /** Points at `size` bytes from `at` on. */
  set(at: usize, size: u32): void {
    this.at = at;
    this.size = size;
  }

  /** Points where another slice points. */
  copy(other: Slice): void {
    this.at = other.at;
    this.size = other.size;
  }

  /** The first byte behind. */
  end(): usize {
    return this.at + this.size;
  }
}

/** Bytes that one Slice takes. */
export const SLICE_SIZE: usize = offsetof<Slice>();

/** A Slice at an address: `slice(memory.data(8))` is a static one. */
export function slice(at: usize): Slice {
  return changetype<Slice>(at);
}

/** Whether two slices hold the same bytes: 32 at a time, then eight, wherever they stand. */
export function sameBytes(a: Slice, b: Slice): bool {
  if (a.size != b.size) return false;
  let at = a.at;
  let other = b.at;
  const end = a.end();
  for (; at + 32 <= end; at += 32, other += 32) {
    const first = (load<u64>(at) ^ load<u64>(other)) | (load<u64>(at, 8) ^ load<u64>(other, 8));
    const second = (load<u64>(at, 16) ^ load<u64>(other, 16)) | (load<u64>(at, 24) ^ load<u64>(other, 24));
    if ((first | second) != 0) return false;
  }
  for (; at + 8 <= end; at += 8, other += 8) {
    if (load<u64>(at) != load<u64>(other)) return false;
  }
  for (; at < end; at++, other++) {
    if (load<u8>(at) != load<u8>(other)) return false;
  }
  return true;
}

/**
 * The order of two runs of `size` bytes: below 0, 0 or above. The compiler's own `memory.compare` would be written out
 * anew wherever it is used.
 */
export function compare(a: usize, b: usize, size: usize): i32 {
  for (const end = a + size; a < end; a++, b++) {
    const order = <i32>load<u8>(a) - <i32>load<u8>(b);
    if (order != 0) return order;
  }
  return 0;
}
