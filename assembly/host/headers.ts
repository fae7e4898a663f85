// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_get_header_map_pairs,
  proxy_get_header_map_value,
  proxy_remove_header_map_value,
  proxy_replace_header_map_value,
} from '@solo-io/proxy-runtime/assembly/imports';
import { take } from '../memory/arena';
import { Slice, sameBytes, slice } from '../memory/slice';
import { NOT_FOUND, OK } from './abi';

/** The headers of the stream that is being served. Each function is one host call. */

/** What is found. */
export const ABSENT: u32 = 0;
export const PRESENT: u32 = 1;
/** The header is there, but larger than the arena. */
export const TOO_LARGE: u32 = 2;

/**
 * The first copy of a header; `value` is then its bytes, in the arena. An empty one is PRESENT, with size 0.
 * Envoy answers InvalidMemoryAccess where `malloc` had no room.
 */
export function get(map: i32, name: Slice, value: Slice): u32 {
  const to = changetype<usize>(value);
  const result = proxy_get_header_map_value(map, name.at, name.size, to, to + offsetof<Slice>('size'));
  if (result == OK) return PRESENT;
  value.set(0, 0);
  return result == NOT_FOUND ? ABSENT : TOO_LARGE;
}

/**
 * Fetches all headers of a message, for `pick`; false if they are larger than the arena.
 *
 *     | count | key size, value size | key size, value size | ... | key NUL value NUL | key NUL value NUL | ...
 */
export function fetch(map: i32): bool {
  pairs.set(0, 0);
  const to = changetype<usize>(pairs);
  return proxy_get_header_map_pairs(map, to, to + offsetof<Slice>('size')) == OK;
}

/** Of the headers that were fetched, the first copy of one that is not empty, else an empty one, if there is any. */
export function pick(name: Slice, value: Slice): u32 {
  value.set(0, 0);
  const count = pairs.size ? load<u32>(pairs.at) : 0;
  let sizes = pairs.at + 4;
  let text = sizes + count * 8;
  let found = ABSENT;
  for (let i: u32 = 0; i < count; i++) {
    const keySize = load<u32>(sizes);
    const valueSize = load<u32>(sizes, 4);
    if (keySize == name.size) {
      key.set(text, keySize);
      if (sameBytes(key, name)) {
        found = PRESENT;
        value.set(key.end() + 1, valueSize);
        if (valueSize > 0) break;
      }
    }
    text += keySize + valueSize + 2;
    sizes += 8;
  }
  return found;
}

/**
 * Of the headers that were fetched, all copies of one, as the one list that they are: with commas between them, in the
 * arena, and room for `more` bytes behind it. False if there is none, or no room.
 */
export function join(name: Slice, value: Slice, more: u32): bool {
  value.set(0, 0);
  const size = copies(name, 0);
  if (size == 0) return false;
  const start = take(size + more);
  if (!start) return false;
  copies(name, start);
  value.set(start, size);
  return true;
}

/** How many bytes all copies of a header have, with commas between them; they are written to `start`, unless that is 0. */
function copies(name: Slice, start: usize): u32 {
  const count = pairs.size ? load<u32>(pairs.at) : 0;
  let sizes = pairs.at + 4;
  let text = sizes + count * 8;
  let size: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const keySize = load<u32>(sizes);
    const valueSize = load<u32>(sizes, 4);
    key.set(text, keySize);
    if (valueSize > 0 && sameBytes(key, name)) {
      if (size > 0) {
        if (start) store<u8>(start + size, 0x2c);
        size++;
      }
      if (start) memory.copy(start + size, key.end() + 1, valueSize);
      size += valueSize;
    }
    text += keySize + valueSize + 2;
    sizes += 8;
  }
  return size;
}

const pairs = slice(memory.data(8, 4));
const key = slice(memory.data(8, 4));

/** Makes a header have this value, in place of all its copies if there are any. */
export function replace(map: i32, name: Slice, value: Slice): void {
  proxy_replace_header_map_value(map, name.at, name.size, value.at, value.size);
}

/** Removes all copies of a header. */
export function remove(map: i32, name: Slice): void {
  proxy_remove_header_map_value(map, name.at, name.size);
}
