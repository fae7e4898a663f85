// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { SLICE_SIZE, Slice, slice } from '../memory/slice';
import * as names from '../wire/names';
import { putOwner, typeOf } from '../wire/owner';
import { Writer } from '../wire/protobuf';
import { STRING_KIND } from '../wire/struct';
import { closeStruct, closeText, findKind, findStruct, findText, putText } from '../wire/struct_fields';

/**
 * What Istio's native filter says of a proxy, made of the flat keys that Istio's agent writes into the node's metadata:
 *
 *     NAME  NAMESPACE  WORKLOAD_NAME  CLUSTER_ID  IDENTITY  REGION  AVAILABILITY_ZONE  OWNER  LABELS
 *
 * All are strings but LABELS, which is always there and has only those labels that receivers read. Empty values, and
 * values that are no strings, are not sent. (istio/proxy, extensions/common/metadata_object.cc)
 */

const writer = changetype<Writer>(memory.data(16, 8));
const content = slice(memory.data(8, 4));
const labels = slice(memory.data(8, 4));
const workload = slice(memory.data(8, 4));
const namespace = slice(memory.data(8, 4));
const type = slice(memory.data(8, 4));

/** What is added to what is copied: keys, tags and the prefix of OWNER, in bytes. */
const ADDED: u32 = 1024;
/** What one more label takes beside its value and its key. */
const LABEL_ADDED: u32 = 32;

/** Bytes that the arena must have for `nativeStruct` of a node's metadata of `size` bytes with `count` more labels. */
export function roomForNative(size: u32, count: u32): usize {
  return size * 2 + ADDED + count * LABEL_ADDED + 8;
}

/**
 * Makes the Struct of a node's metadata and locality, in the arena, its keys in no order; `additional` are the names of
 * more labels to send, `count` slices in a row, no two of them the same. False if the metadata has none of the keys,
 * unless `isSentEmpty`: then LABELS and the locality are made all the same, as Istio's filter does, so that the peer is
 * asked for its own.
 */
export function nativeStruct(
  metadata: Slice,
  region: Slice,
  zone: Slice,
  additional: usize,
  count: u32,
  isSentEmpty: bool,
  out: Slice,
): bool {
  const room = metadata.size * 2 + ADDED + count * LABEL_ADDED;
  const start = take(room);
  if (!start) return false;
  writer.open(start, room);
  const empty = writer.head;
  copyText(metadata, names.NAME);
  copyText(metadata, names.NAMESPACE);
  copyText(metadata, names.WORKLOAD_NAME);
  copyText(metadata, names.CLUSTER_ID);
  copyText(metadata, names.IDENTITY);
  copyOwner(metadata);
  const hasLabels = findStruct(metadata, names.LABELS, labels);
  if (writer.head == empty && !hasLabels && !isSentEmpty) return false;
  writeLabels(hasLabels, additional, count);
  if (!copyText(metadata, names.REGION)) putText(writer, names.REGION, region);
  if (!copyText(metadata, names.AVAILABILITY_ZONE)) putText(writer, names.AVAILABILITY_ZONE, zone);
  out.set(writer.head, <u32>(start + room - writer.head));
  return !writer.full;
}

/** Copies a field; false if there is nothing to copy. */
function copyText(metadata: Slice, key: Ascii): bool {
  if (!findText(metadata, key, content)) return false;
  putText(writer, key, content);
  return true;
}

/**
 * The labels that receivers read. Written backwards: of two with the same key the first one written stands last, and the
 * last one is right.
 */
function writeLabels(hasLabels: bool, additional: usize, count: u32): void {
  const end = writer.head;
  if (hasLabels) {
    renameLabel('app.kubernetes.io/name', names.APP);
    renameLabel('app.kubernetes.io/version', names.VERSION);
    copyText(labels, names.APP);
    copyText(labels, names.VERSION);
    copyText(labels, names.CANONICAL_NAME);
    copyText(labels, names.CANONICAL_REVISION);
    for (let i: u32 = 0; i < count; i++) {
      const label = slice(additional + i * <u32>SLICE_SIZE);
      if (!findKind(labels, label, STRING_KIND, content) || content.size == 0) continue;
      const entryEnd = writer.head;
      writer.bytes(content.at, content.size);
      closeText(writer, label.at, label.size, entryEnd);
    }
  }
  closeStruct(writer, bytesOf(names.LABELS), sizeOf(names.LABELS), end);
}

function renameLabel(from: Ascii, to: Ascii): void {
  if (findText(labels, from, content)) putText(writer, to, content);
}

/** OWNER is made anew, of a type that Istio knows; of another type there is none. */
function copyOwner(metadata: Slice): void {
  if (!typeOf(metadata, type)) return;
  workload.set(0, 0);
  namespace.set(0, 0);
  if (findText(metadata, names.WORKLOAD_NAME, content)) workload.copy(content);
  if (findText(metadata, names.NAMESPACE, content)) namespace.copy(content);
  putOwner(writer, namespace, type, workload);
}
