// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { MODULE } from '../envoy/binary.ts';
import { Connection, type ConnectionExports, DOWNSTREAM_DATA, Link, UPSTREAM_DATA } from './connection.ts';
import { type GrpcStream, grpcCalls } from './grpc.ts';
import { BAD_ARGUMENT, type Calls, Memory, NOT_FOUND, OK, UNIMPLEMENTED } from './memory.ts';
import { Process } from './process.ts';
import { sharedCalls } from './shared.ts';
import { type HeaderPair, Stream, type StreamExports } from './stream.ts';

export type { Connection, Stream };

/**
 * A small Proxy-WASM host (ABI 0.2.1) for the built module: what Envoy does around it, as far as the module can tell.
 * It answers in a millisecond what a real Envoy takes a second for, and can do what no Envoy does: be out of memory,
 * be old, be hostile. Whether Envoy really behaves like this is tested under test/envoy.
 */

let compiledModule: WebAssembly.Module | undefined;

const GRPC_MESSAGE = 5;
const CONFIGURATION = 7;
/** What no header name or value may hold: whoever wrote it could add headers of his own. */
const BREAKS_HEADERS = /[\0\r\n]/;

interface Exports extends StreamExports, ConnectionExports {
  memory: WebAssembly.Memory;
  _initialize(): void;
  malloc(size: number): number;
  proxy_on_configure(id: number, size: number): number;
  proxy_on_delete?(id: number): void;
  proxy_on_tick?(id: number): void;
  proxy_on_queue_ready?(id: number, token: number): void;
  proxy_on_grpc_receive?(id: number, token: number, size: number): void;
  proxy_on_grpc_close?(id: number, token: number, status: number): void;
}

/** Where a VM is in its Envoy. */
export interface Place {
  process: Process;
  /** 0 is the main thread. */
  thread: number;
  /** Whether it only tries a configuration out, before the VMs that stay. */
  isCanary?: boolean;
}

/** What the module notes in filter state for a later run of the chain on the same request, and for nobody else. */
const FIRST_RUN = 'envoy.wasm.metadata_exchange.first_run.';
/** What it notes for other filters of ours in the chain of a connection. */
const PREFACES = 'envoy.wasm.metadata_exchange.connection.prefaces';

/** The kind of stream that a connection's client is on. */
const DOWNSTREAM = 2;

/** Header values are bytes: one character each. */
const bytesOf = (text: string) => Buffer.from(text, 'latin1');

export class Host {
  /** The built module, compiled once a process. */
  static get built(): WebAssembly.Module {
    compiledModule ??= new WebAssembly.Module(readFileSync(MODULE));
    return compiledModule;
  }

  /** All that the module logged: level and text. */
  readonly log: { level: number; text: string }[] = [];
  /** Names of the properties that were declared, as serialized DeclarePropertyArguments. */
  readonly declared: Buffer[] = [];
  /** Host calls since the last `calls.length = 0`. */
  readonly calls: string[] = [];
  /** Metrics that modules of the process defined, by name: counters and gauges as they stand, histograms as recorded. */
  readonly metrics: Record<string, number>;
  /** Milliseconds between ticks that the module last asked for. */
  tickPeriod = 0;
  /** What `proxy_get_property` finds beside filter state; the parts of a path are joined by dots. */
  readonly properties: Record<string, Buffer>;

  readonly process: Process;
  readonly thread: number;
  readonly isCanary: boolean;
  readonly memory: Memory;
  /** Root contexts that are alive. */
  readonly roots = new Set<number>();
  /** The context that host calls are about. */
  effective = 0;
  /** Contexts of connections that are alive: host calls may be about them at any time. */
  readonly connections = new Map<number, Link>();
  /** gRPC streams that neither side has given up, by their tokens. */
  readonly grpc = new Map<number, GrpcStream>();
  /** The most bytes that the module read of a buffer at once. */
  largestRead = 0;
  /** How the gRPC stream ended whose end the module is being told. */
  status = { code: 0, message: '' };

  private readonly exports: Exports;
  private configuration = Buffer.alloc(0);
  /** A gRPC message, while the module is told of it. */
  private message: Buffer | undefined;
  private current: Stream | Link | undefined;
  private nextId = 1;
  private readonly metricNames: string[] = [];

  constructor(
    properties: Record<string, Buffer> = {},
    readonly module = Host.built,
    { process, thread, isCanary = false }: Place = { process: new Process(), thread: 0 },
  ) {
    this.properties = properties;
    this.process = process;
    this.metrics = process.metrics;
    this.thread = thread;
    this.isCanary = isCanary;
    if (!isCanary) process.vms.push(this);
    this.exports = new WebAssembly.Instance(module, { env: this.imports() }).exports as unknown as Exports;
    this.memory = new Memory(this.exports);
    this.exports._initialize();
  }

  /** Loads a plugin configuration; the root context's id, or undefined if the module refuses it. */
  configure(config: string | Buffer = '', id = this.nextId++): number | undefined {
    this.configuration = Buffer.from(config);
    this.roots.add(id);
    const isTaken = this.enter(id, () => {
      this.exports.proxy_on_context_create(id, 0);
      return this.exports.proxy_on_configure(id, this.configuration.length);
    });
    if (isTaken) return id;
    this.roots.delete(id);
    return undefined;
  }

  /** The errors and warnings that were logged. */
  complaints(): string[] {
    return this.log.filter(({ level }) => level >= 3).map(({ text }) => text);
  }

  /** A stream of a root context. */
  stream(root: number, id = this.nextId++): Stream {
    return new Stream(this, this.exports, root, id);
  }

  /** A connection through filters of these root contexts, in the order of their chain. */
  connection(...roots: number[]): Connection {
    const chain = roots.map((root) => ({ host: this, root }));
    return new Connection(
      chain,
      (host) => host.exports,
      (host) => host.nextId++,
    );
  }

  /** A number that the module exports beside what Envoy knows of: the counters of an instrumented build. */
  global(name: string): number {
    return Number((this.exports as unknown as Record<string, WebAssembly.Global>)[name].value);
  }

  /** Ends a context, as Envoy does with each: a root after its last stream. */
  end(id: number): void {
    this.enter(id, () => this.exports.proxy_on_delete?.(id));
    if (!this.roots.delete(id)) return;
    for (const stream of this.grpc.values()) {
      if (stream.root !== id) continue;
      stream.over();
      this.grpc.delete(stream.token);
    }
  }

  /** Lets a root context's time pass, as often as it asked for. */
  tick(root: number): void {
    this.enter(root, () => this.exports.proxy_on_tick?.(root));
  }

  /** Tells a root context of a message in a queue, if it is alive. */
  queueReady(root: number, token: number): void {
    if (this.roots.has(root)) this.enter(root, () => this.exports.proxy_on_queue_ready?.(root, token));
  }

  /** Tells a root context of a message of a gRPC stream. */
  grpcReceive(root: number, token: number, message: Buffer): void {
    this.message = message;
    this.enter(root, () => this.exports.proxy_on_grpc_receive?.(root, token, message.length));
    this.message = undefined;
  }

  /** Tells a root context that a gRPC stream ended. */
  grpcClose(root: number, token: number, code: number, message: string): void {
    if (!this.roots.has(root)) return;
    this.status = { code, message };
    this.enter(root, () => this.exports.proxy_on_grpc_close?.(root, token, code));
  }

  /** Lets seconds pass for all root contexts. */
  pass(seconds: number): void {
    for (; seconds > 0; seconds--) for (const root of this.roots) this.tick(root);
  }

  /** Bytes of memory that the module has. */
  memorySize(): number {
    return this.memory.size;
  }

  /** Runs something with a stream as the one that host calls are about. */
  within<T>(stream: Stream | Link, run: () => T): T {
    this.current = stream;
    try {
      return this.enter(stream.id, run);
    } finally {
      this.current = undefined;
    }
  }

  /** Calls the module about a context. */
  private enter<T>(id: number, run: () => T): T {
    return this.process.enter(() => {
      const before = this.effective;
      this.effective = id;
      try {
        return run();
      } finally {
        this.effective = before;
      }
    });
  }

  /** The stream or connection that host calls are about, if they are about one. */
  private get subject(): Stream | Link | undefined {
    return this.current?.id === this.effective ? this.current : this.connections.get(this.effective);
  }

  private stream_(): Stream {
    if (!(this.subject instanceof Stream)) throw new Error('a stream’s host call without a stream');
    return this.subject;
  }

  private link(): Link {
    if (!(this.subject instanceof Link)) throw new Error('a connection’s host call without a connection');
    return this.subject;
  }

  /** The bytes that a number stands for. */
  private buffer(type: number): Buffer | undefined {
    if (type === CONFIGURATION) return this.configuration;
    if (type === GRPC_MESSAGE) return this.message;
    return type === DOWNSTREAM_DATA || type === UPSTREAM_DATA ? this.link().connection.buffer(type) : undefined;
  }

  /** A header's name or value as the module says it: bytes that a message may carry. */
  private headerText(at: number, size: number): string {
    const text = this.memory.bytes(at, size).toString('latin1');
    if (BREAKS_HEADERS.test(text)) throw new Error(`the module writes a header that breaks a message: ${text}`);
    return text;
  }

  private headerName(at: number, size: number): string {
    const name = this.headerText(at, size);
    if (name === '' || name.startsWith(':')) throw new Error(`the module asks for a header that is none: "${name}"`);
    return name;
  }

  private imports(): WebAssembly.ModuleImports {
    const imports: Calls = {
      ...sharedCalls(this),
      ...grpcCalls(this),
      proxy_set_effective_context: (id) => {
        if (!this.roots.has(id) && !this.connections.has(id) && this.current?.id !== id) return BAD_ARGUMENT;
        this.effective = id;
        return OK;
      },
      proxy_define_metric: (type, at, size, idTo) => {
        if (type > 2) return BAD_ARGUMENT;
        const name = this.memory.text(at, size);
        const known = this.metricNames.indexOf(name);
        const index = known < 0 ? this.metricNames.push(name) - 1 : known;
        this.metrics[name] ??= 0;
        this.memory.write32(index + 1, idTo);
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
        this.memory.write64(BigInt(Math.round(this.process.now() * 1000)) * 1000n, to);
        return OK;
      },
      proxy_log: (level, at, size) => {
        this.log.push({ level, text: this.memory.text(at, size) });
        return OK;
      },
      proxy_get_buffer_bytes: (type, start, size, atTo, sizeTo) => {
        const buffer = this.buffer(type);
        if (!buffer) return NOT_FOUND;
        if (start > buffer.length) throw new Error('the module reads behind the end of a buffer');
        this.largestRead = Math.max(this.largestRead, Math.min(size, buffer.length - start));
        return this.memory.answer(buffer.subarray(start, start + size), atTo, sizeTo);
      },
      proxy_set_buffer_bytes: (type, start, size, at, length) => {
        if (type !== DOWNSTREAM_DATA && type !== UPSTREAM_DATA) throw new Error(`the module writes to buffer ${type}`);
        return this.link().connection.replace(type, start, size, this.memory.bytes(at, length));
      },
      proxy_continue_stream: (type) => {
        const link = this.link();
        if (type !== DOWNSTREAM) return UNIMPLEMENTED;
        link.connection.goOn(link);
        return OK;
      },
      proxy_close_stream: (type) => {
        if (type !== DOWNSTREAM) throw new Error(`the module closes a stream of kind ${type}`);
        const link = this.link();
        link.connection.close(link);
        return OK;
      },
      proxy_get_property: (at, size, atTo, sizeTo) => {
        const path = this.memory.text(at, size).replaceAll('\0', '.');
        const value = this.subject?.property(path) ?? this.properties[path];
        return value ? this.memory.answer(value, atTo, sizeTo) : NOT_FOUND;
      },
      proxy_set_property: (at, size, valueAt, valueSize) => {
        if (size === 0) throw new Error('the module writes a property without a name');
        const name = this.memory.text(at, size);
        const subject = this.subject;
        if (!subject) throw new Error('the module writes a property of no stream');
        const isNote = name.startsWith(FIRST_RUN) || name === PREFACES;
        (isNote ? subject.notes : subject.filterState)[name] = this.memory.bytes(valueAt, valueSize);
        return OK;
      },
      proxy_call_foreign_function: (at, size, argumentsAt, argumentsSize) => {
        if (this.memory.text(at, size) !== 'declare_property') return NOT_FOUND;
        this.declared.push(this.memory.bytes(argumentsAt, argumentsSize));
        return OK;
      },
      proxy_get_header_map_value: (map, at, size, atTo, sizeTo) => {
        const found = this.stream_().find(map, this.headerName(at, size));
        return found ? this.memory.answer(bytesOf(found[1]), atTo, sizeTo) : NOT_FOUND;
      },
      proxy_get_header_map_pairs: (map, atTo, sizeTo) =>
        this.memory.answer(pairs(this.stream_().headers(map)), atTo, sizeTo),
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
