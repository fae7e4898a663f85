// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { Slice } from '../memory/slice';
import { LENGTH } from './protobuf';
import {
  BOOL_KIND,
  cursorAt,
  ENTRY_KEY,
  ENTRY_VALUE,
  faultOfOwn,
  isKind,
  LIST_KIND,
  LIST_VALUES,
  NO_KIND,
  NULL_KIND,
  NUMBER_KIND,
  SOUND,
  STRING_KIND,
  STRUCT_FIELDS,
} from './struct';

/**
 * A serialized google.protobuf.Struct as JSON text. Envoy hands a plugin configuration that is given as a Struct to
 * the module as the message's bytes (seen on 1.40); from here on it is read like one that is given as text.
 */

/** Where the next byte of the text goes. */
let to: usize = 0;

/**
 * Whether bytes are a Struct and not JSON text. A Struct with a field begins with a tag that JSON takes for a line
 * feed; but each field has the tag of its value, 0x12, which no JSON text can contain.
 */
export function looksLikeStruct(bytes: Slice): bool {
  return bytes.size > 0 && load<u8>(bytes.at) == 0x0a && faultOfOwn(bytes) == SOUND;
}

/** Bytes that the arena must have for `toJson`: every byte of a string may become six, `\u0000`. */
export function roomForJson(size: u32): usize {
  return size * 6 + 64;
}

/** Writes a sound Struct as JSON text into the arena, as `out`; false if the arena has no room. */
export function toJson(from: Slice, out: Slice): bool {
  const start = take(roomForJson(from.size));
  if (!start) return false;
  to = start;
  putStruct(from.at, from.end(), 0);
  out.set(start, <u32>(to - start));
  return true;
}

function put(byte: u32): void {
  store<u8>(to, <u8>byte);
  to++;
}

function putWord(word: Ascii): void {
  memory.copy(to, bytesOf(word), sizeOf(word));
  to += sizeOf(word);
}

function putStruct(at: usize, end: usize, depth: u32): void {
  const struct = cursorAt(depth);
  let isFirst = true;
  put(0x7b);
  struct.open(at, end, depth);
  while (struct.next()) {
    if (struct.field != STRUCT_FIELDS || struct.type != LENGTH) continue;
    if (!isFirst) put(0x2c);
    isFirst = false;
    putEntry(struct.at, struct.at + struct.size, depth + 1);
  }
  put(0x7d);
}

function putEntry(at: usize, end: usize, depth: u32): void {
  const entry = cursorAt(depth);
  let keyAt = at;
  let keyEnd = at;
  let valueAt = at;
  let valueEnd = at;
  entry.open(at, end, depth);
  while (entry.next()) {
    if (entry.type != LENGTH) continue;
    if (entry.field == ENTRY_KEY) {
      keyAt = entry.at;
      keyEnd = keyAt + entry.size;
    } else if (entry.field == ENTRY_VALUE) {
      valueAt = entry.at;
      valueEnd = valueAt + entry.size;
    }
  }
  putString(keyAt, keyEnd);
  put(0x3a);
  putValue(valueAt, valueEnd, depth + 1);
}

function putValue(at: usize, end: usize, depth: u32): void {
  const value = cursorAt(depth);
  let kind = NO_KIND;
  let content = at;
  let contentEnd = at;
  let number: u64 = 0;
  value.open(at, end, depth);
  while (value.next()) {
    if (!isKind(value.field, value.type)) continue;
    kind = value.field;
    number = value.number;
    content = value.at;
    contentEnd = content + value.size;
  }
  if (kind == NULL_KIND) putWord('null');
  else if (kind == BOOL_KIND) putWord(number != 0 ? 'true' : 'false');
  else if (kind == NUMBER_KIND) putNumber(load<f64>(content));
  else if (kind == STRING_KIND) putString(content, contentEnd);
  else if (kind == LIST_KIND) putList(content, contentEnd, depth + 1);
  else putStruct(content, contentEnd, depth + 1);
}

function putList(at: usize, end: usize, depth: u32): void {
  const list = cursorAt(depth);
  let isFirst = true;
  put(0x5b);
  list.open(at, end, depth);
  while (list.next()) {
    if (list.field != LIST_VALUES || list.type != LENGTH) continue;
    if (!isFirst) put(0x2c);
    isFirst = false;
    putValue(list.at, list.at + list.size, depth + 1);
  }
  put(0x5d);
}

function putString(at: usize, end: usize): void {
  put(0x22);
  for (; at < end; at++) {
    const byte: u32 = load<u8>(at);
    if (byte < 0x20) {
      putWord('\\u00');
      put(hexDigit(byte >> 4));
      put(hexDigit(byte & 15));
      continue;
    }
    if (byte == 0x22 || byte == 0x5c) put(0x5c);
    put(byte);
  }
  put(0x22);
}

function hexDigit(value: u32): u32 {
  return value < 10 ? 0x30 + value : 0x57 + value;
}

/**
 * No field of the configuration is anything but a whole number: of others the text keeps that they are none, as 0.5
 * or, from 2^53 on, as 1e99.
 */
function putNumber(value: f64): void {
  if (value < 0) put(0x2d);
  const size = abs(value);
  const whole = size < 9007199254740992 ? <u64>size : 0;
  if (<f64>whole != size) {
    putWord(size < 9007199254740992 ? '0.5' : '1e99');
    return;
  }
  let scale: u64 = 1;
  while (whole / scale >= 10) scale *= 10;
  for (; scale > 0; scale /= 10) put(0x30 + <u32>((whole / scale) % 10));
}
