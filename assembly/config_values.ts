// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as log from './host/log';
import { Ascii, bytesOf, isText, sizeOf } from './memory/ascii';
import { takeFor } from './memory/blocks';
import { SLICE_SIZE, Slice, slice } from './memory/slice';
import { Text } from './memory/text';
import * as json from './wire/json';

/**
 * Reading a configuration value by value, and saying what is wrong with one: where it stands, as a path and in bytes.
 * Which fields there are, and what they mean, is in config.ts.
 */

/** A field that nobody knows. */
export const UNKNOWN: u32 = 0;

/** The field that is being read, for error messages: `downstream_discovery[0].istio_headers`. */
const path = changetype<Text>(memory.data(12, 4));
const PATH_ROOM: u32 = 192;
const pathRoom = memory.data(192);

/** The key that was read last. */
export const key = slice(memory.data(8, 4));
/** The string that was read last, without quotes and escapes. */
export const text = slice(memory.data(8, 4));

/** The block that lives as long as the configuration: what is read is kept for it. */
let keeper: usize = 0;

/** Begins with a text, of which what is kept lives as long as the block `owner`. */
export function begin(source: Slice, owner: usize): void {
  keeper = owner;
  path.open(pathRoom, PATH_ROOM);
  json.open(source);
}

/** Goes back to an earlier size of the path. */
export function stepBack(size: u32): void {
  path.size = size;
}

/** A block for what is read, of `size` bytes; 0 if there is no memory. */
export function keepRoom(size: usize): usize {
  return takeFor(keeper, size);
}

/** Whether the key that was just read is this name, in snake_case or in camelCase. */
export function isNamed(name: Ascii): bool {
  let at = key.at;
  const end = key.end();
  const nameEnd = bytesOf(name) + sizeOf(name);
  for (let next = bytesOf(name); next < nameEnd; next++, at++) {
    if (at >= end) return false;
    let letter = load<u8>(next);
    const found = load<u8>(at);
    if (letter == 0x5f && found != 0x5f) letter = load<u8>(++next) & 0xdf;
    if (found != letter) return false;
  }
  return at == end;
}

/** Adds the key that was just read to the path; the answer is the size to go back to. */
export function step(): u32 {
  const size = path.size;
  if (size) path.add('.');
  path.addQuoted(key);
  return size;
}

/** Adds the place in a list to the path; the answer is the size to go back to. */
export function stepInto(index: u32): u32 {
  const size = path.size;
  path.add('[');
  path.addNumber(index);
  path.add(']');
  return size;
}

export function isNew(field: u32, seen: u32): bool {
  if (field == UNKNOWN) return refuse(json.keyOffset(), 'is not a known field');
  return (seen & (1 << field)) == 0 || refuse(json.keyOffset(), 'is given twice');
}

/** null is the same as no field at all, as in every protobuf message written as JSON. */
export function skipNull(): bool {
  if (json.peek() != json.NULL) return false;
  json.readNull();
  return true;
}

/** Where the text begins that was read last. */
export let textOffset: u32 = 0;

/** Reads a string that is not empty, as `text`. */
export function readText(): bool {
  if (!expect(json.STRING)) return false;
  textOffset = json.offset();
  if (!json.readString(text)) return malformed();
  return text.size > 0 || refuse(textOffset, 'must not be empty');
}

/** The number that was read last. */
export let number: u32 = 0;

/** Reads a whole number from `least` to `most`, as `number`. */
export function readNumber(least: u32, most: u32): bool {
  if (!expect(json.NUMBER)) return false;
  const offset = json.offset();
  number = json.readWhole();
  if (!isWellFormed()) return false;
  if (number >= least && number <= most) return true;
  const message = refusal(offset);
  message.add('must be a whole number from ');
  message.addNumber(least);
  message.add(' to ');
  message.addNumber(most);
  log.error();
  return false;
}

/** The boolean that was read last. */
export let flag: bool = false;

/** Reads a boolean, as `flag`. */
export function readBool(): bool {
  if (!expect(json.BOOL)) return false;
  flag = json.readBool();
  return isWellFormed();
}

/** Reads a field name as RFC 9110 has it, as `text`, in lower case as HTTP/2 wants it. */
export function readHeaderName(): bool {
  if (!readText()) return false;
  for (let at = text.at; at < text.end(); at++) {
    const byte: u32 = load<u8>(at);
    if (!isTokenByte(byte)) return refuse(textOffset, 'is not a valid header name');
    if (byte >= 0x41 && byte <= 0x5a) store<u8>(at, <u8>(byte | 0x20));
  }
  return !isReserved() || refuse(textOffset, 'is a header that HTTP itself needs');
}

function isTokenByte(byte: u32): bool {
  const lower = byte | 0x20;
  if ((byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x7a)) return true;
  // ! # $ % & ' * + - . ^ _ ` | ~
  if (byte == 0x21 || byte == 0x5e || byte == 0x5f || byte == 0x60 || byte == 0x7c || byte == 0x7e) return true;
  return (byte >= 0x23 && byte <= 0x27) || byte == 0x2a || byte == 0x2b || byte == 0x2d || byte == 0x2e;
}

/** Headers that frame a message or say where it goes: to strip or overwrite one would break the request itself. */
function isReserved(): bool {
  return (
    isText(text, 'host') ||
    isText(text, 'connection') ||
    isText(text, 'content-length') ||
    isText(text, 'content-type') ||
    isText(text, 'keep-alive') ||
    isText(text, 'proxy-connection') ||
    isText(text, 'te') ||
    isText(text, 'trailer') ||
    isText(text, 'transfer-encoding') ||
    isText(text, 'upgrade')
  );
}

/** `text`, kept as long as the configuration; null if there is no memory. */
export function kept(): Slice | null {
  const at = takeFor(keeper, SLICE_SIZE + text.size);
  if (!at) {
    refuse(textOffset, 'does not fit into memory');
    return null;
  }
  memory.copy(at + SLICE_SIZE, text.at, text.size);
  const copy = slice(at);
  copy.set(at + SLICE_SIZE, text.size);
  return copy;
}

export function expect(kind: u32): bool {
  const found = json.peek();
  if (found == kind) return true;
  if (found == json.MALFORMED) return malformed();
  const message = refusal(json.offset());
  message.add('expected ');
  message.add(kindName(kind));
  message.add(', found ');
  message.add(kindName(found));
  log.error();
  return false;
}

function kindName(kind: u32): Ascii {
  if (kind == json.OBJECT) return 'an object';
  if (kind == json.ARRAY) return 'a list';
  if (kind == json.STRING) return 'a string';
  if (kind == json.NUMBER) return 'a number';
  if (kind == json.BOOL) return 'a boolean';
  return 'null';
}

/** Whether the JSON is well-formed so far; if not, that is what is logged. */
export function isWellFormed(): bool {
  return json.problem() == 0 || malformed();
}

export function malformed(): bool {
  return refuse(json.offset(), json.problem());
}

/** Says what is wrong with the field of the path; always false. */
export function refuse(offset: u32, problem: Ascii): bool {
  refusal(offset).add(problem);
  log.error();
  return false;
}

/** `metadata_exchange: configuration refused at byte 24: headers.metadata: ` */
function refusal(offset: u32): Text {
  const message = log.line();
  message.add('configuration refused at byte ');
  message.addNumber(offset);
  message.add(': ');
  if (path.size) {
    message.addBytes(path.at, path.size);
    message.add(': ');
  }
  return message;
}
