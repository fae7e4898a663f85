// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { compare, SLICE_SIZE, Slice, slice } from '../memory/slice';
import { MOST_NESTING, Writer } from './protobuf';
import { kindOf, STRUCT_FIELDS, STRUCT_KIND } from './struct';
import { closeStruct, countItems, gather, ITEM_SIZE, ITEMS_SIZE, Items, readEntry } from './struct_fields';

/**
 * Of a Struct, the fields that a list of paths names. `LABELS` is a field with all that is in it; `LABELS.app` is one
 * field of a field that is a Struct itself. Keys may have dots of their own: a path is followed wherever it leads, so
 * that `LABELS.app.kubernetes.io/name` finds the label `app.kubernetes.io/name`.
 */

const writer = changetype<Writer>(memory.data(16, 8));
const DOT: u8 = 0x2e;

/** Levels that a Struct may have: each is three messages deeper, Struct, entry and Value. */
const LEVELS: u32 = MOST_NESTING / 3 + 1;

/** What is left of each path at each level: slices, `count` for a level. */
let rests: usize = 0;
let pathCount: u32 = 0;

const value = slice(memory.data(8, 4));
const content = slice(memory.data(8, 4));

/** One Items for each level. */
const levels = memory.data(272, 4); // LEVELS * ITEMS_SIZE

/** Bytes that the arena must have for `select` from a Struct by `count` paths. */
export function roomForSelect(from: Slice, count: u32): usize {
  return from.size + 16 + countItems(from) * ITEM_SIZE + LEVELS * count * <u32>SLICE_SIZE;
}

/** Selects from a canonical Struct by `count` paths, slices in a row at `paths`, into the arena; false without room. */
export function select(from: Slice, paths: usize, count: u32, out: Slice): bool {
  const start = take(from.size + 1);
  rests = take(LEVELS * count * <u32>SLICE_SIZE);
  if (!start || !rests) return false;
  pathCount = count;
  writer.open(start, from.size);
  if (!selectFrom(from.at, from.end(), 0, paths, count)) return false;
  out.set(writer.head, <u32>(start + from.size - writer.head));
  return true;
}

function selectFrom(at: usize, end: usize, level: u32, paths: usize, count: u32): bool {
  const items = changetype<Items>(levels + level * <u32>ITEMS_SIZE);
  if (!gather(at, end, level * 3, STRUCT_FIELDS, items)) return false;
  for (let i = items.count; i-- > 0; ) {
    const item = items.item(i);
    const entryAt = load<usize>(item);
    const entrySize = load<u32>(item, 4);
    if (!readEntry(item, item, level * 3 + 1)) return false;
    const entryEnd = writer.head;
    if (isNamed(item, paths, count)) {
      writer.bytes(entryAt, entrySize);
      writer.close(STRUCT_FIELDS, entryEnd);
      continue;
    }
    const rest = rests + level * pathCount * <u32>SLICE_SIZE;
    const restCount = followPaths(item, paths, count, rest);
    value.set(load<usize>(item, 8), load<u32>(item, 12));
    if (restCount == 0 || kindOf(value, content) != STRUCT_KIND) continue;
    if (!selectFrom(content.at, content.end(), level + 1, rest, restCount)) return false;
    if (writer.head == entryEnd) continue;
    closeStruct(writer, load<usize>(item), load<u32>(item, 4), entryEnd);
  }
  return true;
}

/** Whether one of the paths ends at the key of an item. */
function isNamed(item: usize, paths: usize, count: u32): bool {
  for (let i: u32 = 0; i < count; i++) {
    const path = slice(paths + i * <u32>SLICE_SIZE);
    if (path.size == load<u32>(item, 4) && begins(path, item)) return true;
  }
  return false;
}

/** Writes to `rest` what is left of the paths that go through the key of an item, and returns how many do. */
function followPaths(item: usize, paths: usize, count: u32, rest: usize): u32 {
  const keySize = load<u32>(item, 4);
  let followed: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    const path = slice(paths + i * <u32>SLICE_SIZE);
    if (path.size <= keySize || load<u8>(path.at + keySize) != DOT || !begins(path, item)) continue;
    slice(rest + followed * <u32>SLICE_SIZE).set(path.at + keySize + 1, path.size - keySize - 1);
    followed++;
  }
  return followed;
}

/** Whether a path begins with the key of an item. */
function begins(path: Slice, item: usize): bool {
  const keySize = load<u32>(item, 4);
  return path.size >= keySize && compare(path.at, load<usize>(item), keySize) == 0;
}
