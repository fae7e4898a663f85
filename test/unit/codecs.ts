// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { encode } from 'as-base64/assembly/index';
import { allocate } from '../../assembly/memory/blocks';
import { Cache } from '../../assembly/memory/cache';
import { Entry, Pool } from '../../assembly/memory/pool';
import { Place, QUEUE_SIZE, Queue } from '../../assembly/memory/queue';
import { orderFor, Room, roomSize } from '../../assembly/memory/room';
import { slice } from '../../assembly/memory/slice';
import { Cursor, Writer } from '../../assembly/wire/protobuf';

/**
 * The codecs and the memory below them as a module of their own, compiled as the release is. Slices, entries and
 * strings are addresses to the tests (support.ts), which read and write them in the module's memory.
 */

export { refused, reserve, startOver, take } from '../../assembly/memory/arena';
export { allocate, allocateFor, release, releaseAll } from '../../assembly/memory/blocks';
export { orderFor, pieceSize } from '../../assembly/memory/room';
export { readBaggage, removeWorkload } from '../../assembly/wire/baggage';
export {
  decode as decodeBase64,
  encode as encodeBase64,
  encodedSize as encodedBase64Size,
} from '../../assembly/wire/base64';
export { canonical, roomForCanonical } from '../../assembly/wire/canonical';
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
export { namespaceOf } from '../../assembly/wire/owner';
export { findText } from '../../assembly/wire/path';
export { bodySize, mayBegin, readBody, roomForPreface, writePreface } from '../../assembly/wire/preface';
export { faultOf, kindOf } from '../../assembly/wire/struct';
export { hasControlCharacter, isUtf8 } from '../../assembly/wire/utf8';

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

const pool = changetype<Pool>(memory.data(32, 4));
const POOL_LISTS: u32 = 64;

/** A pool of records of 16 bytes: the last four are the test's. */
export function openPool(most: u32): void {
  pool.open(16, most, allocate(POOL_LISTS * 4), POOL_LISTS);
  memory.fill(load<usize>(changetype<usize>(pool) + offsetof<Pool>('heads')), 0, POOL_LISTS * 4);
}

export function addRecord(id: u32): usize {
  const entry = pool.add(id);
  return entry ? changetype<usize>(entry) : 0;
}

export function findRecord(id: u32): usize {
  const entry = pool.find(id);
  return entry ? changetype<usize>(entry) : 0;
}

export function removeRecord(at: usize): void {
  pool.remove(changetype<Entry>(at));
}

export function liveRecords(): u32 {
  return pool.live;
}

const queue = changetype<Queue>(memory.data(8, 4));

/** Forgets what stands in the queue. */
export function openQueue(): void {
  memory.fill(changetype<usize>(queue), 0, QUEUE_SIZE);
}

export function addToQueue(place: usize, record: usize, due: u32): void {
  queue.add(changetype<Place>(place), record, due);
}

export function removeFromQueue(place: usize): void {
  queue.remove(changetype<Place>(place));
}

export function takeDue(time: u32): usize {
  return queue.takeDue(time);
}

export function isQueueEmpty(): bool {
  return queue.isEmpty();
}

const room = changetype<Room>(memory.data(16, 4));

export function openRoom(order: u32): void {
  room.open(allocate(roomSize(order)), order);
}

export function takePiece(order: u32): usize {
  return room.take(order);
}

export function releasePiece(at: usize, size: u32): void {
  room.release(at, orderFor(size));
}

const cache = changetype<Cache>(memory.data(80, 8));

export function openCache(entries: u32): bool {
  return cache.open(entries, 42);
}

/** Finds as the module does: the newest first, then by hash. */
export function findInCache(key: usize, value: usize, use: u32): bool {
  if (cache.findNewest(slice(key), use, slice(value))) return true;
  return cache.find(slice(key), cache.hash(slice(key)), use, slice(value));
}

export function keepInCache(key: usize, value: usize, use: u32): void {
  cache.keep(slice(key), cache.hash(slice(key)), use, slice(value));
}

export function cacheCount(): u32 {
  return cache.count;
}

export function cacheBytes(): u32 {
  return cache.bytes;
}

/**
 * as-base64's encoder: an opinion that is not ours, as an AssemblyScript string. It takes memory that `allocate` knows
 * nothing of: a test uses one of the two, never both in the same instance.
 */
export function referenceBase64(at: usize, size: i32): string {
  const bytes = new Uint8Array(size);
  memory.copy(bytes.dataStart, at, size);
  return encode(bytes);
}
