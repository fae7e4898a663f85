// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';

/** A google.protobuf.Struct as protobufjs writes and reads it: each Value has one of these. */
export type StructModel = { fields: Record<string, ValueModel> };
export type ValueModel =
  | { nullValue: 0 }
  | { numberValue: number }
  | { stringValue: string }
  | { boolValue: boolean }
  | { structValue: StructModel }
  | { listValue: { values: ValueModel[] } };

/** Random numbers that are the same for the same seed (mulberry32), and what is made of them. */
export class Random {
  constructor(private state: number) {}

  /** From 0 up to, but not including, 1. */
  next(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let t = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  }

  /** A whole number below a limit. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }

  /** True once in `times` times. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<T>(from: ArrayLike<T>): T {
    return from[this.below(from.length)];
  }

  shuffled<T>(from: T[]): T[] {
    const to = [...from];
    for (let i = to.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      [to[i], to[j]] = [to[j], to[i]];
    }
    return to;
  }

  bytes(size: number): Uint8Array {
    return Uint8Array.from({ length: size }, () => this.below(256));
  }

  /** Bytes with one or more of them changed, removed or added. */
  mutated(bytes: Uint8Array): Uint8Array {
    let result = new Uint8Array(bytes);
    /** Puts other bytes in the place of some. */
    const put = (at: number, count: number, ...more: number[]) => {
      const next = new Uint8Array(result.length - Math.min(count, result.length - at) + more.length);
      next.set(result.subarray(0, at));
      next.set(more, at);
      next.set(result.subarray(at + count), at + more.length);
      result = next;
    };
    for (let changes = 1 + this.below(3); changes > 0; changes--) {
      const at = this.below(result.length + 1);
      const kind = this.below(4);
      if (kind === 0) put(at, 1);
      else if (kind === 1) put(at, 0, this.below(256));
      else if (kind === 2) put(at, 1, this.below(256));
      else if (at < result.length) result[at] ^= 1 << this.below(8);
    }
    return result;
  }

  /** Any text: often empty, of one to four bytes a character, with NUL and controls, without halves of pairs. */
  text(most = 12): string {
    const limits = [0x80, 0x80, 0x80, 0x800, 0xd800, 0x10000, 0x110000];
    return Array.from({ length: this.below(most + 1) }, () => {
      const point = this.below(this.pick(limits));
      return String.fromCodePoint(point >= 0xd800 && point < 0xe000 ? 0xfffd : point);
    }).join('');
  }

  /** Text without control characters, as keys and strings of a Struct must be. */
  plainText(most = 12): string {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: they are what must not be there
    return this.text(most).replaceAll(/[\x00-\x1f\x7f]/g, '~');
  }

  /** A finite double, with whole numbers, -0 and the smallest and largest among them. */
  number(): number {
    if (this.oneIn(3)) return this.pick([0, -0, 1, -1, 5e-324, Number.MAX_VALUE, -Number.MAX_VALUE, 2 ** 53]);
    if (this.oneIn(2)) return this.below(100000) - 50000;
    const value = new DataView(this.bytes(8).buffer).getFloat64(0);
    return Number.isFinite(value) ? value : 0.1;
  }

  value(depth = 4): ValueModel {
    const kind = this.below(depth > 0 ? 6 : 4);
    if (kind === 0) return { nullValue: 0 };
    if (kind === 1) return { numberValue: this.number() };
    if (kind === 2) return { stringValue: this.plainText(this.oneIn(20) ? 200 : 12) };
    if (kind === 3) return { boolValue: this.oneIn(2) };
    if (kind === 4) return { structValue: this.struct(depth - 1) };
    return { listValue: { values: Array.from({ length: this.below(4) }, () => this.value(depth - 1)) } };
  }

  struct(depth = 4): StructModel {
    const fields: Record<string, ValueModel> = {};
    for (let count = this.below(5); count > 0; count--) fields[this.plainText(8)] = this.value(depth);
    return { fields };
  }
}

const SEED = Number(process.env.SEED ?? 1);

/** Checks what must hold always, with one random source after another. A failure says how to repeat it alone. */
export function always(times: number, check: (random: Random) => void): void {
  for (let seed = SEED; seed < SEED + times; seed++) {
    try {
      check(new Random(seed));
    } catch (error) {
      if (error instanceof Error) error.message = `with SEED=${seed}: ${error.message}`;
      throw error;
    }
  }
}

/** The order of UTF-8 bytes. */
function byBytes(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}

type Order = (keys: string[]) => string[];

/**
 * A Struct in the one form that `canonical` writes, made in another way: keys in the order of their bytes, each entry
 * with its key and its value.
 */
export function canonicalForm(struct: StructModel): Uint8Array {
  const writer = protobuf.Writer.create();
  writeStruct(writer, struct, (keys) => keys.sort(byBytes));
  return new Uint8Array(writer.finish());
}

/**
 * A Struct in one of the many ways that protobuf allows: entries in any order, the value before the key, an empty key
 * not written, replaced entries and kinds before the right ones, unknown fields and groups in between.
 */
export function anyForm(struct: StructModel, random: Random): Uint8Array {
  const writer = protobuf.Writer.create();
  writeStruct(writer, struct, (keys) => random.shuffled(keys), random);
  return new Uint8Array(writer.finish());
}

function writeStruct(writer: protobuf.Writer, struct: StructModel, order: Order, random?: Random): void {
  for (const key of order(Object.keys(struct.fields))) {
    if (random?.oneIn(6)) writeEntry(writer, key, random.value(1), order, random);
    writeEntry(writer, key, struct.fields[key], order, random);
    writeUnknown(writer, random);
  }
}

function writeEntry(writer: protobuf.Writer, key: string, value: ValueModel, order: Order, random?: Random): void {
  const valueFirst = random?.oneIn(2);
  const withKey = key !== '' || !random?.oneIn(2);
  writer.uint32(0x0a).fork();
  if (withKey && !valueFirst) writer.uint32(0x0a).string(key);
  writeUnknown(writer, random);
  writer.uint32(0x12).fork();
  writeValue(writer, value, order, random);
  writer.ldelim();
  if (withKey && valueFirst) writer.uint32(0x0a).string(key);
  writer.ldelim();
}

function writeValue(writer: protobuf.Writer, value: ValueModel, order: Order, random?: Random): void {
  if (random?.oneIn(6)) writeValue(writer, random.value(0), order);
  writeUnknown(writer, random);
  if ('nullValue' in value) writer.uint32(0x08).int32(0);
  else if ('numberValue' in value) writer.uint32(0x11).double(value.numberValue);
  else if ('stringValue' in value) writer.uint32(0x1a).string(value.stringValue);
  else if ('boolValue' in value) writer.uint32(0x20).bool(value.boolValue);
  else if ('structValue' in value) {
    writer.uint32(0x2a).fork();
    writeStruct(writer, value.structValue, order, random);
    writer.ldelim();
  } else {
    writer.uint32(0x32).fork();
    for (const each of value.listValue.values) {
      writer.uint32(0x0a).fork();
      writeValue(writer, each, order, random);
      writer.ldelim();
      writeUnknown(writer, random);
    }
    writer.ldelim();
  }
}

/** Now and then a field that no message here has, or field 1, 2 or 3 as what it is not: fixed32 and a group. */
function writeUnknown(writer: protobuf.Writer, random?: Random): void {
  if (!random?.oneIn(4)) return;
  const field = random.pick([1, 2, 3, 7, 15, 16, 2047, 536870911]);
  const kind = random.below(4);
  const tag = (type: number) => writer.uint32(((field << 3) | type) >>> 0);
  if (kind === 0) tag(5).fixed32(random.below(2 ** 32));
  else if (kind === 1) {
    tag(3).uint32(0x22).bytes(random.bytes(3)).uint32(0x0b).uint32(0x11).double(0).uint32(0x0c);
    tag(4);
  } else if (field > 6 && kind === 2) tag(2).bytes(random.bytes(5));
  else if (field > 6) tag(0).uint64(random.below(2 ** 32));
}
