// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { compare, Slice } from './slice';

/**
 * ASCII text as it stands in the sources. tools/ascii.js makes of each string literal the address of its bytes, so that
 * they are in memory before anything runs, half as large as AssemblyScript's own strings and ready for the host.
 *
 *     | size: u16 | bytes ... |
 */
export type Ascii = usize;

/** How many bytes a text has. */
export function sizeOf(text: Ascii): u32 {
  return load<u16>(text);
}

/** Where its bytes are. */
export function bytesOf(text: Ascii): usize {
  return text + 2;
}

/** Whether a slice begins with this text. */
export function beginsWith(bytes: Slice, text: Ascii): bool {
  return bytes.size >= sizeOf(text) && compare(bytes.at, bytesOf(text), sizeOf(text)) == 0;
}

/** Whether a slice holds exactly this text. */
export function isText(bytes: Slice, text: Ascii): bool {
  return bytes.size == sizeOf(text) && compare(bytes.at, bytesOf(text), bytes.size) == 0;
}
