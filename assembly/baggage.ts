// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { ADDED, content, findText, putOwner, putStruct, putText, typeOf, writer } from './dialect';
import * as fields from './fields';
import { take } from './memory/arena';
import { Ascii, bytesOf, isText, sizeOf } from './memory/ascii';
import { Slice, slice } from './memory/slice';
import { isSoundStruct, STRING_KIND, STRUCT_KIND } from './wire/struct';

/**
 * Peers in W3C baggage (https://www.w3.org/TR/baggage), as Istio writes them: a list of keys and values, of which these
 * are ours; whatever else there is belongs to others.
 *
 *     k8s.deployment.name=reviews-v1,k8s.namespace.name=default,k8s.cluster.name=Kubernetes,service.name=reviews,
 *     service.version=v1,app.name=reviews,app.version=v1,k8s.instance.name=reviews-v1-7f6d
 */

const key = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));
/** What was said of a workload: nine slices in a row. */
const said = memory.data(72, 4);
const kind = slice(said);
const workload = slice(said + 8);
const namespace = slice(said + 16);
const cluster = slice(said + 24);
const service = slice(said + 32);
const revision = slice(said + 40);
const app = slice(said + 48);
const version = slice(said + 56);
const instance = slice(said + 64);

/**
 * Reads a baggage header; `struct` is then what it says of a workload, in the arena, with the keys that Istio's headers
 * have. Of a key that is there twice the last value is right: who passes baggage on adds to its end. False if none of
 * our keys is there, or there is no room.
 */
export function readBaggage(header: Slice, struct: Slice): bool {
  // The workload's name and the namespace stand in OWNER once more.
  const room = header.size * 2 + ADDED;
  const start = take(room);
  if (!start) return false;
  memory.fill(said, 0, 72);
  let isKnown = false;
  let at = header.at;
  while (at < header.end()) {
    const memberEnd = until(0x2c, at, header.end());
    const valueEnd = until(0x3b, at, memberEnd);
    const keyEnd = until(0x3d, at, valueEnd);
    trim(key, at, keyEnd);
    if (keyEnd < valueEnd) {
      trim(value, keyEnd + 1, valueEnd);
      unescape(value);
      if (value.size > 0 && keep()) isKnown = true;
    }
    at = memberEnd + 1;
  }
  if (!isKnown) return false;
  writer.open(start, room);
  putText(fields.NAME, instance);
  putText(fields.NAMESPACE, namespace);
  putText(fields.WORKLOAD_NAME, workload);
  putText(fields.CLUSTER_ID, cluster);
  const labelsEnd = writer.head;
  putText(fields.CANONICAL_NAME, service);
  putText(fields.CANONICAL_REVISION, revision);
  putText(fields.APP, app);
  putText(fields.VERSION, version);
  putStruct(fields.LABELS, labelsEnd);
  if (kind.size > 0) putOwner(namespace, kind, workload);
  struct.set(writer.head, <u32>(start + room - writer.head));
  return !writer.full && isSoundStruct(struct);
}

/** Where a byte stands, or else the end. */
function until(byte: u8, at: usize, end: usize): usize {
  while (at < end && load<u8>(at) != byte) at++;
  return at;
}

function trim(part: Slice, at: usize, end: usize): void {
  while (at < end && isSpace(load<u8>(at))) at++;
  while (end > at && isSpace(load<u8>(end - 1))) end--;
  part.set(at, <u32>(end - at));
}

function isSpace(byte: u8): bool {
  return byte == 0x20 || byte == 0x09;
}

/** Keeps the value that was just read under its key; false if the key is not ours. */
function keep(): bool {
  if (isText(key, 'k8s.namespace.name')) namespace.copy(value);
  else if (isText(key, 'k8s.cluster.name')) cluster.copy(value);
  else if (isText(key, 'service.name')) service.copy(value);
  else if (isText(key, 'service.version')) revision.copy(value);
  else if (isText(key, 'app.name')) app.copy(value);
  else if (isText(key, 'app.version')) version.copy(value);
  else if (isText(key, 'k8s.instance.name')) instance.copy(value);
  else if (
    isText(key, 'k8s.deployment.name') ||
    isText(key, 'k8s.pod.name') ||
    isText(key, 'k8s.job.name') ||
    isText(key, 'k8s.cronjob.name')
  ) {
    // k8s.TYPE.name
    kind.set(key.at + 4, key.size - 9);
    workload.copy(value);
  } else return false;
  return true;
}

/** Undoes percent-encoding where it stands: `%2C` is a comma. What is no encoding stays. */
function unescape(text: Slice): void {
  let to = text.at;
  for (let at = text.at; at < text.end(); at++) {
    let byte = load<u8>(at);
    if (byte == 0x25 && at + 2 < text.end()) {
      const high = digitOf(load<u8>(at + 1));
      const low = digitOf(load<u8>(at + 2));
      if ((high | low) < 16) {
        byte = <u8>((high << 4) | low);
        at += 2;
      }
    }
    store<u8>(to, byte);
    to++;
  }
  text.size = <u32>(to - text.at);
}

/** What a hexadecimal digit stands for; 16: it is none. */
function digitOf(byte: u32): u32 {
  if (byte >= 0x30 && byte <= 0x39) return byte - 0x30;
  const lower = byte | 0x20;
  return lower >= 0x61 && lower <= 0x66 ? lower - 0x57 : 16;
}

/** Where the own baggage is written, and where it begins. */
let to: usize = 0;
let first: usize = 0;

/** The most bytes of a Struct's baggage: each byte may take three, and keys are added. */
export function roomForBaggage(size: u32): u32 {
  return size * 3 + ADDED;
}

/** Writes what a Struct says of a workload as baggage to `start`, which has `roomForBaggage`; the answer is its size. */
export function writeBaggage(struct: Slice, start: usize): u32 {
  first = start;
  to = start;
  const hasType = typeOf(struct, kind);
  if (findText(struct, fields.WORKLOAD_NAME, STRING_KIND)) {
    open();
    add('k8s.');
    if (hasType) addBytes(kind.at, kind.size);
    else add('pod');
    add('.name=');
    addValue(content);
  }
  member(struct, fields.NAMESPACE, 'k8s.namespace.name=');
  member(struct, fields.CLUSTER_ID, 'k8s.cluster.name=');
  if (findText(struct, fields.LABELS, STRUCT_KIND)) {
    labels.copy(content);
    member(labels, fields.CANONICAL_NAME, 'service.name=');
    member(labels, fields.CANONICAL_REVISION, 'service.version=');
    member(labels, fields.APP, 'app.name=');
    member(labels, fields.VERSION, 'app.version=');
  }
  member(struct, fields.NAME, 'k8s.instance.name=');
  return <u32>(to - first);
}

const labels = slice(memory.data(8, 4));

function member(struct: Slice, field: Ascii, name: Ascii): void {
  if (!findText(struct, field, STRING_KIND)) return;
  open();
  add(name);
  addValue(content);
}

/** Begins another member of the list. */
function open(): void {
  if (to > first) add(',');
}

function add(text: Ascii): void {
  addBytes(bytesOf(text), sizeOf(text));
}

function addBytes(at: usize, size: u32): void {
  memory.copy(to, at, size);
  to += size;
}

/** Adds a value, with everything encoded that baggage does not let stand as it is (baggage-octet, and the percent sign). */
function addValue(text: Slice): void {
  for (let at = text.at; at < text.end(); at++) {
    const byte: u32 = load<u8>(at);
    const isPlain =
      byte > 0x20 && byte < 0x7f && byte != 0x22 && byte != 0x25 && byte != 0x2c && byte != 0x3b && byte != 0x5c;
    if (isPlain) {
      store<u8>(to++, <u8>byte);
      continue;
    }
    store<u8>(to, 0x25);
    store<u8>(to, letterOf(byte >> 4), 1);
    store<u8>(to, letterOf(byte & 15), 2);
    to += 3;
  }
}

function letterOf(digit: u32): u8 {
  return <u8>(digit < 10 ? 0x30 + digit : 0x37 + digit);
}
