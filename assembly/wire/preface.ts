// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { compare, Slice, slice } from '../memory/slice';
import { Cursor, LENGTH, Writer } from './protobuf';
import { STRING_KIND, STRUCT_KIND } from './struct';
import { closeEntry, findKind, putText } from './struct_fields';

/**
 * The preface: the first bytes of a connection on which a proxy says who it is. Istio's filter
 * `metadata_exchange` for TCP sends and reads the same (source/extensions/filters/network/metadata_exchange).
 *
 *     | 0x3D230467: u32 | size of the body: u32 | body: google.protobuf.Any |          both numbers big-endian
 *
 *     Any     1 type URL of google.protobuf.Struct   2 the Struct
 *     Struct  x-envoy-peer-metadata: what it says of itself, a Struct   x-envoy-peer-metadata-id: what it calls itself
 */

/** Bytes in front of the body. */
export const HEAD_SIZE: u32 = 8;

/** The magic as a little-endian number: `3D 23 04 67`. */
const MAGIC: u32 = 0x6704233d;

const TYPE_URL: u32 = 1;
const CONTENT: u32 = 2;
const STRUCT_URL: Ascii = 'type.googleapis.com/google.protobuf.Struct';
const STRUCT_NAME: Ascii = '/google.protobuf.Struct';
const METADATA: Ascii = 'x-envoy-peer-metadata';
const ID: Ascii = 'x-envoy-peer-metadata-id';

/** Bytes around metadata and id: head, tags, lengths, type URL and keys. */
const AROUND: u32 = 192;

const any = changetype<Cursor>(memory.data(40, 8));
const writer = changetype<Writer>(memory.data(16, 8));
const url = slice(memory.data(8, 4));
const outer = slice(memory.data(8, 4));
const key = slice(memory.data(8, 4));

/** Whether bytes are the magic, or begin it: they are the first of what may become a preface. */
export function mayBegin(at: usize, size: u32): bool {
  for (let i: u32 = 0; i < min<u32>(size, 4); i++) {
    if (load<u8>(at + i) != <u8>(MAGIC >> (i << 3))) return false;
  }
  return true;
}

/** The size of the body that a head of HEAD_SIZE bytes announces. */
export function bodySize(head: usize): u32 {
  return bswap<u32>(load<u32>(head, 4));
}

/**
 * Reads a body: `metadata` is then the bytes of a Struct, and `id` an id, of size 0 where they are not there. Nothing is
 * known yet of what is inside of them. False: the bytes are no Any that holds a Struct, and so no preface.
 */
export function readBody(body: Slice, metadata: Slice, id: Slice): bool {
  url.set(body.at, 0);
  outer.set(body.at, 0);
  any.open(body.at, body.end(), 0);
  while (any.next()) {
    if (any.type != LENGTH) continue;
    if (any.field == TYPE_URL) url.set(any.at, any.size);
    else if (any.field == CONTENT) outer.set(any.at, any.size);
  }
  metadata.set(body.at, 0);
  id.set(body.at, 0);
  if (!any.sound || !isStruct(url) || !isSound(outer)) return false;
  setKey(METADATA);
  if (!findKind(outer, key, STRUCT_KIND, metadata)) metadata.set(body.at, 0);
  setKey(ID);
  if (!findKind(outer, key, STRING_KIND, id)) id.set(body.at, 0);
  return true;
}

/** As Google's C++ reads it, a type is what stands behind the last slash of its URL. */
function isStruct(url: Slice): bool {
  const size = sizeOf(STRUCT_NAME);
  return url.size >= size && compare(url.end() - size, bytesOf(STRUCT_NAME), size) == 0;
}

/** Whether bytes are a message at all. */
function isSound(bytes: Slice): bool {
  any.open(bytes.at, bytes.end(), 1);
  while (any.next()) {}
  return any.sound;
}

function setKey(name: Ascii): void {
  key.set(bytesOf(name), sizeOf(name));
}

/** The most bytes that the preface of an id and metadata takes. */
export function roomForPreface(metadata: Slice, id: Slice): u32 {
  return metadata.size + id.size + AROUND;
}

/**
 * Writes a preface into `room` bytes from `to` on, at whose end it then stands, as `preface`. What is of size 0 is left
 * out. False: there is no room.
 */
export function writePreface(metadata: Slice, id: Slice, to: usize, room: u32, preface: Slice): bool {
  writer.open(to, room);
  const end = writer.head;
  putText(writer, ID, id);
  if (metadata.size > 0) {
    const metadataEnd = writer.head;
    writer.bytes(metadata.at, metadata.size);
    writer.close(STRUCT_KIND, metadataEnd);
    closeEntry(writer, bytesOf(METADATA), sizeOf(METADATA), metadataEnd);
  }
  writer.close(CONTENT, end);
  const urlEnd = writer.head;
  writer.bytes(bytesOf(STRUCT_URL), sizeOf(STRUCT_URL));
  writer.close(TYPE_URL, urlEnd);
  const size = <u32>(end - writer.head);
  for (let i: u32 = 0; i < 4; i++) writer.byte(<u8>(size >> (i << 3)));
  for (let i: u32 = 4; i-- > 0; ) writer.byte(<u8>(MAGIC >> (i << 3)));
  preface.set(writer.head, <u32>(end - writer.head));
  return !writer.full;
}
