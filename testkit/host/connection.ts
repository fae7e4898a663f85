// SPDX-License-Identifier: Apache-2.0
import type { Host } from './host.ts';
import { BAD_ARGUMENT, OK } from './memory.ts';

/** What a connection calls of a module. */
export interface ConnectionExports {
  proxy_on_context_create(id: number, parent: number): void;
  proxy_on_new_connection?(id: number): number;
  proxy_on_downstream_data?(id: number, size: number, endOfStream: number): number;
  proxy_on_upstream_data?(id: number, size: number, endOfStream: number): number;
  proxy_on_log(id: number): void;
}

/** Buffers by their numbers. */
export const DOWNSTREAM_DATA = 2;
export const UPSTREAM_DATA = 3;
const CONTINUE = 0;

const uint64 = (value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

/** One filter in the chain of a connection: a context of its own. */
export class Link {
  constructor(
    readonly connection: Connection,
    readonly host: Host,
    readonly root: number,
    readonly id: number,
  ) {}

  get filterState(): Record<string, Buffer> {
    return this.connection.filterState;
  }

  get notes(): Record<string, Buffer> {
    return this.connection.notes;
  }

  property(path: string): Buffer | undefined {
    return this.connection.property(path);
  }
}

/**
 * One TCP connection through a chain of filters, as Envoy serves it. Bytes that a filter holds stay where they are, and
 * the chain sees them again, from its first filter on, as soon as more come: a client's in the order of the chain, a
 * server's in the other one. What passed is in `toServer` and `toClient`.
 */
export class Connection {
  /** What filters published. */
  readonly filterState: Record<string, Buffer> = {};
  /** What they noted for each other. */
  readonly notes: Record<string, Buffer> = {};
  /** What they can ask of it beside that. */
  readonly properties: Record<string, Buffer> = {};
  /** Whether the client's end, or the server's, has passed the chain. */
  clientEnded = false;
  serverEnded = false;
  /** Whether a filter closed it. */
  isClosed = false;

  private isOver = false;
  private readonly links: Link[];
  private readonly passed: Record<'toServer' | 'toClient', Buffer[]> = { toServer: [], toClient: [] };
  /** What each direction holds; undefined: nothing came there yet. */
  private held: Record<number, Buffer | undefined> = {};
  private received = 0;

  constructor(
    chain: { host: Host; root: number }[],
    private readonly exportsOf: (host: Host) => ConnectionExports,
    nextId: (host: Host) => number,
  ) {
    this.links = chain.map(({ host, root }) => new Link(this, host, root, nextId(host)));
  }

  /** What passed to the server. */
  get toServer(): Buffer {
    return Buffer.concat(this.passed.toServer);
  }

  /** What passed to the client. */
  get toClient(): Buffer {
    return Buffer.concat(this.passed.toClient);
  }

  /** Says what filters can ask of it from now on. */
  with(properties: Record<string, Buffer>): this {
    Object.assign(this.properties, properties);
    return this;
  }

  /** A property, if there is one: the parts of its path are joined by dots. */
  property(path: string): Buffer | undefined {
    if (path === 'request.size') return uint64(this.received);
    if (path === 'response.size') return uint64(this.toClient.length);
    return this.filterState[path] ?? this.notes[path] ?? this.properties[path];
  }

  /** A client connected. */
  begin(): this {
    for (const { host, root, id } of this.links) this.exportsOf(host).proxy_on_context_create(id, root);
    for (const link of this.links) {
      link.host.connections.set(link.id, link);
      this.call(link, (module) => module.proxy_on_new_connection?.(link.id) ?? CONTINUE);
    }
    return this;
  }

  /** The client sends bytes; with `isEnd` it has no more to say. */
  fromClient(bytes: Uint8Array, isEnd = false): this {
    if (this.isClosed) return this;
    const all = Buffer.concat([this.held[DOWNSTREAM_DATA] ?? Buffer.alloc(0), bytes]);
    this.held[DOWNSTREAM_DATA] = all;
    // As Envoy counts: what was held, again.
    this.received += all.length;
    this.passFromClient(0, isEnd);
    return this;
  }

  /** Shows what is held to the filters from one of them on, and lets it go if none holds it. */
  private passFromClient(from: number, isEnd: boolean): void {
    for (const link of this.links.slice(from)) {
      const size = this.held[DOWNSTREAM_DATA]?.length ?? 0;
      if (size === 0 && !isEnd) return;
      const end = isEnd ? 1 : 0;
      const action = this.call(link, (module) => module.proxy_on_downstream_data?.(link.id, size, end) ?? CONTINUE);
      if (action !== CONTINUE || this.isClosed) return;
    }
    this.letGo(DOWNSTREAM_DATA, 'toServer');
    if (isEnd) this.clientEnded = true;
  }

  /** The server sends bytes; with `isEnd` it has no more to say. */
  fromServer(bytes: Uint8Array, isEnd = false): this {
    if (this.isClosed) return this;
    this.held[UPSTREAM_DATA] = Buffer.concat([this.held[UPSTREAM_DATA] ?? Buffer.alloc(0), bytes]);
    for (const link of [...this.links].reverse()) {
      const size = this.held[UPSTREAM_DATA].length;
      const end = isEnd ? 1 : 0;
      const action = this.call(link, (module) => module.proxy_on_upstream_data?.(link.id, size, end) ?? CONTINUE);
      if (action !== CONTINUE || this.isClosed) return this;
    }
    this.letGo(UPSTREAM_DATA, 'toClient');
    if (isEnd) this.serverEnded = true;
    return this;
  }

  private letGo(data: number, to: 'toServer' | 'toClient'): void {
    const bytes = this.held[data];
    if (bytes && bytes.length > 0) this.passed[to].push(bytes);
    this.held[data] = Buffer.alloc(0);
  }

  private call(link: Link, run: (module: ConnectionExports) => number): number {
    return link.host.within(link, () => run(this.exportsOf(link.host)));
  }

  /** It is over: the log is written, and contexts end. */
  end(): this {
    if (this.isOver) return this;
    this.isOver = true;
    for (const link of this.links) {
      this.call(link, (module) => {
        module.proxy_on_log(link.id);
        return CONTINUE;
      });
    }
    for (const { host, id } of this.links) {
      host.end(id);
      host.connections.delete(id);
    }
    return this;
  }

  /** The bytes that a host call may read or change: there are none before the first ones came. */
  buffer(data: number): Buffer | undefined {
    return this.held[data];
  }

  /** Puts bytes in the place of others at the begin of a buffer. */
  replace(data: number, at: number, size: number, bytes: Buffer): number {
    const before = this.held[data];
    if (!before) return BAD_ARGUMENT;
    if (at !== 0) throw new Error('the module writes elsewhere than at the begin of a buffer');
    if (size > before.length) throw new Error('the module cuts more bytes out than there are');
    this.held[data] = Buffer.concat([bytes, before.subarray(size)]);
    return OK;
  }

  /** A filter lets go on what it held of the client's bytes. */
  goOn(link: Link): void {
    this.passFromClient(this.links.indexOf(link) + 1, false);
  }

  /** A filter closes it: its contexts end once no module is running. */
  close({ host }: Link): void {
    this.isClosed = true;
    host.process.post(() => this.end());
  }
}
