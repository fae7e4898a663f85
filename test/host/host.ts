// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { MODULE } from '../../tools/envoy/binary.ts';

/**
 * A small Proxy-WASM host (ABI 0.2.1) for the built module: what Envoy does around it, as far as the module can tell.
 * It answers in a millisecond what a real Envoy takes a second for, and can do what no Envoy does: be out of memory,
 * be old, be hostile. Whether Envoy really behaves like this is tested under test/envoy.
 */

type HeaderPair = [string, string];
const OK = 0;
const NOT_FOUND = 1;
const INVALID_MEMORY_ACCESS = 6;
const REQUEST = 0;
const RESPONSE = 2;

interface Exports {
  memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(size: number): number;
  proxy_on_context_create(id: number, parent: number): void;
  proxy_on_configure(id: number, size: number): number;
  proxy_on_request_headers(id: number, headers: number, endOfStream: number): number;
  proxy_on_response_headers(id: number, headers: number, endOfStream: number): number;
  proxy_on_delete(id: number): void;
}

/** Header values are bytes: one character each. */
const bytesOf = (text: string) => Buffer.from(text, 'latin1');

export class Host {
  /** All that the module logged: level and text. */
  readonly log: { level: number; text: string }[] = [];
  /** Names of the properties that were declared, as serialized DeclarePropertyArguments. */
  readonly declared: Buffer[] = [];
  /** Host calls since the last `calls.length = 0`. */
  readonly calls: string[] = [];
  /** What `proxy_get_property` finds beside filter state; the parts of a path are joined by dots. */
  readonly properties: Record<string, Buffer>;

  private readonly exports: Exports;
  private configuration = Buffer.alloc(0);
  private current: Stream | undefined;
  private nextId = 1;

  constructor(properties: Record<string, Buffer> = {}) {
    this.properties = properties;
    this.exports = new WebAssembly.Instance(compiled(), { env: this.imports() }).exports as unknown as Exports;
    this.exports._initialize();
  }

  /** Loads a plugin configuration; the root context's id, or undefined if the module refuses it. */
  configure(config: string | Buffer = '', id = this.nextId++): number | undefined {
    this.configuration = Buffer.from(config);
    this.exports.proxy_on_context_create(id, 0);
    return this.exports.proxy_on_configure(id, this.configuration.length) ? id : undefined;
  }

  /** The errors and warnings that were logged. */
  complaints(): string[] {
    return this.log.filter(({ level }) => level >= 3).map(({ text }) => text);
  }

  /** A stream of a root context. */
  stream(root: number): Stream {
    return new Stream(this, this.exports, root, this.nextId++);
  }

  /** Ends a context, as Envoy does with each. */
  end(id: number): void {
    this.exports.proxy_on_delete(id);
  }

  /** Bytes of memory that the module has. */
  memorySize(): number {
    return this.exports.memory.buffer.byteLength;
  }

  /** Runs something with a stream as the one that host calls are about. */
  within<T>(stream: Stream, run: () => T): T {
    this.current = stream;
    try {
      return run();
    } finally {
      this.current = undefined;
    }
  }

  private memory(): Buffer {
    return Buffer.from(this.exports.memory.buffer);
  }

  private bytes(at: number, size: number): Buffer {
    if (at + size > this.memorySize()) throw new Error('the module names bytes outside of its memory');
    return Buffer.from(this.memory().subarray(at, at + size));
  }

  /** Answers with bytes, in memory that the module gives: none for no bytes. */
  private answer(bytes: Buffer, atTo: number, sizeTo: number): number {
    let at = 0;
    if (bytes.length > 0) {
      at = this.exports.malloc(bytes.length) >>> 0;
      if (at === 0) return INVALID_MEMORY_ACCESS;
      if (at + bytes.length > this.memorySize()) throw new Error('malloc names bytes outside of memory');
      bytes.copy(this.memory(), at);
    }
    this.memory().writeUInt32LE(at, atTo);
    this.memory().writeUInt32LE(bytes.length, sizeTo);
    return OK;
  }

  private stream_(): Stream {
    if (!this.current) throw new Error('a stream’s host call without a stream');
    return this.current;
  }

  private imports(): WebAssembly.ModuleImports {
    const imports: Record<string, (...args: number[]) => number> = {
      proxy_log: (level, at, size) => {
        this.log.push({ level, text: this.bytes(at, size).toString() });
        return OK;
      },
      proxy_get_buffer_bytes: (type, start, size, atTo, sizeTo) => {
        if (type !== 7) return NOT_FOUND;
        return this.answer(this.configuration.subarray(start, start + size), atTo, sizeTo);
      },
      proxy_get_property: (at, size, atTo, sizeTo) => {
        const path = this.bytes(at, size).toString().replaceAll('\0', '.');
        const value = this.current?.filterState[path] ?? this.properties[path];
        return value ? this.answer(value, atTo, sizeTo) : NOT_FOUND;
      },
      proxy_set_property: (at, size, valueAt, valueSize) => {
        this.stream_().filterState[this.bytes(at, size).toString()] = this.bytes(valueAt, valueSize);
        return OK;
      },
      proxy_call_foreign_function: (at, size, argumentsAt, argumentsSize) => {
        if (this.bytes(at, size).toString() !== 'declare_property') return NOT_FOUND;
        this.declared.push(this.bytes(argumentsAt, argumentsSize));
        return OK;
      },
      proxy_get_header_map_value: (map, at, size, atTo, sizeTo) => {
        const found = this.stream_().find(map, this.bytes(at, size).toString());
        return found ? this.answer(bytesOf(found[1]), atTo, sizeTo) : NOT_FOUND;
      },
      proxy_get_header_map_pairs: (map, atTo, sizeTo) => this.answer(pairs(this.stream_().headers(map)), atTo, sizeTo),
      proxy_replace_header_map_value: (map, at, size, valueAt, valueSize) => {
        const name = this.bytes(at, size).toString();
        const value = this.bytes(valueAt, valueSize).toString('latin1');
        this.stream_().remove(map, name);
        this.stream_().headers(map).push([name, value]);
        return OK;
      },
      proxy_remove_header_map_value: (map, at, size) => {
        this.stream_().remove(map, this.bytes(at, size).toString());
        return OK;
      },
    };
    for (const [name, call] of Object.entries(imports)) {
      imports[name] = (...args) => {
        this.calls.push(name);
        return call(...args.map((arg) => arg >>> 0));
      };
    }
    return imports;
  }
}

/** One HTTP stream on a host. */
export class Stream {
  readonly filterState: Record<string, Buffer> = {};
  request: HeaderPair[] = [];
  response: HeaderPair[] = [];

  constructor(
    private readonly host: Host,
    private readonly exports: Exports,
    readonly root: number,
    readonly id: number,
  ) {}

  /** Sends a request through the module. */
  onRequest(...headers: HeaderPair[]): this {
    this.request = headers;
    this.exports.proxy_on_context_create(this.id, this.root);
    this.host.within(this, () => this.exports.proxy_on_request_headers(this.id, headers.length, 1));
    return this;
  }

  /** Sends a response through the module. */
  onResponse(...headers: HeaderPair[]): this {
    this.response = headers;
    this.host.within(this, () => this.exports.proxy_on_response_headers(this.id, headers.length, 1));
    return this;
  }

  /** Ends it. */
  end(): this {
    this.host.end(this.id);
    return this;
  }

  headers(map: number): HeaderPair[] {
    if (map === REQUEST) return this.request;
    if (map === RESPONSE) return this.response;
    throw new Error(`header map ${map} is not of a stream`);
  }

  find(map: number, name: string): HeaderPair | undefined {
    return this.headers(map).find(([each]) => each === name);
  }

  remove(map: number, name: string): void {
    const headers = this.headers(map);
    headers.splice(0, headers.length, ...headers.filter(([each]) => each !== name));
  }
}

/** Proxy-WASM's way to write a list of headers. */
function pairs(headers: HeaderPair[]): Buffer {
  const sizes = Buffer.alloc(4 + headers.length * 8);
  sizes.writeUInt32LE(headers.length);
  for (const [i, [name, value]] of headers.entries()) {
    sizes.writeUInt32LE(bytesOf(name).length, 4 + i * 8);
    sizes.writeUInt32LE(bytesOf(value).length, 8 + i * 8);
  }
  return Buffer.concat([sizes, ...headers.flatMap((pair) => pair.map((text) => bytesOf(`${text}\0`)))]);
}

let compiledModule: WebAssembly.Module | undefined;

/** The built module, compiled once a process. */
function compiled(): WebAssembly.Module {
  compiledModule ??= new WebAssembly.Module(readFileSync(MODULE));
  return compiledModule;
}
