// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice } from '../memory/slice';
import { putEncoded } from './percent';

/**
 * Fields as one line that every language reads with its library for the query of a URL, whatever a peer wrote into them:
 *
 *     WORKLOAD_NAME=productpage-v1&NAMESPACE=default
 *
 * Letters, digits and `- . _ ~ / :` stand for themselves, any other byte is encoded: so nothing in a value ends the
 * header, a field or a list, and no two values are written alike.
 */

/** The most bytes of a value as it is written. A longer one is left out: cut off, it might be somebody else's. */
const LONGEST_VALUE: u32 = 512;

/** The most bytes of a field: its name and value, with the equals sign and the ampersand. */
export function roomForField(name: Slice): u32 {
  return name.size * 3 + LONGEST_VALUE + 2;
}

/**
 * Adds a field to the line that begins at `start` and ends at `end`, where there is room for it; the answer is where the
 * line ends then. A value that is empty or too long is left out together with its name.
 */
export function addField(start: usize, end: usize, name: Slice, value: Slice): usize {
  if (value.size == 0 || encodedSize(value) > LONGEST_VALUE) return end;
  if (end > start) store<u8>(end++, 0x26);
  end = put(name, end);
  store<u8>(end, 0x3d);
  return put(value, end + 1);
}

function encodedSize(text: Slice): u32 {
  let size = text.size;
  for (let at = text.at; at < text.end(); at++) {
    if (!isPlain(load<u8>(at))) size += 2;
  }
  return size;
}

function put(text: Slice, to: usize): usize {
  for (let at = text.at; at < text.end(); at++) {
    const byte: u32 = load<u8>(at);
    if (isPlain(byte)) store<u8>(to++, <u8>byte);
    else to = putEncoded(byte, to);
  }
  return to;
}

/** Whether a byte stands for itself: 0 to 9 and a colon, letters, and `- . / _ ~`. */
function isPlain(byte: u32): bool {
  const lower = byte | 0x20;
  if ((byte >= 0x2d && byte <= 0x3a) || (lower >= 0x61 && lower <= 0x7a)) return true;
  return byte == 0x5f || byte == 0x7e;
}
