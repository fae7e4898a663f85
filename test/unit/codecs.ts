// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { encode } from 'as-base64/assembly/index';
import { Cursor, Writer } from '../../assembly/wire/protobuf';

/**
 * The codecs and the memory below them as a module of their own, compiled as the release is. Slices, entries and
 * strings are addresses to the tests (support.ts), which read and write them in the module's memory.
 */

export { refused, reserve, startOver, take } from '../../assembly/memory/arena';
export { giveAll, giveBlock, takeBlock, takeFor } from '../../assembly/memory/blocks';
export { claim, find, release, releaseAll } from '../../assembly/memory/stream_table';
export {
  decode as decodeBase64,
  encode as encodeBase64,
  encodedSize as encodedBase64Size,
} from '../../assembly/wire/base64';
export { canonical, leftOut, roomForCanonical } from '../../assembly/wire/canonical';
export {
  enter,
  finish,
  keyOffset,
  nextElement,
  nextMember,
  offset,
  open as openJson,
  peek,
  problem,
  readNull,
  readString,
} from '../../assembly/wire/json';
export { readNode } from '../../assembly/wire/node';
export { isSoundStruct, kindOf } from '../../assembly/wire/struct';
export { isUtf8 } from '../../assembly/wire/utf8';

/** Room for eight Slices, with which the tests say where bytes are and learn where others are. */
export const slices: usize = memory.data(64, 8);

const cursor = changetype<Cursor>(memory.data(40, 8));
const writer = changetype<Writer>(memory.data(16, 8));

export function openCursor(at: usize, end: usize): void {
  cursor.open(at, end, 0);
}

export function nextField(): bool {
  return cursor.next();
}

export function cursorField(): u32 {
  return cursor.field;
}

export function cursorType(): u32 {
  return cursor.type;
}

export function cursorNumber(): u64 {
  return cursor.number;
}

export function cursorAt(): usize {
  return cursor.at;
}

export function cursorSize(): u32 {
  return cursor.size;
}

export function cursorSound(): bool {
  return cursor.sound;
}

export function openWriter(start: usize, size: u32): void {
  writer.open(start, size);
}

export function writeByte(value: u32): void {
  writer.byte(<u8>value);
}

export function writeBytes(at: usize, size: u32): void {
  writer.bytes(at, size);
}

export function writeVarint(value: u64): void {
  writer.varint(value);
}

export function closeField(field: u32, end: usize): void {
  writer.close(field, end);
}

export function writerHead(): usize {
  return writer.head;
}

export function writerFull(): bool {
  return writer.full;
}

/**
 * as-base64's encoder: an opinion that is not ours, as an AssemblyScript string. It takes memory that `takeBlock` knows
 * nothing of: a test uses one of the two, never both in the same instance.
 */
export function referenceBase64(at: usize, size: i32): string {
  const bytes = new Uint8Array(size);
  memory.copy(bytes.dataStart, at, size);
  return encode(bytes);
}
