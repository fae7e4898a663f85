// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice } from '../memory/slice';
import { CURSOR_SIZE, Cursor, FIXED64, LENGTH, MOST_NESTING, VARINT } from './protobuf';
import { hasControlCharacter, isUtf8 } from './utf8';

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

/** What can be wrong with a Struct. */
export const SOUND: u32 = 0;
export const MALFORMED: u32 = 1;
export const NOT_UTF8: u32 = 2;
export const CONTROL_CHARACTER: u32 = 3;
export const NO_JSON_FORM: u32 = 4;
export const NESTING: u32 = 5;

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
 * SOUND, if the bytes are a Struct that every reader in Envoy takes, and takes alike; else the first fault. It must be
 * well-formed, nested no deeper than MOST_NESTING, with all strings UTF-8, and have a JSON form: Envoy's formatters
 * blank or crash on a Value without a kind, on NaN and on infinities. Keys and strings must have no control
 * characters: some readers end them at NUL, so that `NAMESPACE\0` would be `NAMESPACE` to one and another key to the
 * next, and CR and LF break text logs and headers that are made of them. All of this holds even for an entry that a
 * later one with the same key replaces.
 */
export function faultOf(bytes: Slice): u32 {
  return faultOfStruct(bytes.at, bytes.end(), 0, true);
}

/** The same of a Struct that may have control characters: an operator's, not a peer's. */
export function faultOfOwn(bytes: Slice): u32 {
  return faultOfStruct(bytes.at, bytes.end(), 0, false);
}

/** What is wrong with a key or a string. */
export function faultOfText(at: usize, end: usize): u32 {
  if (!isUtf8(at, end)) return NOT_UTF8;
  return hasControlCharacter(at, end) ? CONTROL_CHARACTER : SOUND;
}

function faultOfString(at: usize, end: usize, isPeers: bool): u32 {
  if (isPeers) return faultOfText(at, end);
  return isUtf8(at, end) ? SOUND : NOT_UTF8;
}

function faultOfStruct(at: usize, end: usize, depth: u32, isPeers: bool): u32 {
  if (depth > MOST_NESTING) return NESTING;
  const struct = cursorAt(depth);
  struct.open(at, end, depth);
  while (struct.next()) {
    if (struct.field != STRUCT_FIELDS || struct.type != LENGTH) continue;
    const fault = faultOfEntry(struct.at, struct.at + struct.size, depth + 1, isPeers);
    if (fault != SOUND) return fault;
  }
  return struct.sound ? SOUND : MALFORMED;
}

function faultOfEntry(at: usize, end: usize, depth: u32, isPeers: bool): u32 {
  if (depth > MOST_NESTING) return NESTING;
  const entry = cursorAt(depth);
  let hasValue = false;
  entry.open(at, end, depth);
  while (entry.next()) {
    if (entry.type != LENGTH) continue;
    let fault = SOUND;
    if (entry.field == ENTRY_KEY) {
      fault = faultOfString(entry.at, entry.at + entry.size, isPeers);
    } else if (entry.field == ENTRY_VALUE) {
      fault = faultOfValue(entry.at, entry.at + entry.size, depth + 1, isPeers);
      hasValue = true;
    }
    if (fault != SOUND) return fault;
  }
  if (!entry.sound) return MALFORMED;
  return hasValue ? SOUND : NO_JSON_FORM;
}

function faultOfValue(at: usize, end: usize, depth: u32, isPeers: bool): u32 {
  if (depth > MOST_NESTING) return NESTING;
  const value = cursorAt(depth);
  let hasKind = false;
  value.open(at, end, depth);
  while (value.next()) {
    if (!isKind(value.field, value.type)) continue;
    hasKind = true;
    const content = value.at;
    const contentEnd = content + value.size;
    let fault = SOUND;
    if (value.field == NUMBER_KIND) {
      if (!isFinite64(content)) fault = NO_JSON_FORM;
    } else if (value.field == STRING_KIND) {
      fault = faultOfString(content, contentEnd, isPeers);
    } else if (value.field == STRUCT_KIND) {
      fault = faultOfStruct(content, contentEnd, depth + 1, isPeers);
    } else if (value.field == LIST_KIND) {
      fault = faultOfList(content, contentEnd, depth + 1, isPeers);
    }
    if (fault != SOUND) return fault;
  }
  if (!value.sound) return MALFORMED;
  return hasKind ? SOUND : NO_JSON_FORM;
}

function faultOfList(at: usize, end: usize, depth: u32, isPeers: bool): u32 {
  if (depth > MOST_NESTING) return NESTING;
  const list = cursorAt(depth);
  list.open(at, end, depth);
  while (list.next()) {
    if (list.field != LIST_VALUES || list.type != LENGTH) continue;
    const fault = faultOfValue(list.at, list.at + list.size, depth + 1, isPeers);
    if (fault != SOUND) return fault;
  }
  return list.sound ? SOUND : MALFORMED;
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
