// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { compare, Slice } from '../memory/slice';
import { isUtf8 } from './utf8';

/**
 * A JSON reader (RFC 8259) that is asked for one thing after another: `open`, then `peek` and the read function
 * that fits, `finish` at the end. It makes nothing, needs no more memory than escaped strings take in the arena,
 * and stops at the first fault, which it remembers: `problem` in words and `offset` in bytes.
 *
 *     {"headers": {"id": "x-id"}}
 *     enter  nextMember  enter  nextMember  readString  nextMember -> false  nextMember -> false  finish
 */

/** What kind of value comes next. */
export const MALFORMED: u32 = 0;
export const OBJECT: u32 = 1;
export const ARRAY: u32 = 2;
export const STRING: u32 = 3;
export const NUMBER: u32 = 4;
export const BOOL: u32 = 5;
export const NULL: u32 = 6;

let start: usize = 0;
let at: usize = 0;
let end: usize = 0;
/** Whether an object or array was just entered: its first member has no comma before it. */
let entered: bool = false;
/** Where the key begins that was read last. */
let keyAt: usize = 0;
let faultAt: usize = 0;
let faultText: Ascii = 0;

/** Begins with a text. */
export function open(text: Slice): void {
  start = text.at;
  at = text.at;
  end = text.end();
  entered = false;
  faultAt = 0;
  faultText = 0;
}

/** What is wrong with the text, or 0. */
export function problem(): Ascii {
  return faultText;
}

/** Where the fault is, or else where the next token begins: bytes from the start of the text. */
export function offset(): u32 {
  if (faultAt) return <u32>(faultAt - start);
  skipSpace();
  return <u32>(at - start);
}

/** Where the key begins that was read last: bytes from the start of the text. */
export function keyOffset(): u32 {
  return <u32>(keyAt - start);
}

/** The kind of the next value, which is not read; MALFORMED if none can begin here. */
export function peek(): u32 {
  skipSpace();
  if (faultAt) return MALFORMED;
  const byte: u32 = at < end ? load<u8>(at) : 0;
  if (byte == 0x7b) return OBJECT;
  if (byte == 0x5b) return ARRAY;
  if (byte == 0x22) return STRING;
  if (byte == 0x2d || (byte >= 0x30 && byte <= 0x39)) return NUMBER;
  if (isWord('true') || isWord('false')) return BOOL;
  if (isWord('null')) return NULL;
  fault(at < end ? 'a value was expected' : 'the text ends too soon');
  return MALFORMED;
}

/** Goes into the object or array that `peek` found. */
export function enter(): void {
  at++;
  entered = true;
}

/** Goes to the next member of an object and reads its key; false behind the last one, or at a fault. */
export function nextMember(key: Slice): bool {
  if (!next(0x7d)) return false;
  if (at >= end || load<u8>(at) != 0x22) return fault(at < end ? 'a key was expected' : 'the text ends too soon');
  keyAt = at;
  if (!readString(key)) return false;
  skipSpace();
  if (at >= end || load<u8>(at) != 0x3a) return fault(at < end ? 'a colon was expected' : 'the text ends too soon');
  at++;
  return true;
}

/** Goes to the next element of an array; false behind the last one, or at a fault. */
export function nextElement(): bool {
  return next(0x5d);
}

/** Reads the string that `peek` found; `value` is then its bytes, without quotes and escapes. */
export function readString(value: Slice): bool {
  at++;
  const first = at;
  let escaped = false;
  while (at < end) {
    const byte = load<u8>(at);
    if (byte == 0x22) {
      if (!isUtf8(first, at)) return faultFrom(first, 'a string is not UTF-8');
      value.set(first, <u32>(at - first));
      at++;
      return escaped ? unescape(value) : true;
    }
    if (byte < 0x20) return fault('a control character stands in a string');
    if (byte == 0x5c) {
      escaped = true;
      at++;
    }
    at++;
  }
  at = end;
  return fault('a string does not end');
}

/** Reads the null that `peek` found. */
export function readNull(): void {
  at += 4;
}

/** Reads the boolean that `peek` found. */
export function readBool(): bool {
  const isTrue = load<u8>(at) == 0x74;
  at += isTrue ? 4 : 5;
  return isTrue;
}

/** What `readWhole` answers for a number that is not whole, negative or larger than this. */
export const NO_WHOLE: u32 = 0xffffffff;

/** Reads the number that `peek` found, if it is a whole one from 0 on; `5.0` is, as some writers have it. */
export function readWhole(): u32 {
  const isNegative = load<u8>(at) == 0x2d;
  if (isNegative) at++;
  const first = at;
  let value: u64 = 0;
  while (isDigit()) {
    value = min<u64>(value * 10 + (load<u8>(at) - 0x30), NO_WHOLE);
    at++;
  }
  if (at == first || (load<u8>(first) == 0x30 && at > first + 1)) return badNumber();
  let isWhole = !isNegative || value == 0;
  if (at < end && load<u8>(at) == 0x2e) {
    at++;
    if (!isDigit()) return badNumber();
    for (; isDigit(); at++) isWhole = isWhole && load<u8>(at) == 0x30;
  }
  if (at < end && (load<u8>(at) | 0x20) == 0x65) {
    at++;
    if (at < end && (load<u8>(at) == 0x2b || load<u8>(at) == 0x2d)) at++;
    if (!isDigit()) return badNumber();
    while (isDigit()) at++;
    isWhole = false;
  }
  return isWhole ? <u32>value : NO_WHOLE;
}

function isDigit(): bool {
  return at < end && load<u8>(at) >= 0x30 && load<u8>(at) <= 0x39;
}

function badNumber(): u32 {
  fault('a number is malformed');
  return NO_WHOLE;
}

/** Whether nothing but white space is left. */
export function finish(): bool {
  skipSpace();
  if (faultAt) return false;
  return at == end || fault('something follows the end');
}

function fault(text: Ascii): bool {
  return faultFrom(at, text);
}

function faultFrom(where: usize, text: Ascii): bool {
  if (!faultAt) {
    faultAt = where;
    faultText = text;
  }
  return false;
}

function skipSpace(): void {
  while (at < end) {
    const byte = load<u8>(at);
    if (byte != 0x20 && byte != 0x09 && byte != 0x0a && byte != 0x0d) return;
    at++;
  }
}

/** Goes over what separates members: true where another one begins, false behind `closing` or at a fault. */
function next(closing: u8): bool {
  skipSpace();
  if (faultAt) return false;
  if (at >= end) return fault('the text ends too soon');
  if (load<u8>(at) == closing) {
    at++;
    entered = false;
    return false;
  }
  if (entered) {
    entered = false;
    return true;
  }
  if (load<u8>(at) != 0x2c) return fault('a comma was expected');
  at++;
  skipSpace();
  if (at < end && load<u8>(at) == closing) return fault('nothing follows a comma');
  return true;
}

/** Whether a word of the language stands here, and ends here. */
function isWord(word: Ascii): bool {
  const length = sizeOf(word);
  if (at + length > end || compare(at, bytesOf(word), length) != 0) return false;
  if (at + length == end) return true;
  const after: u32 = load<u8>(at + length);
  return !((after >= 0x30 && after <= 0x39) || ((after | 0x20) >= 0x61 && (after | 0x20) <= 0x7a) || after == 0x5f);
}

/** Copies a string into the arena without its escapes, which never make it longer. */
function unescape(value: Slice): bool {
  const from = value.at;
  const fromEnd = value.end();
  let to = take(value.size);
  if (!to) return faultFrom(from, 'a string is too long');
  value.at = to;
  let i = from;
  while (i < fromEnd) {
    const byte = load<u8>(i);
    i++;
    if (byte != 0x5c) {
      store<u8>(to, byte);
      to++;
      continue;
    }
    // The byte behind a backslash is inside the string: the loop that found the closing quote went over both.
    const letter: u32 = load<u8>(i);
    i++;
    if (letter == 0x75) {
      let point = hex4(i, fromEnd);
      i += 4;
      if (point >= 0xd800 && point <= 0xdbff) {
        const low = i + 6 <= fromEnd && load<u16>(i) == 0x755c ? hex4(i + 2, fromEnd) : NO_HEX;
        if (low < 0xdc00 || low > 0xdfff) return faultFrom(i - 6, 'half a surrogate pair');
        point = 0x10000 + ((point - 0xd800) << 10) + (low - 0xdc00);
        i += 6;
      } else if (point >= 0xdc00 && point <= 0xdfff) {
        return faultFrom(i - 6, 'half a surrogate pair');
      }
      if (point > 0x10ffff) return faultFrom(i - 6, 'an escape is not known');
      to = putPoint(point, to);
      continue;
    }
    const plain = escapeOf(letter);
    if (!plain) return faultFrom(i - 2, 'an escape is not known');
    store<u8>(to, <u8>plain);
    to++;
  }
  value.size = <u32>(to - value.at);
  return true;
}

function escapeOf(letter: u32): u32 {
  if (letter == 0x22 || letter == 0x5c || letter == 0x2f) return letter;
  if (letter == 0x62) return 0x08;
  if (letter == 0x66) return 0x0c;
  if (letter == 0x6e) return 0x0a;
  if (letter == 0x72) return 0x0d;
  if (letter == 0x74) return 0x09;
  return 0;
}

/** More than any code point: four letters that are not hexadecimal digits. */
const NO_HEX: u32 = 0xffffffff;

function hex4(from: usize, limit: usize): u32 {
  if (from + 4 > limit) return NO_HEX;
  let value: u32 = 0;
  for (let i: usize = 0; i < 4; i++) {
    const byte: u32 = load<u8>(from + i);
    const lower = byte | 0x20;
    if (byte >= 0x30 && byte <= 0x39) value = (value << 4) | (byte - 0x30);
    else if (lower >= 0x61 && lower <= 0x66) value = (value << 4) | (lower - 0x57);
    else return NO_HEX;
  }
  return value;
}

/** Writes a code point as UTF-8 and returns where the next one goes. */
function putPoint(point: u32, to: usize): usize {
  if (point < 0x80) {
    store<u8>(to, <u8>point);
    return to + 1;
  }
  if (point < 0x800) {
    store<u8>(to, <u8>(0xc0 | (point >> 6)));
    store<u8>(to, <u8>(0x80 | (point & 63)), 1);
    return to + 2;
  }
  if (point < 0x10000) {
    store<u8>(to, <u8>(0xe0 | (point >> 12)));
    store<u8>(to, <u8>(0x80 | ((point >> 6) & 63)), 1);
    store<u8>(to, <u8>(0x80 | (point & 63)), 2);
    return to + 3;
  }
  store<u8>(to, <u8>(0xf0 | (point >> 18)));
  store<u8>(to, <u8>(0x80 | ((point >> 12) & 63)), 1);
  store<u8>(to, <u8>(0x80 | ((point >> 6) & 63)), 2);
  store<u8>(to, <u8>(0x80 | (point & 63)), 3);
  return to + 4;
}
