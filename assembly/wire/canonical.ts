// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { compare, Slice } from '../memory/slice';
import { FIXED64, LENGTH, MOST_NESTING, tagOf, VARINT, Writer } from './protobuf';
import {
  BOOL_KIND,
  cursorAt,
  ENTRY_KEY,
  ENTRY_VALUE,
  isFinite64,
  isKind,
  LIST_KIND,
  LIST_VALUES,
  NO_KIND,
  NULL_KIND,
  NUMBER_KIND,
  STRING_KIND,
  STRUCT_FIELDS,
  STRUCT_KIND,
} from './struct';
import { isUtf8 } from './utf8';

/**
 * The one way to write a Struct: map keys in the order of their bytes, at every level. Envoy's own order is
 * that of a hash map and differs from worker to worker; a proxy that always sends the same bytes can be
 * recognised by them.
 *
 * A Struct that is read here comes from our own node, which Envoy parsed and wrote before. What cannot be sent all
 * the same (no kind, NaN, an infinity, nested too deep) is left out and counted, and costs nothing but itself.
 */

const writer = changetype<Writer>(memory.data(16, 8));

/**
 * What stands in the arena while a Struct is sorted: for each entry of a map where its key and its value are
 *
 *     | key at | key size | value at | value size |
 */
export const ITEM_SIZE: u32 = 16;

/** How many values the last `canonical` left out. */
let leftOutCount: u32 = 0;

export function leftOut(): u32 {
  return leftOutCount;
}

/** Bytes that the arena must have for `canonical` of a Struct of `size` bytes: items are at least 2 bytes long. */
export function roomForCanonical(size: u32): usize {
  return size * 2 + 72 + (size / 2) * ITEM_SIZE;
}

/**
 * Writes a Struct in its one form, into the arena, as `out`. False if the bytes are not a Struct, or if the arena
 * has not `roomForCanonical` of them.
 */
export function canonical(from: Slice, out: Slice): bool {
  // At most twice as long: an entry may spare its key or its value on the way in, and never does on the way out.
  const room = from.size * 2 + 64;
  const start = take(room);
  if (!start) return false;
  leftOutCount = 0;
  writer.open(start, room);
  if (!writeStruct(from.at, from.end(), 0) || writer.full) return false;
  out.set(writer.head, <u32>(start + room - writer.head));
  return true;
}

function writeStruct(at: usize, end: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return false;
  const items = gather(at, end, depth, STRUCT_FIELDS);
  if (!items) return false;
  const count = gathered;
  let known: u32 = 0;
  for (let i: u32 = 0; i < count; i++) {
    if (readEntry(items + i * ITEM_SIZE, items + known * ITEM_SIZE, depth + 1)) known++;
    else leftOutCount++;
  }
  sortItems(items, known);
  for (let i = known; i-- > 0; ) {
    const item = items + i * ITEM_SIZE;
    // Of entries with the same key the last one sent is right, and stands last among them here.
    if (i + 1 < known && compareKeys(item, item + ITEM_SIZE) == 0) continue;
    const entryEnd = writer.head;
    const valueAt = load<usize>(item, 8);
    if (!writeValue(valueAt, valueAt + load<u32>(item, 12), depth + 2)) {
      writer.head = entryEnd;
      leftOutCount++;
      continue;
    }
    closeEntry(writer, load<usize>(item), load<u32>(item, 4), entryEnd);
  }
  return true;
}

/** Closes a map entry whose Value was written since the head stood at `entryEnd`: its key, and what stands around both. */
export function closeEntry(to: Writer, keyAt: usize, keySize: u32, entryEnd: usize): void {
  to.close(ENTRY_VALUE, entryEnd);
  const keyEnd = to.head;
  to.bytes(keyAt, keySize);
  to.close(ENTRY_KEY, keyEnd);
  to.close(STRUCT_FIELDS, entryEnd);
}

function writeList(at: usize, end: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return false;
  const items = gather(at, end, depth, LIST_VALUES);
  if (!items) return false;
  for (let i = gathered; i-- > 0; ) {
    const item = items + i * ITEM_SIZE;
    const valueAt = load<usize>(item);
    const valueEnd = writer.head;
    if (writeValue(valueAt, valueAt + load<u32>(item, 4), depth + 1)) {
      writer.close(LIST_VALUES, valueEnd);
    } else {
      writer.head = valueEnd;
      leftOutCount++;
    }
  }
  return true;
}

/** Writes a Value; false if it cannot be sent, and then the writer's head must be put back. */
function writeValue(at: usize, end: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return false;
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
  if (!value.sound) return false;

  const valueEnd = writer.head;
  if (kind == NULL_KIND || kind == BOOL_KIND) {
    writer.varint(kind == BOOL_KIND && number != 0 ? 1 : 0);
    writer.byte(tagOf(kind, VARINT));
    return true;
  }
  if (kind == NUMBER_KIND) {
    if (!isFinite64(content)) return false;
    writer.bytes(content, size);
    writer.byte(tagOf(kind, FIXED64));
    return true;
  }
  if (kind == STRING_KIND) {
    if (!isUtf8(content, content + size)) return false;
    writer.bytes(content, size);
  } else if (kind == STRUCT_KIND) {
    if (!writeStruct(content, content + size, depth + 1)) return false;
  } else if (kind == LIST_KIND) {
    if (!writeList(content, content + size, depth + 1)) return false;
  } else {
    return false;
  }
  writer.close(kind, valueEnd);
  return true;
}

/** How many items the last `gather` found. */
let gathered: u32 = 0;

/** How many items the last `gather` found. */
export function gatheredItems(): u32 {
  return gathered;
}

/** The places of all fields of this number, as items in the arena; 0 if the message is not well-formed. */
export function gather(at: usize, end: usize, depth: u32, field: u32): usize {
  const message = cursorAt(depth);
  let count: u32 = 0;
  message.open(at, end, depth);
  while (message.next()) {
    if (message.field == field && message.type == LENGTH) count++;
  }
  if (!message.sound) return 0;
  const items = take(count * ITEM_SIZE);
  if (!items) return 0;
  gathered = count;
  let item = items;
  message.open(at, end, depth);
  while (message.next()) {
    if (message.field != field || message.type != LENGTH) continue;
    store<usize>(item, message.at);
    store<u32>(item, message.size, 4);
    item += ITEM_SIZE;
  }
  return items;
}

/** Makes of an item that is an entry one that is a key and a value; false for an entry without a value. */
export function readEntry(from: usize, to: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return false;
  const at = load<usize>(from);
  const entry = cursorAt(depth);
  let keyAt = at;
  let keySize: u32 = 0;
  let valueAt: usize = 0;
  let valueSize: u32 = 0;
  entry.open(at, at + load<u32>(from, 4), depth);
  while (entry.next()) {
    if (entry.type != LENGTH) continue;
    if (entry.field == ENTRY_KEY) {
      keyAt = entry.at;
      keySize = entry.size;
    } else if (entry.field == ENTRY_VALUE) {
      valueAt = entry.at;
      valueSize = entry.size;
    }
  }
  if (!entry.sound || !valueAt || !isUtf8(keyAt, keyAt + keySize)) return false;
  store<usize>(to, keyAt);
  store<u32>(to, keySize, 4);
  store<usize>(to, valueAt, 8);
  store<u32>(to, valueSize, 12);
  return true;
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
