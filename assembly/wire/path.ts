// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice, slice } from '../memory/slice';
import { kindOf, STRING_KIND, STRUCT_KIND } from './struct';
import { findField } from './struct_fields';

/**
 * The string at the end of a path through a Struct, by the grammar of select.ts: keys may have dots of their own. Where
 * two ways lead to a string, the one with the shorter first key counts, which is how CEL walks `LABELS.app`.
 */

const DOT: u8 = 0x2e;

const struct = slice(memory.data(8, 4));
const key = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));
const content = slice(memory.data(8, 4));

/** Finds a string that is not empty, as `found`; false if the path leads to none, and `found` is then empty. */
export function findText(from: Slice, path: Slice, found: Slice): bool {
  found.set(from.at, 0);
  return walk(from.at, from.size, path.at, path.end(), found);
}

/** Each step takes a dot of the path: there are never more levels than those. */
function walk(at: usize, size: u32, path: usize, end: usize, found: Slice): bool {
  for (let dot = path; dot < end; dot++) {
    if (load<u8>(dot) != DOT || kindAt(at, size, path, dot) != STRUCT_KIND) continue;
    if (walk(content.at, content.size, dot + 1, end, found)) return true;
  }
  if (kindAt(at, size, path, end) != STRING_KIND || content.size == 0) return false;
  found.copy(content);
  return true;
}

/** The kind of a Struct's field with this key, and as `content` what is in it; 0 if there is none. */
function kindAt(at: usize, size: u32, keyAt: usize, keyEnd: usize): u32 {
  struct.set(at, size);
  key.set(keyAt, <u32>(keyEnd - keyAt));
  value.set(at, 0);
  return findField(struct, key, value) && value.size > 0 ? kindOf(value, content) : 0;
}
