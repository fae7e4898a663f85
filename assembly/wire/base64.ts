// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice } from '../memory/slice';

/**
 * Base64, standard alphabet (RFC 4648, section 4).
 *
 *     three bytes   aaaaaaaa bbbbbbbb cccccccc
 *     four letters  aaaaaa aabbbb bbbbcc cccccc
 */

const LETTERS = memory.data<u8>([
  65, 66, 67, 68, 69, 70, 71, 72, 73, 74, 75, 76, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89, 90, 97, 98, 99,
  100, 101, 102, 103, 104, 105, 106, 107, 108, 109, 110, 111, 112, 113, 114, 115, 116, 117, 118, 119, 120, 121, 122, 48,
  49, 50, 51, 52, 53, 54, 55, 56, 57, 43, 47,
]);

/** What each byte stands for as a letter, 0 to 63; 0xff: no letter. */
const VALUES = memory.data(256);
const NO_LETTER: u32 = 0xff;

memory.fill(VALUES, <u8>NO_LETTER, 256);
for (let value: usize = 0; value < 64; value++) {
  store<u8>(VALUES + load<u8>(LETTERS + value), <u8>value);
}

const PAD: u8 = 61; // '='

/** Bytes that `encode` writes for `size` bytes: padded to a multiple of four. */
export function encodedSize(size: u32): u32 {
  return ((size + 2) / 3) * 4;
}

/** Writes the padded base64 of `from` to `to`, which has room for `encodedSize(from.size)` bytes. */
export function encode(from: Slice, to: usize): void {
  let at = from.at;
  const end = from.end();
  while (at + 3 <= end) {
    const bits = ((<u32>load<u8>(at)) << 16) | ((<u32>load<u8>(at, 1)) << 8) | <u32>load<u8>(at, 2);
    putLetters(bits, to);
    at += 3;
    to += 4;
  }
  const left = <u32>(end - at);
  if (left == 0) return;
  const second: u32 = left == 2 ? <u32>load<u8>(at, 1) : 0;
  putLetters(((<u32>load<u8>(at)) << 16) | (second << 8), to);
  store<u8>(to, PAD, 3);
  if (left == 1) store<u8>(to, PAD, 2);
}

function putLetters(bits: u32, to: usize): void {
  store<u8>(to, load<u8>(LETTERS + (bits >> 18)));
  store<u8>(to, load<u8>(LETTERS + ((bits >> 12) & 63)), 1);
  store<u8>(to, load<u8>(LETTERS + ((bits >> 6) & 63)), 2);
  store<u8>(to, load<u8>(LETTERS + (bits & 63)), 3);
}

function valueAt(at: usize): u32 {
  return load<u8>(VALUES + load<u8>(at));
}

/** Bytes of room that `decode` wants for `size` letters: three for each four begun. */
export function decodedSize(size: u32): u32 {
  return ((size + 3) >> 2) * 3;
}

/**
 * Decodes `from` to `to`, which has room for `decodedSize(from.size)` bytes and may be where `from`
 * stands itself: what is written never overtakes what is read. `out` is then what was decoded.
 *
 * Strict, but padded and unpadded text are both right. Wrong are: any byte outside the alphabet (white space
 * and the URL alphabet's `-` and `_` too), a single letter left over, padding that is not exact, and bits
 * left over that are not 0: one message has one spelling with padding and one without.
 */
export function decode(from: Slice, to: usize, out: Slice): bool {
  let size = from.size;
  if (size > 0 && (size & 3) == 0 && load<u8>(from.at + size - 1) == PAD) {
    size -= load<u8>(from.at + size - 2) == PAD ? 2 : 1;
  }
  const left = size & 3;
  if (left == 1) return false;

  let at = from.at;
  const whole = at + (size - left);
  const start = to;
  while (at < whole) {
    const a = valueAt(at);
    const b = valueAt(at + 1);
    const c = valueAt(at + 2);
    const d = valueAt(at + 3);
    if ((a | b | c | d) > 63) return false;
    const bits = (a << 18) | (b << 12) | (c << 6) | d;
    store<u8>(to, <u8>(bits >> 16));
    store<u8>(to, <u8>(bits >> 8), 1);
    store<u8>(to, <u8>bits, 2);
    at += 4;
    to += 3;
  }
  if (left) {
    const a = valueAt(at);
    const b = valueAt(at + 1);
    const c: u32 = left == 3 ? valueAt(at + 2) : 0;
    if ((a | b | c) > 63) return false;
    const bits = (a << 18) | (b << 12) | (c << 6);
    if ((bits & (left == 2 ? 0xffff : 0xff)) != 0) return false;
    store<u8>(to, <u8>(bits >> 16));
    if (left == 3) store<u8>(to, <u8>(bits >> 8), 1);
    to += left - 1;
  }
  out.set(start, <u32>(to - start));
  return true;
}
