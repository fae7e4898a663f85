// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as log from '../host/log';
import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { allocateFor } from '../memory/blocks';
import { SLICE_SIZE, Slice, sameBytes, slice } from '../memory/slice';
import { Text } from '../memory/text';
import * as json from '../wire/json';

/**
 * Reading a configuration value by value, and saying what is wrong with one: where it stands, as a path and in bytes.
 * Which fields there are, and what they mean, is in config.ts and lists.ts.
 */

/** A field that nobody knows. */
export const UNKNOWN: u32 = 0;

/** The field that is being read, for error messages: `downstream_discovery[0].istio_headers`. */
const path = changetype<Text>(memory.data(12, 4));
const PATH_ROOM: u32 = 192;
const pathRoom = memory.data(192);

/** The key that was read last. */
export const key = slice(memory.data(8, 4));
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
  return allocateFor(keeper, size);
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

/** Reads a string that is not empty; `text` is then its bytes, without quotes and escapes. */
export function readText(text: Slice): bool {
  const offset = json.offset();
  if (!readAnyText(text)) return false;
  return text.size > 0 || refuse(offset, 'must not be empty');
}

/** Reads a string, even an empty one. */
export function readAnyText(text: Slice): bool {
  if (!expect(json.STRING)) return false;
  return json.readString(text) || malformed();
}

/** The answer of `readNumber` and `readBool` where there was none, and the reason is in the log. */
export const REFUSED: i32 = -1;

/** Reads a whole number from `least` to `most`. */
export function readNumber(least: u32, most: u32): i32 {
  if (!expect(json.NUMBER)) return REFUSED;
  const offset = json.offset();
  const number = json.readWhole();
  if (!isWellFormed()) return REFUSED;
  if (number >= least && number <= most) return <i32>number;
  const message = refusal(offset);
  message.add('must be a whole number from ');
  message.addNumber(least);
  message.add(' to ');
  message.addNumber(most);
  log.error();
  return REFUSED;
}

/** Reads a boolean: 0 or 1. */
export function readBool(): i32 {
  if (!expect(json.BOOL)) return REFUSED;
  const isTrue = json.readBool();
  return isWellFormed() ? <i32>isTrue : REFUSED;
}

/** A list of texts: `at` is slices in a row. */
@unmanaged
export class Texts {
  at: usize;
  count: u32;

  get(index: u32): Slice {
    return slice(this.at + index * <u32>SLICE_SIZE);
  }
}

const MOST_TEXTS: u32 = 100;

/**
 * Reads a list of at most `most` texts, each of them once, and keeps it as long as the configuration. `longest`: 0, or
 * how many bytes each may have, all of them printable ASCII but no space. Null: it is refused, and the log says why.
 */
export function readTexts(most: u32 = MOST_TEXTS, longest: u32 = 0): Texts | null {
  if (!expect(json.ARRAY)) return null;
  const at = keepRoom(offsetof<Texts>() + most * <u32>SLICE_SIZE);
  if (!at) {
    refuse(json.offset(), 'does not fit into memory');
    return null;
  }
  const texts = changetype<Texts>(at);
  texts.at = at + offsetof<Texts>();
  texts.count = 0;
  return readElements(texts, most, longest) ? texts : null;
}

function readElements(texts: Texts, most: u32, longest: u32): bool {
  let index: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(index);
    const offset = json.offset();
    if (index++ == most) return refuseBeyond(offset, 'is one too many: there may be ', most);
    const text = texts.get(texts.count);
    if (!(longest ? readShortText(text, longest) : readText(text))) return false;
    if (!isListed(texts, text)) {
      const copy = kept(text);
      if (!copy) return false;
      text.copy(copy);
      texts.count++;
    }
    stepBack(size);
  }
  return isWellFormed();
}

/** Reads a string that is not empty, of at most so many bytes, all of them printable ASCII but no space. */
export function readShortText(text: Slice, longest: u32): bool {
  const offset = json.offset();
  if (!readText(text)) return false;
  if (text.size > longest) return refuseBeyond(offset, 'is too long, its most bytes are ', longest);
  return isPrintable(text) || refuse(offset, 'must be printable ASCII, without spaces');
}

function isPrintable(text: Slice): bool {
  for (let at = text.at; at < text.end(); at++) {
    const byte = load<u8>(at);
    if (byte < 0x21 || byte > 0x7e) return false;
  }
  return true;
}

function isListed(texts: Texts, text: Slice): bool {
  for (let i: u32 = 0; i < texts.count; i++) {
    if (sameBytes(texts.get(i), text)) return true;
  }
  return false;
}

/** A text, kept as long as the configuration; null, with the reason in the log, if there is no memory. */
export function kept(text: Slice): Slice | null {
  const at = keepRoom(SLICE_SIZE + text.size);
  if (!at) {
    refuse(json.offset(), 'does not fit into memory');
    return null;
  }
  memory.copy(at + SLICE_SIZE, text.at, text.size);
  const copy = slice(at);
  copy.set(at + SLICE_SIZE, text.size);
  return copy;
}

/** Reads a field name as RFC 9110 has it, in lower case as HTTP/2 wants it. */
export function readHeaderName(name: Slice): bool {
  const offset = json.offset();
  if (!readText(name)) return false;
  for (let at = name.at; at < name.end(); at++) {
    const byte: u32 = load<u8>(at);
    if (!isTokenByte(byte)) return refuse(offset, 'is not a valid header name');
    if (byte >= 0x41 && byte <= 0x5a) store<u8>(at, <u8>(byte | 0x20));
  }
  return !isReserved(name) || refuse(offset, 'is a header that has another use');
}

function isTokenByte(byte: u32): bool {
  const lower = byte | 0x20;
  if ((byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x7a)) return true;
  // ! # $ % & ' * + - . ^ _ ` | ~
  if (byte == 0x21 || byte == 0x5e || byte == 0x5f || byte == 0x60 || byte == 0x7c || byte == 0x7e) return true;
  return (byte >= 0x23 && byte <= 0x27) || byte == 0x2a || byte == 0x2b || byte == 0x2d || byte == 0x2e;
}

/**
 * Headers that frame a message or say where it goes (to strip or overwrite one would break the request itself), and
 * headers that carry what is somebody else's: credentials, cookies, traces, addresses.
 */
const RESERVED: Ascii =
  'accept accept-encoding authorization b3 baggage connection content-encoding content-length content-type cookie date expect forwarded grpc-message grpc-status host keep-alive location proxy-authenticate proxy-authorization proxy-connection server set-cookie te trailer traceparent tracestate transfer-encoding upgrade via www-authenticate x-forwarded-client-cert x-forwarded-for x-forwarded-host x-forwarded-proto x-request-id ';

function isReserved(name: Slice): bool {
  const end = bytesOf(RESERVED) + sizeOf(RESERVED);
  let at = bytesOf(RESERVED);
  while (at < end) {
    const begin = at;
    while (load<u8>(at) != 0x20) at++;
    reserved.set(begin, <u32>(at - begin));
    if (sameBytes(reserved, name)) return true;
    at++;
  }
  return false;
}

const reserved = slice(memory.data(8, 4));

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

/** Says what bound a field is beyond; always false. */
function refuseBeyond(offset: u32, problem: Ascii, bound: u32): bool {
  const message = refusal(offset);
  message.add(problem);
  message.addNumber(bound);
  log.error();
  return false;
}

/** Says that a message is of a type that is no configuration; always false. */
export function refuseType(type: Slice): bool {
  const message = refusal(0);
  message.add('a message of the type ');
  message.addQuoted(type);
  message.add(' without a Struct inside is no configuration');
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
