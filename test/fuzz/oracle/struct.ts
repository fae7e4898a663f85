// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import protobuf from 'protobufjs';

const common = protobuf.common.get('google/protobuf/struct.proto') as protobuf.INamespace;

/** google.protobuf.Struct as protobufjs knows it. */
export const Struct = protobuf.Root.fromJSON(common).lookupType('google.protobuf.Struct');

/**
 * google.protobuf.Struct read a second time, in TypeScript, from what README and protobuf's specification say: which
 * bytes are one that every reader in Envoy can take, and how the same thing is written in its one form. Slow and plain:
 * each message becomes a list of fields first.
 */

/** Why bytes are refused. protobufjs must refuse all that is malformed too, and is laxer about the rest. */
export type Reason =
  | 'malformed'
  | 'number too long'
  | 'field 0'
  | 'not UTF-8'
  | 'control character'
  | 'nested too deep'
  | 'no JSON form'
  | 'entry without a value';

export class Refused extends Error {
  constructor(readonly reason: Reason) {
    super(reason);
  }
}

/** A field of a message. */
export interface Field {
  number: number;
  type: number;
  /** Whether a varint is anything but 0. */
  isSet: boolean;
  /** A varint, as far as a double holds it; its lower 32 bits. */
  value: number;
  low: number;
  content: Uint8Array;
}

const MOST_NESTING = 100;
const [VARINT, FIXED64, LENGTH, START, END, FIXED32] = [0, 1, 2, 3, 4, 5];
export const NOTHING: Uint8Array = new Uint8Array();

/** The fields of a message that is inside of `depth` others; groups are skipped. */
export function fieldsOf(bytes: Uint8Array, depth: number): Field[] {
  if (depth > MOST_NESTING) throw new Refused('nested too deep');
  const fields: Field[] = [];
  const groups: number[] = [];
  let at = 0;

  const varint = (most: number): { value: number; low: number; isSet: boolean } => {
    let [value, low, isSet] = [0, 0, false];
    for (let i = 0; ; i++) {
      if (at >= bytes.length) throw new Refused('malformed');
      if (i === most) throw new Refused('number too long');
      const byte = bytes[at++];
      if (i === 9 && byte > 1) throw new Refused('number too long');
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (i < 5) low = (low | ((byte & 0x7f) << (7 * i))) >>> 0;
      if (byte & 0x7f) isSet = true;
      if (byte < 0x80) return { value, low, isSet };
    }
  };

  while (at < bytes.length) {
    const tag = varint(5).value;
    if (tag > 0xffffffff) throw new Refused('number too long');
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (number === 0) throw new Refused('field 0');
    if (type === START) {
      if (depth + groups.length >= MOST_NESTING) throw new Refused('nested too deep');
      groups.push(number);
      continue;
    }
    if (type === END) {
      if (groups.pop() !== number) throw new Refused('malformed');
      continue;
    }
    const field: Field = { number, type, isSet: false, value: 0, low: 0, content: NOTHING };
    if (type === VARINT) Object.assign(field, varint(10));
    else {
      if (type !== LENGTH && type !== FIXED64 && type !== FIXED32) throw new Refused('malformed');
      const size = type === LENGTH ? varint(5).value : type === FIXED64 ? 8 : 4;
      if (size > bytes.length - at) throw new Refused('malformed');
      field.content = bytes.subarray(at, at + size);
      at += size;
    }
    if (groups.length === 0) fields.push(field);
  }
  if (groups.length > 0) throw new Refused('malformed');
  return fields;
}

/** The fields of a Value that are one of its kinds: null, number, string, bool, struct, list. */
const KIND_TYPES = [-1, VARINT, FIXED64, LENGTH, VARINT, LENGTH, LENGTH];
const kindsOf = (fields: Field[]) => fields.filter(({ number, type }) => KIND_TYPES[number] === type);
export const messages = (fields: Field[], wanted: number) =>
  fields.filter(({ number, type }) => number === wanted && type === LENGTH).map(({ content }) => content);

/** Whether control characters are let pass: an operator may write them, a peer may not. */
let areControlsTaken = false;

function checkText(bytes: Uint8Array): void {
  if (!isUtf8(bytes)) throw new Refused('not UTF-8');
  if (areControlsTaken) return;
  if (bytes.some((byte) => byte < 0x20 || byte === 0x7f)) throw new Refused('control character');
}

/** What keeps a Struct from being passed on; undefined if nothing does. */
export function whyRefused(bytes: Uint8Array): Reason | undefined {
  try {
    checkStruct(bytes, 0);
    return undefined;
  } catch (error) {
    if (error instanceof Refused) return error.reason;
    throw error;
  }
}

/** The same of an operator's Struct. */
export function whyOwnRefused(bytes: Uint8Array): Reason | undefined {
  areControlsTaken = true;
  const reason = whyRefused(bytes);
  areControlsTaken = false;
  return reason;
}

function checkStruct(bytes: Uint8Array, depth: number): void {
  for (const entry of messages(fieldsOf(bytes, depth), 1)) {
    const fields = fieldsOf(entry, depth + 1);
    messages(fields, 1).forEach(checkText);
    const values = messages(fields, 2);
    if (values.length === 0) throw new Refused('entry without a value');
    for (const value of values) checkValue(value, depth + 2);
  }
}

function checkValue(bytes: Uint8Array, depth: number): void {
  const kinds = kindsOf(fieldsOf(bytes, depth));
  if (kinds.length === 0) throw new Refused('no JSON form');
  for (const { number, content } of kinds) {
    if (number === 2 && !isFinite64(content)) throw new Refused('no JSON form');
    if (number === 3) checkText(content);
    if (number === 5) checkStruct(content, depth + 1);
    if (number === 6) {
      for (const value of messages(fieldsOf(content, depth + 1), 1)) checkValue(value, depth + 2);
    }
  }
}

const isFinite64 = (bytes: Uint8Array) =>
  Number.isFinite(new DataView(bytes.buffer, bytes.byteOffset, 8).getFloat64(0, true));

/** What a function returns; undefined if it refuses. */
export function attempt<T>(run: () => T): T | undefined {
  try {
    return run();
  } catch (error) {
    if (error instanceof Refused) return undefined;
    throw error;
  }
}

/** A Struct in its one form, without what cannot be sent; undefined if the bytes are no message. */
export function canonical(bytes: Uint8Array): { bytes: Uint8Array; leftOut: number } | undefined {
  const writer = new Canonical();
  const result = attempt(() => writer.struct(bytes, 0));
  return result && { bytes: result, leftOut: writer.leftOut };
}

class Canonical {
  leftOut = 0;

  struct(bytes: Uint8Array, depth: number): Uint8Array {
    const entries = new Map<string, { key: Uint8Array; value: Uint8Array }>();
    for (const content of messages(fieldsOf(bytes, depth), 1)) {
      const entry = attempt(() => {
        const fields = fieldsOf(content, depth + 1);
        const value = messages(fields, 2).at(-1);
        const key = messages(fields, 1).at(-1) ?? NOTHING;
        checkText(key);
        return value && { key, value };
      });
      if (entry) entries.set(Buffer.from(entry.key).toString('hex'), entry);
      else this.leftOut++;
    }
    const out = protobuf.Writer.create();
    for (const { key, value } of [...entries.values()].sort((a, b) => Buffer.compare(a.key, b.key))) {
      const written = this.orLeftOut(() => this.value(value, depth + 2));
      if (written) out.uint32(0x0a).fork().uint32(0x0a).bytes(key).uint32(0x12).bytes(written).ldelim();
    }
    return out.finish();
  }

  private orLeftOut(run: () => Uint8Array): Uint8Array | undefined {
    const result = attempt(run);
    if (!result) this.leftOut++;
    return result;
  }

  private value(bytes: Uint8Array, depth: number): Uint8Array {
    const last = kindsOf(fieldsOf(bytes, depth)).at(-1);
    if (!last) throw new Refused('no JSON form');
    const { number, content, isSet } = last;
    const out = protobuf.Writer.create();
    if (number === 1) return out.uint32(0x08).uint32(0).finish();
    if (number === 4) return out.uint32(0x20).bool(isSet).finish();
    if (number === 2) {
      if (!isFinite64(content)) throw new Refused('no JSON form');
      return Uint8Array.of(0x11, ...content);
    }
    if (number === 3) {
      checkText(content);
      return out.uint32(0x1a).bytes(content).finish();
    }
    if (number === 5)
      return out
        .uint32(0x2a)
        .bytes(this.struct(content, depth + 1))
        .finish();
    const list = protobuf.Writer.create();
    for (const each of messages(fieldsOf(content, depth + 1), 1)) {
      const written = this.orLeftOut(() => this.value(each, depth + 2));
      if (written) list.uint32(0x0a).bytes(written);
    }
    return out.uint32(0x32).bytes(list.finish()).finish();
  }
}

/** The kind of a Value and what a string, a Struct or a list has in it; 0 if it has none. */
export function kindOf(bytes: Uint8Array): { kind: number; content: Uint8Array } {
  const last = attempt(() => kindsOf(fieldsOf(bytes, 0)).at(-1));
  return last ? { kind: last.number, content: last.content } : { kind: 0, content: NOTHING };
}

/** id, cluster and the metadata under a key of an envoy.config.core.v3.Node; undefined if it is none. */
export function readNode(bytes: Uint8Array, key: Uint8Array) {
  return attempt(() => {
    const fields = fieldsOf(bytes, 0);
    let value: Uint8Array = NOTHING;
    for (const metadata of messages(fields, 3)) {
      for (const content of messages(fieldsOf(metadata, 1), 1)) {
        const entry = fieldsOf(content, 2);
        const name = messages(entry, 1).at(-1) ?? NOTHING;
        if (Buffer.compare(name, key) === 0) value = messages(entry, 2).at(-1) ?? NOTHING;
      }
    }
    return { id: messages(fields, 1).at(-1) ?? NOTHING, cluster: messages(fields, 2).at(-1) ?? NOTHING, value };
  });
}

/** Of a Struct in its one form the fields that paths name: a key, or a key, a dot and a path inside of its value. */
export function select(bytes: Uint8Array, paths: Uint8Array[]): Uint8Array {
  const out = protobuf.Writer.create();
  for (const content of messages(fieldsOf(bytes, 0), 1)) {
    const entry = fieldsOf(content, 0);
    const [key] = messages(entry, 1);
    const through = paths.filter((path) => Buffer.compare(path.subarray(0, key.length), key) === 0);
    if (through.some((path) => path.length === key.length)) {
      out.uint32(0x0a).bytes(content);
      continue;
    }
    const rests = through.filter((path) => path[key.length] === 0x2e).map((path) => path.subarray(key.length + 1));
    const value = kindOf(messages(entry, 2)[0]);
    const inner = value.kind === 5 ? select(value.content, rests) : NOTHING;
    if (inner.length === 0) continue;
    out.uint32(0x0a).fork().uint32(0x0a).bytes(key);
    out.uint32(0x12).fork().uint32(0x2a).bytes(inner).ldelim().ldelim();
  }
  return out.finish();
}

/** The string that is not empty at the end of a path: of several ways there, the one with the shortest first keys. */
export function textAt(bytes: Uint8Array, path: Buffer): Uint8Array | undefined {
  // Of several entries with a key the last one counts.
  const fields = new Map<string, Uint8Array>();
  for (const content of messages(fieldsOf(bytes, 0), 1)) {
    const entry = fieldsOf(content, 0);
    const key = Buffer.from(messages(entry, 1).at(-1) ?? NOTHING).toString('latin1');
    fields.set(key, messages(entry, 2).at(-1) ?? NOTHING);
  }
  const parts = path.toString('latin1').split('.');
  for (let i = 1; i <= parts.length; i++) {
    const { kind, content } = kindOf(fields.get(parts.slice(0, i).join('.')) ?? NOTHING);
    if (i === parts.length) return kind === 3 && content.length > 0 ? content : undefined;
    const found = kind === 5 ? textAt(content, Buffer.from(parts.slice(i).join('.'), 'latin1')) : undefined;
    if (found) return found;
  }
  return undefined;
}

type Listed = string | number | boolean | null | Listed[] | Members;

/** A JSON object as it was written, the same key twice included. */
export class Members {
  constructor(readonly list: [string, Listed][]) {}
}
export type { Listed };

/** A sound Struct as JSON, as `Members`. */
export function toMembers(bytes: Uint8Array, depth = 0): Members {
  return new Members(
    messages(fieldsOf(bytes, depth), 1).map((content) => {
      const entry = fieldsOf(content, depth + 1);
      const key = Buffer.from(messages(entry, 1).at(-1) ?? NOTHING).toString();
      return [key, toListed(messages(entry, 2).at(-1) as Uint8Array, depth + 2)];
    }),
  );
}

function toListed(bytes: Uint8Array, depth: number): Listed {
  const { number, content, isSet } = kindsOf(fieldsOf(bytes, depth)).at(-1) as Field;
  if (number === 1) return null;
  if (number === 2) return new DataView(content.buffer, content.byteOffset, 8).getFloat64(0, true);
  if (number === 3) return Buffer.from(content).toString();
  if (number === 4) return isSet;
  if (number === 5) return toMembers(content, depth + 1);
  return messages(fieldsOf(content, depth + 1), 1).map((each) => toListed(each, depth + 2));
}

/** A sound Struct as plain JSON. */
export function plainStruct(bytes: Uint8Array): unknown {
  const plain = (value: Listed): unknown => {
    if (Array.isArray(value)) return value.map(plain);
    return value instanceof Members ? Object.fromEntries(value.list.map(([key, each]) => [key, plain(each)])) : value;
  };
  return plain(toMembers(bytes));
}
