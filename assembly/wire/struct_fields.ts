// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { Slice, sameBytes, slice } from '../memory/slice';
import { Cursor, LENGTH, MOST_NESTING, Writer } from './protobuf';
import {
  cursorAt,
  ENTRY_KEY,
  ENTRY_VALUE,
  faultOfText,
  kindOf,
  LIST_KIND,
  LIST_VALUES,
  SOUND,
  STRING_KIND,
  STRUCT_FIELDS,
  STRUCT_KIND,
} from './struct';

/** Access to the fields of a serialized Struct: finding one, writing one, gathering all. */

const entries = changetype<Cursor>(memory.data(40, 8));
const entry = changetype<Cursor>(memory.data(40, 8));
const entryKey = slice(memory.data(8, 4));
const entryValue = slice(memory.data(8, 4));
const wanted = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));

/**
 * Finds a field: `found` is then its serialized Value, and stays as it is if there is no such field. Of several with
 * this key the last one counts. False if the bytes are not a Struct.
 */
export function findField(struct: Slice, key: Slice, found: Slice): bool {
  entries.open(struct.at, struct.end(), 1);
  while (entries.next()) {
    if (entries.field != STRUCT_FIELDS || entries.type != LENGTH) continue;
    entryKey.set(struct.at, 0);
    entryValue.set(struct.at, 0);
    entry.open(entries.at, entries.at + entries.size, 2);
    while (entry.next()) {
      if (entry.type != LENGTH) continue;
      if (entry.field == ENTRY_KEY) entryKey.set(entry.at, entry.size);
      else if (entry.field == ENTRY_VALUE) entryValue.set(entry.at, entry.size);
    }
    if (!entry.sound) return false;
    if (sameBytes(entryKey, key)) found.copy(entryValue);
  }
  return entries.sound;
}

/** Finds a field of this kind: `content` is then the bytes of the string, the Struct or the list. */
export function findKind(struct: Slice, key: Slice, kind: u32, content: Slice): bool {
  value.set(struct.at, 0);
  return findField(struct, key, value) && value.size > 0 && kindOf(value, content) == kind;
}

/** Finds a field that is a string and not empty, as `content`. */
export function findText(struct: Slice, key: Ascii, content: Slice): bool {
  wanted.set(bytesOf(key), sizeOf(key));
  return findKind(struct, wanted, STRING_KIND, content) && content.size > 0;
}

/** Finds a field that is a Struct, as `content`. */
export function findStruct(struct: Slice, key: Ascii, content: Slice): bool {
  wanted.set(bytesOf(key), sizeOf(key));
  return findKind(struct, wanted, STRUCT_KIND, content);
}

/** Writes a field that is a string, if it is not empty. */
export function putText(writer: Writer, key: Ascii, text: Slice): void {
  if (text.size == 0) return;
  const end = writer.head;
  writer.bytes(text.at, text.size);
  closeText(writer, bytesOf(key), sizeOf(key), end);
}

/** Closes a field that is a string, which was written since the head stood at `end`. */
export function closeText(writer: Writer, keyAt: usize, keySize: u32, end: usize): void {
  writer.close(STRING_KIND, end);
  closeEntry(writer, keyAt, keySize, end);
}

/** Closes a field that is a Struct, whose fields were written since the head stood at `end`. */
export function closeStruct(writer: Writer, keyAt: usize, keySize: u32, end: usize): void {
  writer.close(STRUCT_KIND, end);
  closeEntry(writer, keyAt, keySize, end);
}

/** Closes a map entry whose Value was written since the head stood at `end`: its key, and what stands around both. */
export function closeEntry(writer: Writer, keyAt: usize, keySize: u32, end: usize): void {
  writer.close(ENTRY_VALUE, end);
  const keyEnd = writer.head;
  writer.bytes(keyAt, keySize);
  writer.close(ENTRY_KEY, keyEnd);
  writer.close(STRUCT_FIELDS, end);
}

/**
 * All fields of a Struct, or all values of a list, gathered in the arena to be sorted or counted. An item is first the
 * bytes of an entry or Value, and after `readEntry` what stands in the entry:
 *
 *     | at | size | - | - |        | key at | key size | value at | value size |
 */
@unmanaged
export class Items {
  at: usize;
  count: u32;

  /** Where an item stands. */
  item(index: u32): usize {
    return this.at + index * ITEM_SIZE;
  }
}

/** Bytes that one item takes in the arena, and that an Items takes. */
export const ITEM_SIZE: u32 = 16;
export const ITEMS_SIZE: usize = offsetof<Items>();

/**
 * Gathers the fields with this number of a message that is inside of `depth` others; false if it is not well-formed,
 * nested too deep, or the arena has no room.
 */
export function gather(at: usize, end: usize, depth: u32, field: u32, items: Items): bool {
  if (depth > MOST_NESTING) return false;
  const count = countFields(at, end, depth, field);
  if (count < 0) return false;
  items.at = take(<u32>count * ITEM_SIZE);
  items.count = <u32>count;
  if (!items.at) return false;
  const message = cursorAt(depth);
  let item = items.at;
  message.open(at, end, depth);
  while (message.next()) {
    if (message.field != field || message.type != LENGTH) continue;
    store<usize>(item, message.at);
    store<u32>(item, message.size, 4);
    item += ITEM_SIZE;
  }
  return true;
}

/** How many map entries and list values a Struct has, on all its levels; of a malformed one, perhaps more. */
export function countItems(struct: Slice): u32 {
  return countStruct(struct.at, struct.end(), 0);
}

function countStruct(at: usize, end: usize, depth: u32): u32 {
  if (depth > MOST_NESTING) return 0;
  const struct = cursorAt(depth);
  let count: u32 = 0;
  struct.open(at, end, depth);
  while (struct.next()) {
    if (struct.field != STRUCT_FIELDS || struct.type != LENGTH) continue;
    count += 1 + countEntry(struct.at, struct.at + struct.size, depth + 1);
  }
  return count;
}

function countEntry(at: usize, end: usize, depth: u32): u32 {
  if (depth > MOST_NESTING) return 0;
  const message = cursorAt(depth);
  let count: u32 = 0;
  message.open(at, end, depth);
  while (message.next()) {
    if (message.field != ENTRY_VALUE || message.type != LENGTH) continue;
    count += countValue(message.at, message.at + message.size, depth + 1);
  }
  return count;
}

function countValue(at: usize, end: usize, depth: u32): u32 {
  if (depth > MOST_NESTING) return 0;
  const message = cursorAt(depth);
  let count: u32 = 0;
  message.open(at, end, depth);
  while (message.next()) {
    if (message.type != LENGTH) continue;
    const contentEnd = message.at + message.size;
    if (message.field == STRUCT_KIND) count += countStruct(message.at, contentEnd, depth + 1);
    else if (message.field == LIST_KIND) count += countList(message.at, contentEnd, depth + 1);
  }
  return count;
}

function countList(at: usize, end: usize, depth: u32): u32 {
  if (depth > MOST_NESTING) return 0;
  const list = cursorAt(depth);
  let count: u32 = 0;
  list.open(at, end, depth);
  while (list.next()) {
    if (list.field != LIST_VALUES || list.type != LENGTH) continue;
    count += 1 + countValue(list.at, list.at + list.size, depth + 1);
  }
  return count;
}

/** How many fields with this number a message has; below 0 if it is not well-formed. */
function countFields(at: usize, end: usize, depth: u32, field: u32): i32 {
  const message = cursorAt(depth);
  let count = 0;
  message.open(at, end, depth);
  while (message.next()) {
    if (message.field == field && message.type == LENGTH) count++;
  }
  return message.sound ? count : -1;
}

/** Makes of an item that is an entry one that is a key and a value; false for an entry that no Struct may have. */
export function readEntry(from: usize, to: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return false;
  const at = load<usize>(from);
  const message = cursorAt(depth);
  let keyAt = at;
  let keySize: u32 = 0;
  let valueAt: usize = 0;
  let valueSize: u32 = 0;
  message.open(at, at + load<u32>(from, 4), depth);
  while (message.next()) {
    if (message.type != LENGTH) continue;
    if (message.field == ENTRY_KEY) {
      keyAt = message.at;
      keySize = message.size;
    } else if (message.field == ENTRY_VALUE) {
      valueAt = message.at;
      valueSize = message.size;
    }
  }
  if (!message.sound || !valueAt || faultOfText(keyAt, keyAt + keySize) != SOUND) return false;
  store<usize>(to, keyAt);
  store<u32>(to, keySize, 4);
  store<usize>(to, valueAt, 8);
  store<u32>(to, valueSize, 12);
  return true;
}
