// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { Slice } from '../memory/slice';
import { Cursor, LENGTH, tagOf, VARINT, Writer } from './protobuf';

/**
 * The messages of delta xDS (envoy.service.discovery.v3), of which we use
 *
 *     DeltaDiscoveryRequest   1 node  2 type URL  5 initial resource versions { 1 name  2 version }  6 response nonce
 *                             7 error { 1 code  2 message }
 *     DeltaDiscoveryResponse  2 resources  5 nonce  6 removed resources
 *
 * A response may have 35 MB, and is read in windows. So its outermost fields are read here one by one, and what is inside
 * of them where it is whole.
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
 */

/** Fields of a response. */
export const RESOURCES: u32 = 2;
export const NONCE: u32 = 5;
export const REMOVED: u32 = 6;

/** What reading a field comes to. */
export const WHOLE: u32 = 0;
/** The window ends inside of it. */
export const CUT: u32 = 1;
export const MALFORMED: u32 = 2;

/** The most bytes of a tag and a length, together. */
const LONGEST_HEAD: u32 = 10;

/** One field of a response. */
@unmanaged
export class Field {
  /** Its number; 0 for one that has no length, and is skipped. */
  number: u32;
  /** Its content, if it has a length. */
  at: usize;
  size: u32;
  private position: usize;

  /**
   * Reads the field that begins at `at`, in a window up to `end`. CUT: the window ends inside of it; `at` and `size` are
   * right nevertheless if `size` is not 0.
   */
  read(at: usize, end: usize): u32 {
    this.position = at;
    this.size = 0;
    const limit = min(end, at + LONGEST_HEAD);
    const tag = this.varint(limit);
    if (tag == BROKEN) return at + LONGEST_HEAD > end ? CUT : MALFORMED;
    const type = <u32>tag & 7;
    this.number = 0;
    let size: u64 = 0;
    if (tag >> 3 == 0 || tag > 0xffffffff) return MALFORMED;
    if (type == LENGTH) {
      size = this.varint(limit);
      if (size == BROKEN) return at + LONGEST_HEAD > end ? CUT : MALFORMED;
      if (size > 0x7fffffff) return MALFORMED;
      this.number = <u32>(tag >> 3);
    } else if (type == VARINT) {
      if (!this.skipVarint(end)) return at + 2 * LONGEST_HEAD > end ? CUT : MALFORMED;
    } else if (type == 1) size = 8;
    else if (type == 5) size = 4;
    else return MALFORMED;
    this.at = this.position;
    this.size = <u32>size;
    return this.position + this.size <= end ? WHOLE : CUT;
  }

  /** Goes over a varint, which may have any value; false if it does not end before `end`. */
  private skipVarint(end: usize): bool {
    for (let i = 0; i < 10 && this.position < end; i++) {
      const byte = load<u8>(this.position);
      this.position++;
      if (byte < 0x80) return true;
    }
    return false;
  }

  /** A varint of at most 64 bits, less than BROKEN; BROKEN if it does not end before `end`. */
  private varint(end: usize): u64 {
    let number: u64 = 0;
    for (let shift: u64 = 0; shift < 64 && this.position < end; shift += 7) {
      const byte: u64 = load<u8>(this.position);
      this.position++;
      number |= (byte & 0x7f) << shift;
      if (byte < 0x80) return number;
    }
    return BROKEN;
  }
}

const BROKEN: u64 = u64.MAX_VALUE;

const NODE_EXTENSIONS: u32 = 9;
const fields = changetype<Cursor>(memory.data(40, 8));

const TYPE_URL: Ascii = 'type.googleapis.com/istio.workload.Workload';
/** google.rpc.Code.INVALID_ARGUMENT */
const INVALID_ARGUMENT: u8 = 3;

/** Requests are written backwards, each field before those that stand in front of it. First: what the client has. */
export function putVersion(writer: Writer, name: Slice, version: Slice): void {
  const end = writer.head;
  writer.bytes(version.at, version.size);
  writer.close(2, end);
  const nameEnd = writer.head;
  writer.bytes(name.at, name.size);
  writer.close(1, nameEnd);
  writer.close(5, end);
}

/**
 * Leaves out of a node, where it stands, the list of its extensions, some 50 kB that no control plane of workloads reads.
 * What follows on a field that none of a node is stays as it is.
 */
export function leaveOutExtensions(node: Slice): void {
  let to = node.at;
  let start = node.at;
  fields.open(node.at, node.end(), 0);
  // All fields of a node have a length.
  while (fields.next() && fields.type == LENGTH) {
    const end = fields.at + fields.size;
    if (fields.field != NODE_EXTENSIONS) {
      memory.copy(to, start, end - start);
      to += end - start;
    }
    start = end;
  }
  const rest = node.end() - start;
  memory.copy(to, start, rest);
  node.size = <u32>(to + rest - node.at);
}

/** The first request of a stream: who asks, and for what. */
export function putFirst(writer: Writer, node: Slice): void {
  putType(writer);
  const end = writer.head;
  writer.bytes(node.at, node.size);
  writer.close(1, end);
}

/** The answer to a response: taken, or, with what was wrong in it, not taken in whole. */
export function putAnswer(writer: Writer, nonce: Slice, problem: Slice): void {
  if (problem.size > 0) {
    const end = writer.head;
    writer.bytes(problem.at, problem.size);
    writer.close(2, end);
    writer.byte(INVALID_ARGUMENT);
    writer.byte(tagOf(1, VARINT));
    writer.close(7, end);
  }
  const end = writer.head;
  writer.bytes(nonce.at, nonce.size);
  writer.close(6, end);
  putType(writer);
}

function putType(writer: Writer): void {
  const end = writer.head;
  writer.bytes(bytesOf(TYPE_URL), sizeOf(TYPE_URL));
  writer.close(2, end);
}
