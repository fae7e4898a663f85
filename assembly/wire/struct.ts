// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice } from '../memory/slice';
import { CURSOR_SIZE, Cursor, FIXED64, LENGTH, MOST_NESTING, VARINT } from './protobuf';
import { isUtf8 } from './utf8';

/**
 * google.protobuf.Struct as a peer sends it: what must hold before we pass it on.
 *
 *     Struct       1 fields: FieldsEntry, repeated
 *     FieldsEntry  1 key: string            2 value: Value
 *     Value        1 null_value: varint     2 number_value: double   3 string_value: string
 *                  4 bool_value: varint     5 struct_value: Struct   6 list_value: ListValue
 *     ListValue    1 values: Value, repeated
 *
 * https://protobuf.dev/reference/protobuf/google.protobuf/#struct
 */

export const STRUCT_FIELDS: u32 = 1;
export const ENTRY_KEY: u32 = 1;
export const ENTRY_VALUE: u32 = 2;
export const LIST_VALUES: u32 = 1;

/** The kinds of a Value: the numbers of its fields. */
export const NO_KIND: u32 = 0;
export const NULL_KIND: u32 = 1;
export const NUMBER_KIND: u32 = 2;
export const STRING_KIND: u32 = 3;
export const BOOL_KIND: u32 = 4;
export const STRUCT_KIND: u32 = 5;
export const LIST_KIND: u32 = 6;

/** Why the last Struct was not sound. */
export const MALFORMED: u32 = 0;
export const NOT_UTF8: u32 = 1;
export const NO_JSON_FORM: u32 = 2;
export const NESTING: u32 = 3;
let fault: u32 = MALFORMED;

/** What was wrong with the last Struct that `isSoundStruct` refused: the first thing that it came to. */
export function whyNotSound(): u32 {
  return fault;
}

function refuse(cause: u32): bool {
  fault = cause;
  return false;
}

/** One reader for each level, so that going down a level loses nothing and takes no memory. */
const cursors = memory.data(4040, 8); // (MOST_NESTING + 1) * CURSOR_SIZE

/** The reader of a message or map entry that is inside of `depth` others, 0 to MOST_NESTING. */
export function cursorAt(depth: u32): Cursor {
  return changetype<Cursor>(cursors + depth * CURSOR_SIZE);
}

/** Whether a field of a Value, as just read, is one of its kinds: unknown fields and wrong wire types are not. */
export function isKind(field: u32, type: u32): bool {
  if (field == NULL_KIND || field == BOOL_KIND) return type == VARINT;
  if (field == NUMBER_KIND) return type == FIXED64;
  return field >= STRING_KIND && field <= LIST_KIND && type == LENGTH;
}

/** Whether eight bytes are a double that JSON can say: neither NaN nor an infinity (all exponent bits set). */
export function isFinite64(at: usize): bool {
  return (load<u64>(at) & 0x7ff0000000000000) != 0x7ff0000000000000;
}

/**
 * Whether the bytes are a Struct that every reader in Envoy can take: well-formed, nested no deeper than
 * MOST_NESTING, all strings UTF-8, and with a JSON form. The last is stricter than protobuf: Envoy's formatters
 * blank or crash on a Value without a kind, on NaN and on infinities, so these are refused wherever they stand,
 * even in an entry that a later one with the same key replaces.
 */
export function isSoundStruct(bytes: Slice): bool {
  fault = MALFORMED;
  return soundStruct(bytes.at, bytes.end(), 0);
}

function soundStruct(at: usize, end: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return refuse(NESTING);
  const struct = cursorAt(depth);
  struct.open(at, end, depth);
  while (struct.next()) {
    if (struct.field != STRUCT_FIELDS || struct.type != LENGTH) continue;
    if (!soundEntry(struct.at, struct.at + struct.size, depth + 1)) return false;
  }
  return struct.sound;
}

function soundEntry(at: usize, end: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return refuse(NESTING);
  const entry = cursorAt(depth);
  let hasValue = false;
  entry.open(at, end, depth);
  while (entry.next()) {
    if (entry.type != LENGTH) continue;
    if (entry.field == ENTRY_KEY) {
      if (!isUtf8(entry.at, entry.at + entry.size)) return refuse(NOT_UTF8);
    } else if (entry.field == ENTRY_VALUE) {
      if (!soundValue(entry.at, entry.at + entry.size, depth + 1)) return false;
      hasValue = true;
    }
  }
  return entry.sound && (hasValue || refuse(NO_JSON_FORM));
}

function soundValue(at: usize, end: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return refuse(NESTING);
  const value = cursorAt(depth);
  let hasKind = false;
  value.open(at, end, depth);
  while (value.next()) {
    if (!isKind(value.field, value.type)) continue;
    hasKind = true;
    const content = value.at;
    const contentEnd = content + value.size;
    if (value.field == NUMBER_KIND) {
      if (!isFinite64(content)) return refuse(NO_JSON_FORM);
    } else if (value.field == STRING_KIND) {
      if (!isUtf8(content, contentEnd)) return refuse(NOT_UTF8);
    } else if (value.field == STRUCT_KIND) {
      if (!soundStruct(content, contentEnd, depth + 1)) return false;
    } else if (value.field == LIST_KIND) {
      if (!soundList(content, contentEnd, depth + 1)) return false;
    }
  }
  return value.sound && (hasKind || refuse(NO_JSON_FORM));
}

function soundList(at: usize, end: usize, depth: u32): bool {
  if (depth > MOST_NESTING) return refuse(NESTING);
  const list = cursorAt(depth);
  list.open(at, end, depth);
  while (list.next()) {
    if (list.field != LIST_VALUES || list.type != LENGTH) continue;
    if (!soundValue(list.at, list.at + list.size, depth + 1)) return false;
  }
  return list.sound;
}

/** The kind of a serialized Value; the bytes of a string, a Struct or a list are then its `content`. */
export function kindOf(bytes: Slice, content: Slice): u32 {
  const value = cursorAt(0);
  let kind = NO_KIND;
  value.open(bytes.at, bytes.end(), 0);
  while (value.next()) {
    if (!isKind(value.field, value.type)) continue;
    kind = value.field;
    content.set(value.at, value.size);
  }
  return value.sound ? kind : NO_KIND;
}
