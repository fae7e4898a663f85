// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as fields from './fields';
import { take } from './memory/arena';
import { Ascii, bytesOf, isText, sizeOf } from './memory/ascii';
import { SLICE_SIZE, Slice, slice } from './memory/slice';
import { closeEntry } from './wire/canonical';
import { findField } from './wire/node';
import { Writer } from './wire/protobuf';
import { kindOf, STRING_KIND, STRUCT_KIND } from './wire/struct';

/**
 * What Istio's native filter says of a proxy, made of the flat keys that Istio's agent writes into the node's metadata:
 *
 *     NAME  NAMESPACE  WORKLOAD_NAME  CLUSTER_ID  IDENTITY  REGION  AVAILABILITY_ZONE  OWNER  LABELS
 *
 * All are strings but LABELS, which is always there and has only those labels that receivers read. Empty values, and
 * values that are no strings, are not sent. (istio/proxy, extensions/common/metadata_object.cc)
 */

/** What a Struct is written with, backwards: shared with baggage.ts. */
export const writer = changetype<Writer>(memory.data(16, 8));
const value = slice(memory.data(8, 4));
/** What `findText` found last. */
export const content = slice(memory.data(8, 4));
const labels = slice(memory.data(8, 4));
const wanted = slice(memory.data(8, 4));
const workload = slice(memory.data(8, 4));
const namespace = slice(memory.data(8, 4));
const type = slice(memory.data(8, 4));

/** What is added to what is copied: keys, tags and the prefix of OWNER, in bytes. */
export const ADDED: u32 = 1024;

/** Bytes that the arena must have for `nativeStruct` of a node's metadata of `size` bytes. */
export function roomForNative(size: u32): usize {
  return size * 2 + ADDED + 8;
}

/**
 * Makes the Struct of a node's metadata and locality, in the arena, its keys in no order; `additional` are the names of
 * more labels to send, `count` slices in a row. False if the metadata has none of the keys.
 */
export function nativeStruct(
  metadata: Slice,
  region: Slice,
  zone: Slice,
  additional: usize,
  count: u32,
  out: Slice,
): bool {
  const room = metadata.size * 2 + ADDED;
  const start = take(room);
  if (!start) return false;
  writer.open(start, room);
  const empty = writer.head;
  copyText(metadata, fields.NAME);
  copyText(metadata, fields.NAMESPACE);
  copyText(metadata, fields.WORKLOAD_NAME);
  copyText(metadata, fields.CLUSTER_ID);
  copyText(metadata, fields.IDENTITY);
  copyOwner(metadata);
  const hasLabels = findText(metadata, fields.LABELS, STRUCT_KIND);
  if (writer.head == empty && !hasLabels) return false;
  writeLabels(hasLabels, additional, count);
  if (!copyText(metadata, 'REGION') && region.size) putText('REGION', region);
  if (!copyText(metadata, 'AVAILABILITY_ZONE') && zone.size) putText('AVAILABILITY_ZONE', zone);
  out.set(writer.head, <u32>(start + room - writer.head));
  return !writer.full;
}

/** Finds a field of this kind that is not empty, as `content`. */
export function findText(struct: Slice, key: Ascii, kind: u32): bool {
  wanted.set(bytesOf(key), sizeOf(key));
  return find(struct, kind) && (kind == STRUCT_KIND || content.size > 0);
}

/** Finds the field whose key is `wanted`. */
function find(struct: Slice, kind: u32): bool {
  value.set(struct.at, 0);
  return findField(struct.at, struct.end(), wanted, value) && value.size > 0 && kindOf(value, content) == kind;
}

/** Writes a field that is a string, if it is not empty. */
export function putText(key: Ascii, text: Slice): void {
  if (text.size == 0) return;
  const end = writer.head;
  writer.bytes(text.at, text.size);
  writer.close(STRING_KIND, end);
  closeEntry(writer, bytesOf(key), sizeOf(key), end);
}

/** Closes a field that is a Struct, whose fields were written since the head stood at `end`. */
export function putStruct(key: Ascii, end: usize): void {
  writer.close(STRUCT_KIND, end);
  closeEntry(writer, bytesOf(key), sizeOf(key), end);
}

/** Copies a field; false if there is nothing to copy. */
function copyText(metadata: Slice, key: Ascii): bool {
  if (!findText(metadata, key, STRING_KIND)) return false;
  putText(key, content);
  return true;
}

/**
 * The labels that receivers read. Written backwards: of two with the same key the first one written stands last, and the
 * last one is right.
 */
function writeLabels(hasLabels: bool, additional: usize, count: u32): void {
  const end = writer.head;
  if (hasLabels) {
    labels.copy(content);
    renameLabel('app.kubernetes.io/name', fields.APP);
    renameLabel('app.kubernetes.io/version', fields.VERSION);
    copyText(labels, fields.APP);
    copyText(labels, fields.VERSION);
    copyText(labels, fields.CANONICAL_NAME);
    copyText(labels, fields.CANONICAL_REVISION);
    for (let i: u32 = 0; i < count; i++) {
      wanted.copy(slice(additional + i * <u32>SLICE_SIZE));
      if (!find(labels, STRING_KIND) || content.size == 0) continue;
      const entryEnd = writer.head;
      writer.bytes(content.at, content.size);
      writer.close(STRING_KIND, entryEnd);
      closeEntry(writer, wanted.at, wanted.size, entryEnd);
    }
  }
  putStruct(fields.LABELS, end);
}

function renameLabel(from: Ascii, to: Ascii): void {
  if (findText(labels, from, STRING_KIND)) putText(to, content);
}

/** The type of workload that a Struct's OWNER names, if it is one of four: what stands before `s/WORKLOAD` at its end. */
export function typeOf(struct: Slice, type: Slice): bool {
  const size: u32 = findText(struct, fields.WORKLOAD_NAME, STRING_KIND) ? content.size : 0;
  if (!findText(struct, fields.OWNER, STRING_KIND) || content.size <= size + 2) return false;
  const end = content.end() - size - 2;
  let at = end;
  while (at > content.at && load<u8>(at - 1) != 0x2f) at--;
  if (at == content.at) return false;
  type.set(at, <u32>(end - at));
  return isText(type, 'deployment') || isText(type, 'pod') || isText(type, 'job') || isText(type, 'cronjob');
}

/** Writes `kubernetes://apis/apps/v1/namespaces/NAMESPACE/TYPEs/WORKLOAD` as OWNER. */
export function putOwner(namespace: Slice, type: Slice, workload: Slice): void {
  const end = writer.head;
  writer.bytes(workload.at, workload.size);
  put('s/');
  writer.bytes(type.at, type.size);
  put('/');
  writer.bytes(namespace.at, namespace.size);
  put('kubernetes://apis/apps/v1/namespaces/');
  writer.close(STRING_KIND, end);
  closeEntry(writer, bytesOf(fields.OWNER), sizeOf(fields.OWNER), end);
}

/** OWNER is made anew, of a type that Istio knows; of another type there is none. */
function copyOwner(metadata: Slice): void {
  if (!typeOf(metadata, type)) return;
  workload.set(0, 0);
  namespace.set(0, 0);
  if (findText(metadata, fields.WORKLOAD_NAME, STRING_KIND)) workload.copy(content);
  if (findText(metadata, fields.NAMESPACE, STRING_KIND)) namespace.copy(content);
  putOwner(namespace, type, workload);
}

function put(text: Ascii): void {
  writer.bytes(bytesOf(text), sizeOf(text));
}
