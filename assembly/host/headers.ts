// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_get_header_map_pairs,
  proxy_get_header_map_value,
  proxy_remove_header_map_value,
  proxy_replace_header_map_value,
} from '@solo-io/proxy-runtime/assembly/imports';
import { Slice, sameBytes, slice } from '../memory/slice';
import { NOT_FOUND, OK } from './abi';

/** The headers of the stream that is being served. Each function is one host call. */

/** What `get` and `getFilled` find. */
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
 * The first copy of a header that is not empty, for when the first copy of all is: `get` cannot see behind it, all
 * the headers of the message must be fetched. `value` has size 0 if every copy is empty.
 *
 *     | count | key size, value size | key size, value size | ... | key NUL value NUL | key NUL value NUL | ...
 */
export function getFilled(map: i32, name: Slice, value: Slice): u32 {
  value.set(0, 0);
  const to = changetype<usize>(pairs);
  if (proxy_get_header_map_pairs(map, to, to + offsetof<Slice>('size')) != OK) return TOO_LARGE;
  const count = load<u32>(pairs.at);
  let sizes = pairs.at + 4;
  let text = sizes + count * 8;
  for (let i: u32 = 0; i < count; i++) {
    key.set(text, load<u32>(sizes));
    const valueSize = load<u32>(sizes, 4);
    const valueAt = key.end() + 1;
    if (valueSize > 0 && sameBytes(key, name)) {
      value.set(valueAt, valueSize);
      break;
    }
    text = valueAt + valueSize + 1;
    sizes += 8;
  }
  return PRESENT;
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
