// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { MODULE } from '../envoy/binary.ts';

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
const BAD_ARGUMENT = 2;
/** What no header name or value may hold: whoever wrote it could add headers of his own. */
const BREAKS_HEADERS = /[\0\r\n]/;

interface Exports {
  memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(size: number): number;
  proxy_on_context_create(id: number, parent: number): void;
  proxy_on_configure(id: number, size: number): number;
  proxy_on_request_headers(id: number, headers: number, endOfStream: number): number;
  proxy_on_response_headers(id: number, headers: number, endOfStream: number): number;
  proxy_on_delete?(id: number): void;
  proxy_on_tick?(id: number): void;
}

/** What the module notes in filter state for a later run of the chain on the same request, and for nobody else. */
const FIRST_RUN = 'envoy.wasm.metadata_exchange.first_run.';

/** Header values are bytes: one character each. */
const bytesOf = (text: string) => Buffer.from(text, 'latin1');

export class Host {
  /** All that the module logged: level and text. */
  readonly log: { level: number; text: string }[] = [];
  /** Names of the properties that were declared, as serialized DeclarePropertyArguments. */
  readonly declared: Buffer[] = [];
  /** Host calls since the last `calls.length = 0`. */
  readonly calls: string[] = [];
  /** Metrics that the module defined, by name: counters and gauges as they stand, histograms as last recorded. */
  readonly metrics: Record<string, number> = {};
  /** Milliseconds between ticks that the module last asked for. */
  tickPeriod = 0;
  /** What `proxy_get_property` finds beside filter state; the parts of a path are joined by dots. */
  readonly properties: Record<string, Buffer>;

  private readonly exports: Exports;
  /** Root contexts that are alive. */
  private readonly roots = new Set<number>();
  private configuration = Buffer.alloc(0);
  private current: Stream | undefined;
  private nextId = 1;
  private readonly metricNames: string[] = [];

  constructor(properties: Record<string, Buffer> = {}, module = compiled()) {
    this.properties = properties;
    this.exports = new WebAssembly.Instance(module, { env: this.imports() }).exports as unknown as Exports;
    this.exports._initialize();
  }

  /** Loads a plugin configuration; the root context's id, or undefined if the module refuses it. */
  configure(config: string | Buffer = '', id = this.nextId++): number | undefined {
    this.configuration = Buffer.from(config);
    this.exports.proxy_on_context_create(id, 0);
    if (!this.exports.proxy_on_configure(id, this.configuration.length)) return undefined;
    this.roots.add(id);
    return id;
  }

  /** The errors and warnings that were logged. */
  complaints(): string[] {
    return this.log.filter(({ level }) => level >= 3).map(({ text }) => text);
  }

  /** A stream of a root context. */
  stream(root: number, id = this.nextId++): Stream {
    return new Stream(this, this.exports, root, id);
  }

  /** A number that the module exports beside what Envoy knows of: the counters of an instrumented build. */
  global(name: string): number {
    return Number((this.exports as unknown as Record<string, WebAssembly.Global>)[name].value);
  }

  /** Ends a context, as Envoy does with each: a root after its last stream. */
  end(id: number): void {
    this.roots.delete(id);
    this.exports.proxy_on_delete?.(id);
  }

  /** Lets a root context's time pass, as often as it asked for. */
  tick(root: number): void {
    this.exports.proxy_on_tick?.(root);
  }

  /** Lets seconds pass for all root contexts. */
  pass(seconds: number): void {
    for (; seconds > 0; seconds--) for (const root of this.roots) this.tick(root);
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

  /** A header's name or value as the module says it: bytes that a message may carry. */
  private headerText(at: number, size: number): string {
    const text = this.bytes(at, size).toString('latin1');
    if (BREAKS_HEADERS.test(text)) throw new Error(`the module writes a header that breaks a message: ${text}`);
    return text;
  }

  private headerName(at: number, size: number): string {
    const name = this.headerText(at, size);
    if (name === '' || name.startsWith(':')) throw new Error(`the module asks for a header that is none: "${name}"`);
    return name;
  }

  private imports(): WebAssembly.ModuleImports {
    const imports: Record<string, (...args: number[]) => number> = {
      proxy_define_metric: (type, at, size, idTo) => {
        if (type > 2) return BAD_ARGUMENT;
        const name = this.bytes(at, size).toString();
        const known = this.metricNames.indexOf(name);
        const index = known < 0 ? this.metricNames.push(name) - 1 : known;
        this.metrics[name] ??= 0;
        this.memory().writeUInt32LE(index + 1, idTo);
        return OK;
      },
      proxy_increment_metric: (id, amount) => {
        if (!this.metricNames[id - 1]) return NOT_FOUND;
        this.metrics[this.metricNames[id - 1]] += amount;
        return OK;
      },
      proxy_record_metric: (id, value) => {
        if (!this.metricNames[id - 1]) return NOT_FOUND;
        this.metrics[this.metricNames[id - 1]] = value;
        return OK;
      },
      proxy_set_tick_period_milliseconds: (period) => {
        this.tickPeriod = period;
        return OK;
      },
      proxy_get_current_time_nanoseconds: (to) => {
        this.memory().writeBigUInt64LE(BigInt(Date.now()) * 1_000_000n, to);
        return OK;
      },
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
        const value = this.current?.filterState[path] ?? this.current?.notes[path] ?? this.properties[path];
        return value ? this.answer(value, atTo, sizeTo) : NOT_FOUND;
      },
      proxy_set_property: (at, size, valueAt, valueSize) => {
        if (size === 0) throw new Error('the module writes a property without a name');
        const name = this.bytes(at, size).toString();
        const stream = this.stream_();
        (name.startsWith(FIRST_RUN) ? stream.notes : stream.filterState)[name] = this.bytes(valueAt, valueSize);
        return OK;
      },
      proxy_call_foreign_function: (at, size, argumentsAt, argumentsSize) => {
        if (this.bytes(at, size).toString() !== 'declare_property') return NOT_FOUND;
        this.declared.push(this.bytes(argumentsAt, argumentsSize));
        return OK;
      },
      proxy_get_header_map_value: (map, at, size, atTo, sizeTo) => {
        const found = this.stream_().find(map, this.headerName(at, size));
        return found ? this.answer(bytesOf(found[1]), atTo, sizeTo) : NOT_FOUND;
      },
      proxy_get_header_map_pairs: (map, atTo, sizeTo) => this.answer(pairs(this.stream_().headers(map)), atTo, sizeTo),
      proxy_replace_header_map_value: (map, at, size, valueAt, valueSize) => {
        const name = this.headerName(at, size);
        const value = this.headerText(valueAt, valueSize);
        this.stream_().remove(map, name);
        this.stream_().headers(map).push([name, value]);
        return OK;
      },
      proxy_remove_header_map_value: (map, at, size) => {
        this.stream_().remove(map, this.headerName(at, size));
        return OK;
      },
    };
    for (const [name, call] of Object.entries(imports)) {
      imports[name] = (...args) => {
        this.calls.push(name);
        // A metric's amount is 64 bits and may be negative; everything else is a size, an address or a number of 32.
        return call(...args.map((arg: number | bigint) => (typeof arg === 'bigint' ? Number(arg) : arg >>> 0)));
      };
    }
    return imports;
  }
}

/** One HTTP stream on a host. */
export class Stream {
  /** What the module published. */
  readonly filterState: Record<string, Buffer> = {};
  /** What it noted beside that: see `FIRST_RUN`. */
  readonly notes: Record<string, Buffer> = {};
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

  /** Ends it, and runs the chain on its request once more, as a redirect does; filter state lives on. */
  redirect(root = this.root, ...more: HeaderPair[]): Stream {
    this.end();
    const next = this.host.stream(root);
    Object.assign(next.filterState, this.filterState);
    Object.assign(next.notes, this.notes);
    return next.onRequest(...this.request, ...more);
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
