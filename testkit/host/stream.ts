// SPDX-License-Identifier: Apache-2.0
import type { Host } from './host.ts';

/** A header's name and value. */
export type HeaderPair = [string, string];

/** What a stream calls of a module. */
export interface StreamExports {
  proxy_on_context_create(id: number, parent: number): void;
  proxy_on_request_headers(id: number, headers: number, endOfStream: number): number;
  proxy_on_response_headers(id: number, headers: number, endOfStream: number): number;
  proxy_on_log(id: number): void;
}

const REQUEST = 0;
const RESPONSE = 2;

/** One HTTP stream on a host. */
export class Stream {
  /** What the module published. */
  readonly filterState: Record<string, Buffer> = {};
  /** What it can ask of the stream beside that: see `Host.properties`. */
  readonly properties: Record<string, Buffer> = {};
  /** What it noted beside that: see `FIRST_RUN` in host.ts. */
  readonly notes: Record<string, Buffer> = {};
  request: HeaderPair[] = [];
  response: HeaderPair[] = [];

  constructor(
    private readonly host: Host,
    private readonly exports: StreamExports,
    readonly root: number,
    readonly id: number,
  ) {}

  /** Says what the module can ask of it from now on. */
  with(properties: Record<string, Buffer>): this {
    Object.assign(this.properties, properties);
    return this;
  }

  /** A property, if there is one: the parts of its path are joined by dots. */
  property(path: string): Buffer | undefined {
    return this.filterState[path] ?? this.notes[path] ?? this.properties[path];
  }

  /** Sends a request through the module. */
  onRequest(...headers: HeaderPair[]): this {
    this.request = headers;
    this.exports.proxy_on_context_create(this.id, this.root);
    this.host.within(this, () => this.exports.proxy_on_request_headers(this.id, headers.length, 1));
    return this;
  }

  /** Tells the module that the stream is over, as Envoy does when it writes the access log. */
  onLog(): this {
    this.host.within(this, () => this.exports.proxy_on_log(this.id));
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
    Object.assign(next.properties, this.properties);
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
