// SPDX-License-Identifier: Apache-2.0
import { type Listed, Members } from './oracle/struct.ts';

/**
 * The codecs of assembly/wire as a module (test/unit/codecs.ts), asked like the tests do in test/unit/support.ts, but
 * of any build: the released one, or one with counters. What is read and what is written ends where memory ends, so
 * that one byte too many traps.
 */

interface Functions {
  [name: string]: (...values: number[]) => number;
}

/** Pages of memory, of 64 KiB, about. */
const PAGES = 64;
/** The arena's own memory, used up before a codec that needs it: then it has exactly what it asks for. */
const HOME_SIZE = 131072;

export class Codecs {
  private readonly call: Functions;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly slices: number;
  private readonly end: number;
  readonly globals: Record<string, WebAssembly.Global>;

  constructor(module: WebAssembly.Module) {
    const { exports } = new WebAssembly.Instance(module);
    (exports._initialize as () => void)();
    this.call = exports as unknown as Functions;
    this.globals = exports as unknown as Record<string, WebAssembly.Global>;
    this.slices = Number(this.globals.slices.value);
    const memory = exports.memory as WebAssembly.Memory;
    // The module takes its memory now, from below: what ends where memory ends is in nobody's way.
    this.call.release(this.call.allocate(PAGES * 65536 - memory.buffer.byteLength));
    this.bytes = new Uint8Array(memory.buffer);
    this.view = new DataView(memory.buffer);
    this.end = memory.buffer.byteLength;
  }

  private put(bytes: Uint8Array, end = this.end): number {
    this.bytes.set(bytes, end - bytes.length);
    return end - bytes.length;
  }

  private slice(index: number, at = 0, size = 0): number {
    const address = this.slices + index * 8;
    this.view.setUint32(address, at, true);
    this.view.setUint32(address + 4, size, true);
    return address;
  }

  private output(index: number): Uint8Array {
    const address = this.slices + index * 8;
    const at = this.view.getUint32(address, true);
    const size = this.view.getUint32(address + 4, true);
    if (at + size > this.end) throw new Error('a codec names bytes outside of memory');
    return this.bytes.slice(at, at + size);
  }

  private isChanged(bytes: Uint8Array, at: number): boolean {
    return Buffer.compare(bytes, this.bytes.subarray(at, at + bytes.length)) !== 0;
  }

  encodeBase64(bytes: Uint8Array): string {
    const to = this.end - this.call.encodedBase64Size(bytes.length);
    const at = this.put(bytes, to);
    this.call.encodeBase64(this.slice(0, at, bytes.length), to);
    if (this.isChanged(bytes, at)) throw new Error('encode writes over what it reads');
    return Buffer.from(this.bytes.subarray(to, this.end)).toString('latin1');
  }

  /** What base64 decodes to, written where exactly as much room is as `decode` asks for. */
  decodeBase64(text: Uint8Array): Uint8Array | undefined {
    const to = this.end - 3 * Math.ceil(text.length / 4);
    const at = this.put(text, to);
    const done = this.call.decodeBase64(this.slice(0, at, text.length), to, this.slice(1));
    if (this.isChanged(text, at)) throw new Error('decode writes over what it reads');
    return done ? this.output(1) : undefined;
  }

  /** The same, written over the text itself, which ends where memory ends. */
  decodeBase64InPlace(text: Uint8Array): Uint8Array | undefined {
    const at = this.put(text);
    return this.call.decodeBase64(this.slice(0, at, text.length), at, this.slice(1)) ? this.output(1) : undefined;
  }

  isUtf8(bytes: Uint8Array): boolean {
    return this.call.isUtf8(this.put(bytes), this.end) === 1;
  }

  isSoundStruct(bytes: Uint8Array): boolean {
    return this.call.faultOf(this.slice(0, this.put(bytes), bytes.length)) === 0;
  }

  kindOf(bytes: Uint8Array): { kind: number; content: Uint8Array } {
    const kind = this.call.kindOf(this.slice(0, this.put(bytes), bytes.length), this.slice(1));
    // A null, a number and a boolean have no content.
    return { kind, content: kind === 3 || kind > 4 ? this.output(1) : new Uint8Array() };
  }

  canonical(bytes: Uint8Array): { bytes: Uint8Array; leftOut: number } | undefined {
    this.call.startOver();
    this.call.take(HOME_SIZE);
    const from = this.slice(0, this.put(bytes), bytes.length);
    if (!this.call.reserve(this.call.roomForCanonical(from))) throw new Error('no memory');
    const leftOut = this.call.canonical(from, this.slice(1));
    return leftOut >= 0 ? { bytes: this.output(1), leftOut } : undefined;
  }

  /** The namespace that the OWNER of a Struct names; undefined if it names none. */
  namespaceOf(bytes: Uint8Array): Uint8Array | undefined {
    return this.call.namespaceOf(this.slice(0, this.put(bytes), bytes.length), this.slice(1))
      ? this.output(1)
      : undefined;
  }

  /** The string at the end of a path through a Struct; undefined if there is none. */
  findText(bytes: Uint8Array, path: Uint8Array): Uint8Array | undefined {
    const pathSlice = this.slice(1, this.put(path, this.end - bytes.length), path.length);
    const from = this.slice(0, this.put(bytes), bytes.length);
    return this.call.findText(from, pathSlice, this.slice(2)) ? this.output(2) : undefined;
  }

  readNode(bytes: Uint8Array, key: Uint8Array): { id: Uint8Array; cluster: Uint8Array; value: Uint8Array } | undefined {
    const keySlice = this.slice(1, this.put(key, this.end - bytes.length), key.length);
    const at = this.put(bytes);
    // As an earlier node might have left them.
    const [id, cluster, value] = [2, 3, 4].map((index) => this.slice(index, 64, 9));
    if (!this.call.readNode(this.slice(0, at, bytes.length), keySlice, id, cluster, value)) return undefined;
    return { id: this.output(2), cluster: this.output(3), value: this.output(4) };
  }

  /**
   * A JSON text, read to its end and on after a fault, as no caller should; undefined if it is wrong, 'unread' if it
   * has a number or a boolean, which this does not read.
   */
  readJson(bytes: Uint8Array): Listed | undefined | 'unread' {
    const { call } = this;
    let isUnread = false;
    const text = () => decoder.decode(this.output(1));
    const value = (depth: number): Listed => {
      const kind = call.peek();
      if (kind === 4 || kind === 5 || depth > 500) isUnread = true;
      if (isUnread || kind === 0) return null;
      if (kind === 3) return call.readString(this.slice(1)) ? text() : null;
      if (kind === 6) {
        call.readNull();
        return null;
      }
      call.enter();
      const [list, members]: [Listed[], [string, Listed][]] = [[], []];
      if (kind === 2) while (!isUnread && call.nextElement()) list.push(value(depth + 1));
      else while (!isUnread && call.nextMember(this.slice(1))) members.push([text(), value(depth + 1)]);
      return kind === 2 ? list : new Members(members);
    };
    call.startOver();
    call.openJson(this.slice(0, this.put(bytes), bytes.length));
    const read = value(0);
    if (isUnread) return 'unread';
    if (call.finish()) return read;
    if (call.offset() > bytes.length) throw new Error('a fault behind the end of a text');
    call.nextElement();
    call.nextMember(this.slice(1));
    call.readString(this.slice(1));
    return undefined;
  }
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
