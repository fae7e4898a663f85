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

/** Whether two slices hold the same bytes: eight at a time, wherever they stand. */
export function sameBytes(a: Slice, b: Slice): bool {
  if (a.size != b.size) return false;
  let at = a.at;
  let other = b.at;
  const end = a.end();
  for (; at + 8 <= end; at += 8, other += 8) {
    if (load<u64>(at) != load<u64>(other)) return false;
  }
  for (; at < end; at++, other++) {
    if (load<u8>(at) != load<u8>(other)) return false;
  }
  return true;
}

/** Whether a slice holds exactly this ASCII text. */
export function isText(bytes: Slice, text: string): bool {
  const length = <u32>text.length;
  if (bytes.size != length) return false;
  const characters = changetype<usize>(text);
  for (let i: u32 = 0; i < length; i++) {
    if (load<u8>(bytes.at + i) != <u8>load<u16>(characters + (i << 1))) return false;
  }
  return true;
}

/** Writes ASCII text as bytes (AssemblyScript's strings are UTF-16) and returns how many. */
export function putText(text: string, to: usize): u32 {
  const length = <u32>text.length;
  const characters = changetype<usize>(text);
  for (let i: u32 = 0; i < length; i++) {
    store<u8>(to + i, <u8>load<u16>(characters + (i << 1)));
  }
  return length;
}
