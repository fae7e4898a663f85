// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { Ascii, bytesOf, isText, sizeOf } from '../memory/ascii';
import { SLICE_SIZE, Slice, slice } from '../memory/slice';
import * as names from './names';
import { putOwner } from './owner';
import { Cursor, LENGTH, VARINT, Writer } from './protobuf';
import { faultOf, faultOfText, SOUND } from './struct';
import { closeStruct, closeText, putText } from './struct_fields';

/**
 * istio.workload.Workload, what a control plane says of a workload, inside the Resource of a delta xDS response:
 *
 *     Resource  1 version  2 Any { 1 type URL  2 Workload }  3 name: the workload's uid
 *     Workload  1 name  2 namespace  3 addresses, 4 or 16 bytes each  4 network  6 trust domain  7 service account
 *               10 canonical name  11 canonical revision  12 type  13 workload name  18 cluster id
 *               24 locality { 1 region  2 zone }  25 network mode, 1: that of its host
 *
 * (istio.io/istio, pkg/workloadapi/workload.proto)
 */

/** Its texts, by number. Those before NETWORK are kept. */
export const UID: u32 = 0;
export const NAME: u32 = 1;
export const NAMESPACE: u32 = 2;
export const CLUSTER: u32 = 3;
export const WORKLOAD_NAME: u32 = 4;
export const SERVICE_ACCOUNT: u32 = 5;
export const CANONICAL_NAME: u32 = 6;
export const CANONICAL_REVISION: u32 = 7;
export const TRUST_DOMAIN: u32 = 8;
export const REGION: u32 = 9;
export const ZONE: u32 = 10;
export const VERSION: u32 = 11;
export const NETWORK: u32 = 12;
const TEXTS: u32 = 13;
/** How many texts are kept. */
export const KEPT_TEXTS: u32 = 12;

/** The longest text in bytes, and the longest uid. */
export const LONGEST_TEXT: u32 = 253;
export const LONGEST_UID: u32 = 1024;
/** The types that are known are 0 up to this one. */
const LAST_TYPE: u32 = 3;
/** The most addresses of one workload. */
const MOST_ADDRESSES: u32 = 16;

const TYPE_URL: Ascii = 'type.googleapis.com/istio.workload.Workload';
const DEFAULT_TRUST_DOMAIN: Ascii = 'cluster.local';

/** Keys, tags and fixed texts of a Struct that is made of a workload, in bytes. */
const ADDED: u32 = 640;

const resource = changetype<Cursor>(memory.data(40, 8));
const any = changetype<Cursor>(memory.data(40, 8));
const body = changetype<Cursor>(memory.data(40, 8));
const locality = changetype<Cursor>(memory.data(40, 8));
const writer = changetype<Writer>(memory.data(16, 8));
const typeUrl = slice(memory.data(8, 4));
const whole = slice(memory.data(8, 4));
const type = slice(memory.data(8, 4));

/** What is known of a workload: slices into whatever it was read from. */
@unmanaged
export class Workload {
  /** 0 deployment, 1 cronjob, 2 pod, 3 job. */
  type: u32;
  isHostNetwork: bool;
  /** The serialized Workload: its addresses are read from there. */
  bodyAt: usize;
  bodySize: u32;

  /** One of its texts; size 0: it has none. */
  text(number: u32): Slice {
    return slice(changetype<usize>(this) + offsetof<Workload>() + number * <u32>SLICE_SIZE);
  }

  /** Nothing is known. */
  clear(): void {
    memory.fill(changetype<usize>(this), 0, WORKLOAD_SIZE);
  }
}

/** Bytes that a Workload takes: 120. */
const WORKLOAD_SIZE: usize = offsetof<Workload>() + <usize>TEXTS * SLICE_SIZE;

/** Reads a resource. 0: it is a workload; else what is wrong with it, as the server is told. */
export function readResource(bytes: Slice, workload: Workload): Ascii {
  workload.clear();
  whole.set(bytes.at, 0);
  resource.open(bytes.at, bytes.end(), 0);
  while (resource.next()) {
    if (resource.type != LENGTH) continue;
    if (resource.field == 1) workload.text(VERSION).set(resource.at, resource.size);
    else if (resource.field == 2) whole.set(resource.at, resource.size);
    else if (resource.field == 3) workload.text(UID).set(resource.at, resource.size);
  }
  if (!resource.sound) return 'is malformed';
  if (workload.text(UID).size == 0) return 'has no name';
  if (!readAny(workload) || !isText(typeUrl, TYPE_URL)) return 'is no Workload';
  return readWorkload(workload);
}

function readAny(workload: Workload): bool {
  typeUrl.set(whole.at, 0);
  workload.bodyAt = whole.at;
  workload.bodySize = 0;
  any.open(whole.at, whole.end(), 1);
  while (any.next()) {
    if (any.type != LENGTH) continue;
    if (any.field == 1) {
      typeUrl.set(any.at, any.size);
    } else if (any.field == 2) {
      workload.bodyAt = any.at;
      workload.bodySize = any.size;
    }
  }
  return any.sound;
}

function readWorkload(workload: Workload): Ascii {
  let addresses: u32 = 0;
  body.open(workload.bodyAt, workload.bodyAt + workload.bodySize, 0);
  while (body.next()) {
    if (body.type == VARINT) {
      if (body.field == 12) workload.type = <u32>body.number <= LAST_TYPE ? <u32>body.number : 0;
      else if (body.field == 25) workload.isHostNetwork = body.number == 1;
    } else if (body.type == LENGTH) {
      const number = textOf(body.field);
      if (number != UID) workload.text(number).set(body.at, body.size);
      else if (body.field == 24 && !readLocality(workload)) return 'has a malformed locality';
      if (body.field != 3) continue;
      if (body.size != 4 && body.size != 16) return 'has an address that is neither of 4 nor of 16 bytes';
      addresses++;
    }
  }
  if (!body.sound) return 'has a malformed Workload';
  if (addresses > MOST_ADDRESSES) return 'has more than 16 addresses';
  for (let i: u32 = 0; i < TEXTS; i++) {
    const text = workload.text(i);
    if (text.size > (i == UID ? LONGEST_UID : LONGEST_TEXT)) return 'has a text that is too long';
    if (faultOfText(text.at, text.end()) != SOUND) return 'has a text that is not UTF-8, or has control characters';
  }
  const domain = workload.text(TRUST_DOMAIN);
  if (isText(domain, DEFAULT_TRUST_DOMAIN)) domain.size = 0;
  return 0;
}

/** The number of the text that a field of Workload is; UID: it is none. */
function textOf(field: u32): u32 {
  if (field == 1) return NAME;
  if (field == 2) return NAMESPACE;
  if (field == 4) return NETWORK;
  if (field == 6) return TRUST_DOMAIN;
  if (field == 7) return SERVICE_ACCOUNT;
  if (field == 10) return CANONICAL_NAME;
  if (field == 11) return CANONICAL_REVISION;
  if (field == 13) return WORKLOAD_NAME;
  return field == 18 ? CLUSTER : UID;
}

function readLocality(workload: Workload): bool {
  workload.text(REGION).set(body.at, 0);
  workload.text(ZONE).set(body.at, 0);
  locality.open(body.at, body.at + body.size, 1);
  while (locality.next()) {
    if (locality.type != LENGTH) continue;
    if (locality.field == 1) workload.text(REGION).set(locality.at, locality.size);
    else if (locality.field == 2) workload.text(ZONE).set(locality.at, locality.size);
  }
  return locality.sound;
}

/** The addresses of a workload that was read: `at` and `size` of the cursor after each `next`. */
@unmanaged
export class Addresses {
  private cursor: Cursor;

  /** Begins with the addresses of a workload. One on its host's network has none of its own. */
  open(workload: Workload): void {
    const end = workload.isHostNetwork ? workload.bodyAt : workload.bodyAt + workload.bodySize;
    this.cursor.open(workload.bodyAt, end, 0);
  }

  /** Goes to the next one: `address` is its bytes, 4 of them for IPv4, be it mapped into IPv6. */
  next(address: Slice): bool {
    const cursor = this.cursor;
    while (cursor.next()) {
      if (cursor.field != 3 || cursor.type != LENGTH) continue;
      address.set(cursor.at, cursor.size);
      unmap(address);
      return true;
    }
    return false;
  }
}

/** Addresses that can be gone through: for module variables only. */
export function newAddresses(): Addresses {
  const at = memory.data(8, 4);
  store<usize>(at, memory.data(40, 8));
  return changetype<Addresses>(at);
}

/** Makes of an IPv6 address that stands for an IPv4 one (::ffff:a.b.c.d) that one. */
export function unmap(address: Slice): void {
  if (address.size != 16 || load<u64>(address.at) != 0 || load<u32>(address.at, 8) != 0xffff0000) return;
  address.set(address.at + 12, 4);
}

/** A Workload to be filled again and again: for module variables only. */
export function newWorkload(): Workload {
  return changetype<Workload>(memory.data(136, 8));
}

/** Types of Kubernetes objects, as OWNER names them. Deployment stands also for what is not known. */
function putType(workload: Workload): void {
  const text: Ascii =
    workload.type == 1 ? 'cronjob' : workload.type == 2 ? 'pod' : workload.type == 3 ? 'job' : 'deployment';
  type.set(bytesOf(text), sizeOf(text));
}

/**
 * Writes what is known of a workload as the Struct that a peer would send, in the arena, with the fields of Istio's
 * dialect. As Istio's native filter has it, the app is the canonical name and the version the canonical revision, and
 * namespace, service account and trust domain have defaults. Behind it is room for `more` bytes. False if there is no room,
 * or a text cannot stand in one.
 */
export function writeStruct(workload: Workload, struct: Slice, more: u32): bool {
  let room: u32 = ADDED;
  // Each text stands there three times at most.
  for (let i: u32 = 0; i < KEPT_TEXTS; i++) room += workload.text(i).size * 3;
  const start = take(room + more);
  if (!start) return false;
  const namespace = workload.text(NAMESPACE);
  if (namespace.size == 0) setText(namespace, 'default');
  const account = workload.text(SERVICE_ACCOUNT);
  if (account.size == 0) setText(account, 'default');
  const domain = workload.text(TRUST_DOMAIN);
  if (domain.size == 0) setText(domain, DEFAULT_TRUST_DOMAIN);
  writer.open(start, room);
  putText(writer, names.WORKLOAD_NAME, workload.text(WORKLOAD_NAME));
  putText(writer, names.REGION, workload.text(REGION));
  if (workload.text(WORKLOAD_NAME).size > 0) {
    putType(workload);
    putOwner(writer, namespace, type, workload.text(WORKLOAD_NAME));
  }
  putText(writer, names.NAMESPACE, namespace);
  putText(writer, names.NAME, workload.text(NAME));
  const labelsEnd = writer.head;
  putText(writer, names.VERSION, workload.text(CANONICAL_REVISION));
  putText(writer, names.CANONICAL_REVISION, workload.text(CANONICAL_REVISION));
  putText(writer, names.CANONICAL_NAME, workload.text(CANONICAL_NAME));
  putText(writer, names.APP, workload.text(CANONICAL_NAME));
  closeStruct(writer, bytesOf(names.LABELS), sizeOf(names.LABELS), labelsEnd);
  putIdentity(domain, namespace, account);
  putText(writer, names.CLUSTER_ID, workload.text(CLUSTER));
  putText(writer, names.AVAILABILITY_ZONE, workload.text(ZONE));
  struct.set(writer.head, <u32>(start + room - writer.head));
  return !writer.full && faultOf(struct) == SOUND;
}

function setText(text: Slice, value: Ascii): void {
  text.set(bytesOf(value), sizeOf(value));
}

/** Writes IDENTITY: spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT. */
function putIdentity(domain: Slice, namespace: Slice, account: Slice): void {
  const end = writer.head;
  writer.bytes(account.at, account.size);
  put('/sa/');
  writer.bytes(namespace.at, namespace.size);
  put('/ns/');
  writer.bytes(domain.at, domain.size);
  put('spiffe://');
  closeText(writer, bytesOf(names.IDENTITY), sizeOf(names.IDENTITY), end);
}

function put(text: Ascii): void {
  writer.bytes(bytesOf(text), sizeOf(text));
}
