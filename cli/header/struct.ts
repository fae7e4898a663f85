// SPDX-License-Identifier: Apache-2.0
import { struct } from '../../testkit/struct.ts';
import { Broken } from './base64.ts';

/**
 * google.protobuf.Struct, as strictly as the module reads it (assembly/wire/struct.ts), with the place of what is
 * wrong. A test compares the two. What is sound is then read by protobufjs.
 */

const [VARINT, FIXED64, LENGTH, START_GROUP, END_GROUP, FIXED32] = [0, 1, 2, 3, 4, 5];
/** The most messages, map entries and groups inside each other: what Google's C++ parser takes. */
const MOST_NESTING = 100;
const MOST_BYTES = 0x7fffffff;

/** Where the last byte of a varint may stand: the tenth of a number, the fifth of a tag or a length. */
const [LONG, SHORT] = [10, 5];

interface Field {
  number: number;
  type: number;
  /** Its content: from, and up to. */
  at: number;
  end: number;
}

/** JSON of the bytes of a Struct; throws a Broken where they are not one that the module takes. */
export function readStruct(bytes: Buffer): Record<string, unknown> {
  new Checker(bytes).struct(0, bytes.length, 0, '');
  return struct.read(bytes);
}

/** The value of a Value's field that has one of the six kinds. */
const KIND_TYPES: Record<number, number> = { 1: VARINT, 2: FIXED64, 3: LENGTH, 4: VARINT, 5: LENGTH, 6: LENGTH };

class Checker {
  constructor(private readonly bytes: Buffer) {}

  struct(at: number, end: number, depth: number, path: string): void {
    this.nested(at, depth, path);
    for (const field of this.fields(at, end, depth)) {
      if (field.number === 1 && field.type === LENGTH) this.entry(field, depth + 1, path);
    }
  }

  private entry({ at, end }: Field, depth: number, path: string): void {
    this.nested(at, depth, path);
    let key = '';
    let hasValue = false;
    for (const field of this.fields(at, end, depth)) {
      if (field.type !== LENGTH) continue;
      if (field.number === 1) key = this.text(field, `a key of ${path || 'the Struct'}`);
      if (field.number !== 2) continue;
      hasValue = true;
      this.value(field, depth + 1, path ? `${path}.${key}` : key);
    }
    if (!hasValue) throw new Broken('no_json_form', at, `${path ? `${path}.${key}` : key}: there is no value`);
  }

  private value({ at, end }: Field, depth: number, path: string): void {
    this.nested(at, depth, path);
    let hasKind = false;
    for (const field of this.fields(at, end, depth)) {
      if (KIND_TYPES[field.number] !== field.type) continue;
      hasKind = true;
      if (field.number === 2 && !Number.isFinite(this.bytes.readDoubleLE(field.at))) {
        throw new Broken('no_json_form', field.at, `${path}: JSON has no ${this.bytes.readDoubleLE(field.at)}`);
      }
      if (field.number === 3) this.text(field, path);
      if (field.number === 5) this.struct(field.at, field.end, depth + 1, path);
      if (field.number === 6) this.list(field, depth + 1, path);
    }
    if (!hasKind) throw new Broken('no_json_form', at, `${path}: the value has no kind`);
  }

  private list({ at, end }: Field, depth: number, path: string): void {
    this.nested(at, depth, path);
    let i = 0;
    for (const field of this.fields(at, end, depth)) {
      if (field.number === 1 && field.type === LENGTH) this.value(field, depth + 1, `${path}[${i++}]`);
    }
  }

  private nested(at: number, depth: number, path: string): void {
    if (depth > MOST_NESTING) throw new Broken('nesting', at, `${path.slice(0, 80)}…: nested too deep`);
  }

  /** A key or a string. */
  private text({ at, end }: Field, what: string): string {
    const text = this.bytes.subarray(at, end).toString('utf8');
    // What is not UTF-8 is replaced by the decoder, and then has another length or other bytes.
    const same = Buffer.from(text).compare(this.bytes.subarray(at, end)) === 0;
    if (!same) throw new Broken('utf8', at + this.firstDifference(at, text), `${what}: not UTF-8`);
    const control = this.bytes.subarray(at, end).findIndex((byte) => byte < 0x20 || byte === 0x7f);
    if (control < 0) return text;
    const byte = this.bytes[at + control].toString(16).padStart(2, '0');
    throw new Broken('control', at + control, `${what}: a control character, 0x${byte}`);
  }

  private firstDifference(at: number, decoded: string): number {
    return Buffer.from(decoded).findIndex((byte, i) => byte !== this.bytes[at + i]);
  }

  /** The fields of a message; groups are gone over. */
  private *fields(at: number, end: number, depth: number): Generator<Field> {
    let field: Field;
    for (; at < end; at = field.end) {
      field = this.field(at, end);
      if (field.type === START_GROUP) field.end = this.group(field, end, depth);
      else if (field.type === END_GROUP) throw malformed(at, 'a group ends that did not begin');
      else yield field;
    }
  }

  /** Where a group ends, with the groups inside of it. */
  private group(start: Field, end: number, depth: number): number {
    const open = [start.number];
    if (depth >= MOST_NESTING) throw malformed(start.at, 'groups nested too deep');
    for (let at = start.end; ; ) {
      if (at >= end) throw malformed(at, 'a group does not end');
      const field = this.field(at, end);
      if (field.type === START_GROUP) {
        if (depth + open.length >= MOST_NESTING) throw malformed(at, 'groups nested too deep');
        open.push(field.number);
      } else if (field.type === END_GROUP && open.pop() !== field.number) {
        throw malformed(at, 'another group ends than began');
      }
      at = field.end;
      if (open.length === 0) return at;
    }
  }

  private field(start: number, end: number): Field {
    const tag = this.varint(start, end, SHORT);
    const [number, type] = [Math.floor(tag.value / 8), tag.value % 8];
    if (tag.value > 0xffffffff || number === 0) throw malformed(start, 'no field has this tag');
    const at = tag.end;
    if (type === START_GROUP || type === END_GROUP) return { number, type, at, end: at };
    if (type === VARINT) return { number, type, at, end: this.varint(at, end, LONG).end };
    let from = at;
    let size = type === FIXED64 ? 8 : 4;
    if (type === LENGTH) {
      const length = this.varint(at, end, SHORT);
      if (length.value > MOST_BYTES) throw malformed(at, 'a length beyond all messages');
      [from, size] = [length.end, length.value];
    } else if (type !== FIXED64 && type !== FIXED32) {
      throw malformed(start, `there is no wire type ${type}`);
    }
    if (size > end - from) throw malformed(from, `${size} bytes are announced, and ${end - from} are left`);
    return { number, type, at: from, end: from + size };
  }

  /** A number of seven bits a byte. */
  private varint(at: number, end: number, most: number): { value: number; end: number } {
    let value = 0;
    for (let i = 0; ; i++) {
      if (at + i >= end) throw malformed(at + i, 'the end is missing');
      const byte = this.bytes[at + i];
      if (i >= most || (i === 9 && byte > 1)) throw malformed(at + i, 'a number is too long');
      value += (byte & 0x7f) * 128 ** i;
      if (byte < 0x80) return { value, end: at + i + 1 };
    }
  }
}

function malformed(at: number, reason: string): Broken {
  return new Broken('protobuf', at, reason);
}
