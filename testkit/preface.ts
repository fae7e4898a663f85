// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { struct } from './struct.ts';

/**
 * What a proxy says of itself at the start of a TCP connection, made and read by protobufjs: a magic number and a length,
 * both big-endian, and then that many bytes of google.protobuf.Any, with a Struct in it.
 */

export const MAGIC = 0x3d230467;
/** Bytes before the Any. */
export const HEAD = 8;
export const STRUCT_URL = 'type.googleapis.com/google.protobuf.Struct';
const METADATA = 'x-envoy-peer-metadata';
const ID = 'x-envoy-peer-metadata-id';

const common = protobuf.common.get('google/protobuf/any.proto');
if (!common?.nested) throw new Error('protobufjs has no google/protobuf/any.proto');
const Any = protobuf.Root.fromJSON({ nested: common.nested }).lookupType('google.protobuf.Any');

interface AnyFields {
  type_url: string;
  value: Uint8Array;
}

/** Who a preface is from. */
export interface Said {
  metadata?: object;
  id?: string;
}

/** Any bytes behind the magic number and their length, or another length. */
export function framed(body: Uint8Array, length = body.length): Buffer {
  const head = Buffer.alloc(HEAD);
  head.writeUInt32BE(MAGIC);
  head.writeUInt32BE(length >>> 0, 4);
  return Buffer.concat([head, body]);
}

/** An Any of a type, with these bytes in it. */
export function any(value: Uint8Array, url = STRUCT_URL): Buffer {
  return Buffer.from(Any.encode({ type_url: url, value } as object).finish());
}

/** A whole preface. */
export function preface({ metadata, id }: Said): Buffer {
  const says: Record<string, unknown> = {};
  if (metadata !== undefined) says[METADATA] = metadata;
  if (id !== undefined) says[ID] = id;
  return framed(any(struct.write(says)));
}

/** The preface that bytes begin with, and the bytes behind it; undefined if they begin with none, or with half of one. */
export function readPreface(bytes: Buffer): { said: Said; rest: Buffer } | undefined {
  if (bytes.length < HEAD || bytes.readUInt32BE(0) !== MAGIC) return undefined;
  const end = HEAD + bytes.readUInt32BE(4);
  if (bytes.length < end) return undefined;
  const { type_url, value } = Any.decode(bytes.subarray(HEAD, end)) as unknown as AnyFields;
  if (type_url !== STRUCT_URL) throw new Error(`a preface with ${type_url}`);
  const says = struct.read(value) as { [METADATA]?: object; [ID]?: string };
  return { said: { metadata: says[METADATA], id: says[ID] }, rest: bytes.subarray(end) };
}
