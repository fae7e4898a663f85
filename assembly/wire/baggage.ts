// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { Ascii, bytesOf, isText, sizeOf } from '../memory/ascii';
import { Slice, sameBytes, slice } from '../memory/slice';
import * as names from './names';
import { putOwner, typeOf } from './owner';
import { putEncoded } from './percent';
import { Writer } from './protobuf';
import { faultOf, SOUND } from './struct';
import { closeStruct, findStruct, findText, putText } from './struct_fields';

/**
 * A workload in W3C baggage (https://www.w3.org/TR/baggage), as Istio's native filter writes it: a list of keys and
 * values, of which these are ours, in this order. Whatever else there is belongs to others.
 *
 *     k8s.deployment.name=reviews-v1,service.name=reviews,app.name=books,service.version=v1,app.version=1.2,
 *     k8s.namespace.name=default,k8s.cluster.name=Kubernetes,k8s.instance.name=reviews-v1-7f6d,
 *     cloud.region=us-east4,cloud.availability_zone=us-east4-b
 *
 * `app.name` is only there where it is not the same as `service.name`, and `app.version` likewise: a reader takes the
 * one for the other where that is missing. (envoyproxy/envoy, contrib/istio/filters/common/source/metadata_object.cc)
 */

/** What a baggage header says. */
export const NOBODY: u32 = 0;
export const WORKLOAD: u32 = 1;
/** Members of several workloads, or what no Struct may hold. */
export const REFUSED: u32 = 2;

/** Bytes that a workload's members take beside their values: keys, tags, and the prefix of OWNER. */
const ADDED: u32 = 1024;

const writer = changetype<Writer>(memory.data(16, 8));
const key = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));
const content = slice(memory.data(8, 4));
const labels = slice(memory.data(8, 4));

/** The values of one workload's members: slices in a row, by the numbers that `numberOf` gives. */
const values = memory.data(88, 4); // MEMBERS * SLICE_SIZE
const MEMBERS: u32 = 11;
const KIND: u32 = 0;
const WORKLOAD_NAME: u32 = 1;
const NAMESPACE: u32 = 2;
const CLUSTER: u32 = 3;
const SERVICE: u32 = 4;
const REVISION: u32 = 5;
const APP: u32 = 6;
const VERSION: u32 = 7;
const INSTANCE: u32 = 8;
const REGION: u32 = 9;
const ZONE: u32 = 10;
const NOT_OURS: u32 = 11;

function member(number: u32): Slice {
  return slice(values + (number << 3));
}

/**
 * Reads a list of members. WORKLOAD: `struct` is then what they say of one, in the arena, with the keys that Istio's
 * headers have. A key that is there twice is of two workloads: some proxy passed on what another one said. Which member
 * is whose nobody can tell then, so all are REFUSED. So is what does not fit into the arena.
 */
export function readBaggage(list: Slice, struct: Slice): u32 {
  memory.fill(values, 0, MEMBERS << 3);
  let isKnown = false;
  let at = list.at;
  while (at < list.end()) {
    const memberEnd = until(0x2c, at, list.end());
    const number = readMember(at, memberEnd);
    if (number != NOT_OURS && value.size > 0) {
      if (member(number).size > 0) return REFUSED;
      unescape(value);
      member(number).copy(value);
      // k8s.TYPE.name
      if (number == WORKLOAD_NAME) member(KIND).set(key.at + 4, key.size - 9);
      isKnown = true;
    }
    at = memberEnd + 1;
  }
  return isKnown ? writeStruct(list, struct) : NOBODY;
}

/** Whether a list has any of our members, be it without a value. */
export function hasWorkload(list: Slice): bool {
  let at = list.at;
  while (at < list.end()) {
    const memberEnd = until(0x2c, at, list.end());
    if (readMember(at, memberEnd) != NOT_OURS) return true;
    at = memberEnd + 1;
  }
  return false;
}

/** Removes our members from a list, where it stands: what is left is what others said. */
export function removeWorkload(list: Slice): void {
  let to = list.at;
  let at = list.at;
  while (at < list.end()) {
    const memberEnd = until(0x2c, at, list.end());
    if (readMember(at, memberEnd) == NOT_OURS) {
      if (to > list.at) store<u8>(to++, 0x2c);
      memory.copy(to, at, memberEnd - at);
      to += memberEnd - at;
    }
    at = memberEnd + 1;
  }
  list.size = <u32>(to - list.at);
}

/** Reads a member as `key` and `value`; the answer is its number, NOT_OURS for one of somebody else. */
function readMember(at: usize, end: usize): u32 {
  const valueEnd = until(0x3b, at, end);
  const keyEnd = until(0x3d, at, valueEnd);
  trim(key, at, keyEnd);
  trim(value, min(keyEnd + 1, valueEnd), valueEnd);
  return keyEnd < valueEnd ? numberOf() : NOT_OURS;
}

/** The number of `key`. */
function numberOf(): u32 {
  if (isText(key, 'k8s.namespace.name')) return NAMESPACE;
  if (isText(key, 'k8s.cluster.name')) return CLUSTER;
  if (isText(key, 'service.name')) return SERVICE;
  if (isText(key, 'service.version')) return REVISION;
  if (isText(key, 'app.name')) return APP;
  if (isText(key, 'app.version')) return VERSION;
  if (isText(key, 'k8s.instance.name')) return INSTANCE;
  if (isText(key, 'cloud.region')) return REGION;
  if (isText(key, 'cloud.availability_zone')) return ZONE;
  const isWorkload =
    isText(key, 'k8s.deployment.name') ||
    isText(key, 'k8s.pod.name') ||
    isText(key, 'k8s.job.name') ||
    isText(key, 'k8s.cronjob.name');
  return isWorkload ? WORKLOAD_NAME : NOT_OURS;
}

/** Writes the members that were read as a Struct. */
function writeStruct(list: Slice, struct: Slice): u32 {
  fillEach(SERVICE, APP);
  fillEach(REVISION, VERSION);
  // Names and versions may stand for two fields, and the workload's name and the namespace stand in OWNER once more.
  const room = list.size * 2 + ADDED;
  const start = take(room);
  if (!start) return REFUSED;
  writer.open(start, room);
  putText(writer, names.NAME, member(INSTANCE));
  putText(writer, names.NAMESPACE, member(NAMESPACE));
  putText(writer, names.WORKLOAD_NAME, member(WORKLOAD_NAME));
  putText(writer, names.CLUSTER_ID, member(CLUSTER));
  const labelsEnd = writer.head;
  putText(writer, names.CANONICAL_NAME, member(SERVICE));
  putText(writer, names.CANONICAL_REVISION, member(REVISION));
  putText(writer, names.APP, member(APP));
  putText(writer, names.VERSION, member(VERSION));
  closeStruct(writer, bytesOf(names.LABELS), sizeOf(names.LABELS), labelsEnd);
  if (member(KIND).size > 0) putOwner(writer, member(NAMESPACE), member(KIND), member(WORKLOAD_NAME));
  putText(writer, names.REGION, member(REGION));
  putText(writer, names.AVAILABILITY_ZONE, member(ZONE));
  struct.set(writer.head, <u32>(start + room - writer.head));
  return !writer.full && faultOf(struct) == SOUND ? WORKLOAD : REFUSED;
}

/** Of two members that are mostly the same, makes one that is missing what the other is. */
function fillEach(one: u32, other: u32): void {
  if (member(one).size == 0) member(one).copy(member(other));
  else if (member(other).size == 0) member(other).copy(member(one));
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
  const hasType = typeOf(struct, member(KIND));
  if (findText(struct, names.WORKLOAD_NAME, content)) {
    open();
    add('k8s.');
    if (hasType) addBytes(member(KIND).at, member(KIND).size);
    else add('pod');
    add('.name=');
    addValue(content);
  }
  if (findStruct(struct, names.LABELS, labels)) {
    addEach(names.CANONICAL_NAME, 'service.name=', names.APP, 'app.name=');
    addEach(names.CANONICAL_REVISION, 'service.version=', names.VERSION, 'app.version=');
  }
  addMember(struct, names.NAMESPACE, 'k8s.namespace.name=');
  addMember(struct, names.CLUSTER_ID, 'k8s.cluster.name=');
  addMember(struct, names.NAME, 'k8s.instance.name=');
  addMember(struct, names.REGION, 'cloud.region=');
  addMember(struct, names.AVAILABILITY_ZONE, 'cloud.availability_zone=');
  return <u32>(to - first);
}

function addMember(struct: Slice, field: Ascii, name: Ascii): void {
  if (!findText(struct, field, content)) return;
  open();
  add(name);
  addValue(content);
}

/** Adds a label, and another one only if it says something else. */
function addEach(one: Ascii, oneName: Ascii, other: Ascii, otherName: Ascii): void {
  addMember(labels, one, oneName);
  const hasOther = findText(labels, other, value);
  if (!hasOther || (findText(labels, one, content) && sameBytes(content, value))) return;
  open();
  add(otherName);
  addValue(value);
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
    to = putEncoded(byte, to);
  }
}
