// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { compare, Slice } from '../memory/slice';
import { FIXED64, MOST_NESTING, tagOf, VARINT, Writer } from './protobuf';
import {
  BOOL_KIND,
  cursorAt,
  faultOfText,
  isFinite64,
  isKind,
  LIST_KIND,
  LIST_VALUES,
  NO_KIND,
  NULL_KIND,
  NUMBER_KIND,
  SOUND,
  STRING_KIND,
  STRUCT_FIELDS,
  STRUCT_KIND,
} from './struct';
import { closeEntry, countItems, gather, ITEM_SIZE, ITEMS_SIZE, Items, readEntry } from './struct_fields';

/**
 * The one way to write a Struct: map keys in the order of their bytes, at every level. Envoy's own order is
 * that of a hash map and differs from worker to worker; a proxy that always sends the same bytes can be
 * recognised by them.
 *
 * A Struct that is read here comes from our own node, which Envoy parsed and wrote before. What cannot be sent all
 * the same (no kind, NaN, an infinity, a control character in a key or a string, nested too deep) is left out and
 * counted, and costs nothing but itself.
 */

const writer = changetype<Writer>(memory.data(16, 8));

/** One Items for each level that a message can be nested. */
const levels = memory.data(808, 4); // (MOST_NESTING + 1) * ITEMS_SIZE

/** The answer of `canonical` where nothing was written. */
export const FAILED: i32 = -1;

/** Bytes that the arena must have for `canonical` of a Struct. */
export function roomForCanonical(from: Slice): usize {
  return from.size * 2 + 72 + countItems(from) * ITEM_SIZE;
}

/**
 * Writes a Struct in its one form, into the arena, as `out`: the answer is how many values were left out. FAILED if the
 * bytes are not a Struct, or the arena has no room for `roomForCanonical` of them.
 */
export function canonical(from: Slice, out: Slice): i32 {
  // At most twice as long: an entry may spare its key or its value on the way in, and never does on the way out.
  const room = from.size * 2 + 64;
  const start = take(room);
  if (!start) return FAILED;
  writer.open(start, room);
  const leftOut = writeStruct(from.at, from.end(), 0);
  if (leftOut < 0 || writer.full) return FAILED;
  out.set(writer.head, <u32>(start + room - writer.head));
  return leftOut;
}

/** Each function below returns how many values it left out, or FAILED: then the writer's head must be put back. */
function writeStruct(at: usize, end: usize, depth: u32): i32 {
  if (depth > MOST_NESTING) return FAILED;
  const items = changetype<Items>(levels + depth * <u32>ITEMS_SIZE);
  if (!gather(at, end, depth, STRUCT_FIELDS, items)) return FAILED;
  let leftOut = 0;
  let known: u32 = 0;
  for (let i: u32 = 0; i < items.count; i++) {
    if (readEntry(items.item(i), items.item(known), depth + 1)) known++;
    else leftOut++;
  }
  sortItems(items.at, known);
  for (let i = known; i-- > 0; ) {
    const item = items.item(i);
    // Of entries with the same key the last one sent is right, and stands last among them here.
    if (i + 1 < known && compareKeys(item, item + ITEM_SIZE) == 0) continue;
    const entryEnd = writer.head;
    const valueAt = load<usize>(item, 8);
    const inside = writeValue(valueAt, valueAt + load<u32>(item, 12), depth + 2);
    if (inside == FAILED) {
      writer.head = entryEnd;
      leftOut++;
      continue;
    }
    leftOut += inside;
    closeEntry(writer, load<usize>(item), load<u32>(item, 4), entryEnd);
  }
  return leftOut;
}

function writeList(at: usize, end: usize, depth: u32): i32 {
  if (depth > MOST_NESTING) return FAILED;
  const items = changetype<Items>(levels + depth * <u32>ITEMS_SIZE);
  if (!gather(at, end, depth, LIST_VALUES, items)) return FAILED;
  let leftOut = 0;
  for (let i = items.count; i-- > 0; ) {
    const valueAt = load<usize>(items.item(i));
    const valueEnd = writer.head;
    const inside = writeValue(valueAt, valueAt + load<u32>(items.item(i), 4), depth + 1);
    if (inside == FAILED) {
      writer.head = valueEnd;
      leftOut++;
      continue;
    }
    leftOut += inside;
    writer.close(LIST_VALUES, valueEnd);
  }
  return leftOut;
}

function writeValue(at: usize, end: usize, depth: u32): i32 {
  if (depth > MOST_NESTING) return FAILED;
  const value = cursorAt(depth);
  let kind = NO_KIND;
  let number: u64 = 0;
  let content: usize = 0;
  let size: u32 = 0;
  value.open(at, end, depth);
  while (value.next()) {
    if (!isKind(value.field, value.type)) continue;
    kind = value.field;
    number = value.number;
    content = value.at;
    size = value.size;
  }
  if (!value.sound) return FAILED;

  const valueEnd = writer.head;
  let leftOut = 0;
  if (kind == NULL_KIND || kind == BOOL_KIND) {
    writer.varint(kind == BOOL_KIND && number != 0 ? 1 : 0);
    writer.byte(tagOf(kind, VARINT));
    return 0;
  }
  if (kind == NUMBER_KIND) {
    if (!isFinite64(content)) return FAILED;
    writer.bytes(content, size);
    writer.byte(tagOf(kind, FIXED64));
    return 0;
  }
  if (kind == STRING_KIND) {
    if (faultOfText(content, content + size) != SOUND) return FAILED;
    writer.bytes(content, size);
  } else if (kind == STRUCT_KIND) {
    leftOut = writeStruct(content, content + size, depth + 1);
  } else if (kind == LIST_KIND) {
    leftOut = writeList(content, content + size, depth + 1);
  } else {
    return FAILED;
  }
  if (leftOut == FAILED) return FAILED;
  writer.close(kind, valueEnd);
  return leftOut;
}

function compareKeys(a: usize, b: usize): i32 {
  const sizeA = load<u32>(a, 4);
  const sizeB = load<u32>(b, 4);
  const order = compare(load<usize>(a), load<usize>(b), min(sizeA, sizeB));
  return order != 0 ? order : <i32>sizeA - <i32>sizeB;
}

/** Order of keys, and of where they were sent among equal ones. */
function isBefore(a: usize, b: usize): bool {
  const order = compareKeys(a, b);
  return order != 0 ? order < 0 : load<usize>(a, 8) < load<usize>(b, 8);
}

/** Heap sort: no memory, and no input that makes it slow. */
function sortItems(items: usize, count: u32): void {
  for (let i = count >> 1; i-- > 0; ) sink(items, i, count);
  for (let last = count; last > 1; ) {
    last--;
    swapItems(items, items + last * ITEM_SIZE);
    sink(items, 0, last);
  }
}

/** Lets an item sink in the heap of the first `count` until no child of it comes after it. */
function sink(items: usize, from: u32, count: u32): void {
  let parent = from;
  for (let child = parent * 2 + 1; child < count; child = parent * 2 + 1) {
    if (child + 1 < count && isBefore(items + child * ITEM_SIZE, items + (child + 1) * ITEM_SIZE)) child++;
    if (!isBefore(items + parent * ITEM_SIZE, items + child * ITEM_SIZE)) return;
    swapItems(items + parent * ITEM_SIZE, items + child * ITEM_SIZE);
    parent = child;
  }
}

function swapItems(a: usize, b: usize): void {
  const first = load<u64>(a);
  const second = load<u64>(a, 8);
  store<u64>(a, load<u64>(b));
  store<u64>(a, load<u64>(b, 8), 8);
  store<u64>(b, first);
  store<u64>(b, second, 8);
}
