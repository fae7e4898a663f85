// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { ROOT } from '../../testkit/envoy/binary.ts';

const root = protobuf.Root.fromJSON(protobuf.common.get('google/protobuf/struct.proto') as protobuf.INamespace);

/** google.protobuf.Struct as protobufjs knows it. */
export const Struct = root.lookupType('google.protobuf.Struct');

/** google.protobuf.Value as protobufjs knows it. */
export const Value = root.lookupType('google.protobuf.Value');

/** A serialized Struct in protobufjs's words, empty maps and lists included. */
export function decodeStruct(bytes: Uint8Array) {
  return Struct.toObject(Struct.decode(bytes), { objects: true, arrays: true });
}

/** The functions of codecs.ts: slices, entries and strings are addresses, a bool is 0 or 1. */
interface Functions {
  [name: string]: (...values: number[]) => number;
}

/** Pages of memory, of 64 KiB, about: more than any test of the codecs takes. */
const PAGES = 400;

const module = new WebAssembly.Module(readFileSync(join(ROOT, 'build/codecs.wasm')));

/** An instance of the codecs with nothing in it yet. A trap is a WebAssembly.RuntimeError, which fails the test. */
export function load() {
  const exports = new WebAssembly.Instance(module).exports;
  (exports._initialize as () => void)();
  return {
    memory: exports.memory as WebAssembly.Memory,
    slices: Number((exports.slices as WebAssembly.Global).value),
    call: exports as unknown as Functions,
    cursorNumber: exports.cursorNumber as () => bigint,
    writeVarint: exports.writeVarint as (value: bigint) => void,
  };
}

/** The instance that the functions below use. */
export const codecs = load();
const { call, memory } = codecs;
// The module takes its memory now, from below: what ends where memory ends is in nobody's way.
call.release(call.allocate(PAGES * 65536 - memory.buffer.byteLength));

/** The first address behind the memory: whoever reads or writes there traps. */
export const END = memory.buffer.byteLength;

/** Bytes from an address on, as a copy. */
export function bytesAt(at: number, size: number): Uint8Array {
  return new Uint8Array(memory.buffer).slice(at, at + size);
}

/** Puts bytes so that they end where the memory ends, or before another address; the answer is where they begin. */
export function put(bytes: Uint8Array, end = END): number {
  new Uint8Array(memory.buffer).set(bytes, end - bytes.length);
  return end - bytes.length;
}

/** The address of one of eight Slices; if told, it is made to point at something first. */
function slice(index: number, at = 0, size = 0): number {
  const address = codecs.slices + index * 8;
  new Uint32Array(memory.buffer, address, 2).set([at, size]);
  return address;
}

/** A slice that points at bytes which end where the memory ends. */
function input(bytes: Uint8Array): number {
  return slice(0, put(bytes), bytes.length);
}

/** The bytes that one of the eight Slices points at. */
function output(index: number): Uint8Array {
  const [at, size] = new Uint32Array(memory.buffer, codecs.slices + index * 8, 2);
  return bytesAt(at, size);
}

/** The bytes of a text as UTF-8. */
export function utf8(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, 'utf8'));
}

/** The bytes that hexadecimal digits say; white space between them is for the reader. */
export function hex(digits: string): Uint8Array {
  return new Uint8Array(Buffer.from(digits.replaceAll(/\s/g, ''), 'hex'));
}

/** Bytes one after the other. */
export function concat(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

/** A protobuf field that is a string, bytes or a message. */
export function field(number: number, content: Uint8Array): Uint8Array {
  const writer = protobuf.Writer.create();
  return concat(
    writer
      .uint32((number << 3) | 2)
      .bytes(content)
      .finish(),
  );
}

/** A Struct with one field, `a`, that is a serialized Value. */
export function structOf(value: Uint8Array, key = 'a'): Uint8Array {
  return field(1, concat(field(1, utf8(key)), field(2, value)));
}

/** The padded base64 of bytes, written where exactly as much room is as it takes. */
export function encodeBase64(bytes: Uint8Array): string {
  const to = END - call.encodedBase64Size(bytes.length);
  call.encodeBase64(slice(0, put(bytes, to), bytes.length), to);
  return Buffer.from(bytesAt(to, END - to)).toString('latin1');
}

/** What base64 decodes to, written where exactly as much room is as `decode` asks for; undefined if it is wrong. */
export function decodeBase64(text: Uint8Array): Uint8Array | undefined {
  const to = END - 3 * Math.ceil(text.length / 4);
  return call.decodeBase64(slice(0, put(text, to), text.length), to, slice(1)) ? output(1) : undefined;
}

/** The same, written over the text itself. */
export function decodeBase64InPlace(text: Uint8Array): Uint8Array | undefined {
  const at = put(text);
  return call.decodeBase64(slice(0, at, text.length), at, slice(1)) ? output(1) : undefined;
}

/** Whether bytes have one below 0x20, or 0x7F. */
export function hasControlCharacter(bytes: Uint8Array): boolean {
  return call.hasControlCharacter(put(bytes), END) === 1;
}

export function isUtf8(bytes: Uint8Array): boolean {
  return call.isUtf8(put(bytes), END) === 1;
}

export function isSoundStruct(bytes: Uint8Array): boolean {
  return faultOf(bytes) === 0;
}

/** What is wrong with a Struct: 0 if nothing is. */
export function faultOf(bytes: Uint8Array): number {
  return call.faultOf(input(bytes));
}

/** The kind of a serialized Value, 0 if it has none, and the bytes of a string, a Struct or a list. */
export function kindOf(bytes: Uint8Array): { kind: number; content: Uint8Array } {
  const kind = call.kindOf(input(bytes), slice(1));
  return { kind, content: output(1) };
}

/** A Struct in its one form and how many values were left out; undefined if the bytes are not a Struct. */
export function canonical(bytes: Uint8Array): { bytes: Uint8Array; leftOut: number } | undefined {
  call.startOver();
  // Nothing left of the arena's own memory, so that there is not one byte more than is asked for.
  call.take(131072);
  const from = input(bytes);
  if (!call.reserve(call.roomForCanonical(from))) throw new Error('no memory');
  const leftOut = call.canonical(from, slice(1));
  return leftOut >= 0 ? { bytes: output(1), leftOut } : undefined;
}

/** What we read of a serialized envoy.config.core.v3.Node; undefined if the bytes are not one. */
export function readNode(bytes: Uint8Array, key: string) {
  const name = utf8(key);
  const keySlice = slice(1, put(name, END - bytes.length), name.length);
  // As an earlier node might have left them.
  const [id, cluster, value] = [slice(2, 64, 9), slice(3, 64, 9), slice(4, 64, 9)];
  if (!call.readNode(input(bytes), keySlice, id, cluster, value)) return undefined;
  const text = (index: number) => Buffer.from(output(index)).toString('utf8');
  return { id: text(2), cluster: text(3), value: output(4) };
}

/** Whether bytes are the magic of a preface, or begin it. */
export function mayBegin(bytes: Uint8Array): boolean {
  return call.mayBegin(put(bytes), bytes.length) === 1;
}

/** The size of the body that a preface's first 8 bytes announce. */
export function bodySize(head: Uint8Array): number {
  return call.bodySize(put(head)) >>> 0;
}

/** What the body of a preface says; undefined if it is none. */
export function readBody(bytes: Uint8Array): { metadata: Uint8Array; id: Uint8Array } | undefined {
  // As an earlier preface might have left them.
  const [metadata, id] = [slice(1, 64, 9), slice(2, 64, 9)];
  return call.readBody(input(bytes), metadata, id) ? { metadata: output(1), id: output(2) } : undefined;
}

/** The preface that says so, written where exactly as much room is as it asks for. */
export function writePreface(metadata: Uint8Array, id: Uint8Array): Uint8Array {
  const at = put(id, put(metadata));
  const slices = [slice(0, at + id.length, metadata.length), slice(1, at, id.length)];
  const room = call.roomForPreface(slices[0], slices[1]);
  if (!call.writePreface(slices[0], slices[1], at - room, room, slice(2))) throw new Error('there is no room');
  return output(2);
}

/** The kinds of JSON values, as `peek` numbers them. */
const KINDS = ['malformed', 'object', 'array', 'string', 'number', 'bool', 'null'];

/** What the JSON reader can read. */
export type Json = null | string | Json[] | { [key: string]: Json };

export type Parsed = { value: Json } | { problem: string; offset: number } | { unread: string };

/** Reads a JSON text to its end. `onToken` is told where each value and each key begins. */
export function readJson(text: string | Uint8Array, onToken?: (what: string, offset: number) => void): Parsed {
  class Unread extends Error {}

  function value(): Json | undefined {
    const kind = KINDS[call.peek()];
    if (kind === 'malformed') return undefined;
    onToken?.(kind, call.offset());
    if (kind === 'string') return call.readString(slice(1)) ? decoder.decode(output(1)) : undefined;
    if (kind === 'number' || kind === 'bool') throw new Unread(kind);
    if (kind === 'null') {
      call.readNull();
      return null;
    }
    call.enter();
    if (kind === 'array') {
      const elements = [];
      while (call.nextElement()) elements.push(value() ?? null);
      return elements;
    }
    const members: [string, Json][] = [];
    while (call.nextMember(slice(1))) {
      const key = decoder.decode(output(1));
      onToken?.(`key ${key}`, call.keyOffset());
      members.push([key, value() ?? null]);
    }
    return Object.fromEntries(members);
  }

  call.startOver();
  call.openJson(input(typeof text === 'string' ? utf8(text) : text));
  try {
    const result = value();
    if (call.finish()) return { value: result as Json };
    return { problem: asciiAt(call.problem()), offset: call.offset() };
  } catch (error) {
    if (error instanceof Unread) return { unread: error.message };
    throw error;
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** An AssemblyScript string: UTF-16, its size in bytes before it. */
export function stringAt(at: number): string {
  const size = new Uint32Array(memory.buffer, at - 4, 1)[0];
  return Buffer.from(bytesAt(at, size)).toString('utf16le');
}

/** A text of the module's sources: its size before it, in two bytes. See tools/ascii.js. */
export function asciiAt(at: number): string {
  const [low, high] = bytesAt(at, 2);
  return Buffer.from(bytesAt(at + 2, low + high * 256)).toString('latin1');
}
