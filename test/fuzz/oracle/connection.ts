// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import protobuf from 'protobufjs';
import { framed, HEAD, MAGIC, any as prefaceAny } from '../../../testkit/preface.ts';
import type { Config } from './config.ts';
import { writeEntry } from './dialect.ts';
import { atEndpoint, type FilterState, limitOf, type Own, ownLimitOf, skips, verification } from './exchange.ts';
import { plainOf, publishedAt } from './fields.ts';
import { attempt, fieldsOf, kindOf, messages, NOTHING, whyRefused } from './struct.ts';

/**
 * What the filter does with the bytes of a connection, said a second time and in another way: on all bytes that came so
 * far, by docs/tcp.md.
 */

const PEER = 'envoy.wasm.metadata_exchange.connection.';
const KEYS = ['x-envoy-peer-metadata', 'x-envoy-peer-metadata-id'].map((key) => Buffer.from(key));
/** Seconds for which a preface may stop. */
const MOST_HELD = 5;

/** What the proxy can ask about a connection. */
export interface Surroundings {
  direction: number;
  /** Whether the endpoint's metadata say that it takes prefaces. */
  takesPrefaces: boolean;
  /** Whether the cluster's metadata say `disable_mx`. */
  isDisabled: boolean;
  /** What the control plane says of the endpoint. */
  endpoint: string;
}

export interface Counts {
  found: number;
  not_found: number;
  refused: number;
  stalled: number;
  sent: number;
  /** Connections, and the application's bytes both ways: for Istio's metrics. */
  connections: number;
  fromClients: number;
  fromServers: number;
}

interface Peer {
  struct?: Uint8Array;
  id?: Uint8Array;
}

/** What the first bytes of a direction are: a preface of so many bytes, none, one that is refused, or too few. */
type First = { what: 'preface'; size: number; peer: Peer } | { what: 'none' | 'refused' | 'more' };

/** What a proxy sends as its preface; undefined: none. */
export function ownPreface(own: Own, config: Config): Buffer | undefined {
  const metadata = Buffer.from(own.metadata ?? '', 'base64');
  if (metadata.length === 0 && own.id === undefined) return undefined;
  const writer = protobuf.Writer.create();
  if (metadata.length > 0) writeEntry(writer, KEYS[0].toString(), 5, metadata);
  if (own.id !== undefined) writeEntry(writer, KEYS[1].toString(), 3, Buffer.from(own.id, 'latin1'));
  const whole = framed(prefaceAny(writer.finish()));
  return whole.length <= ownLimitOf(config) ? whole : undefined;
}

/** What bytes begin with. */
export function firstOf(bytes: Buffer, limit: number): First {
  const magic = Buffer.alloc(4);
  magic.writeUInt32BE(MAGIC);
  const known = Math.min(bytes.length, 4);
  if (!bytes.subarray(0, known).equals(magic.subarray(0, known))) return { what: 'none' };
  if (bytes.length < HEAD) return { what: 'more' };
  const size = bytes.readUInt32BE(4);
  if (size === 0 || size > limit) return { what: 'refused' };
  if (bytes.length < HEAD + size) return { what: 'more' };
  const peer = peerIn(bytes.subarray(HEAD, HEAD + size));
  return peer ? { what: 'preface', size: HEAD + size, peer } : { what: 'refused' };
}

/** Whom an Any with a Struct names; undefined if the bytes are none. */
function peerIn(body: Uint8Array): Peer | undefined {
  const fields = attempt(() => fieldsOf(body, 0));
  if (!fields) return undefined;
  const url = Buffer.from(messages(fields, 1).at(-1) ?? NOTHING).toString('latin1');
  const struct = messages(fields, 2).at(-1) ?? NOTHING;
  if (!url.endsWith('/google.protobuf.Struct')) return undefined;
  const outer = attempt(() => messages(fieldsOf(struct, 1), 1));
  if (!outer) return undefined;
  const entries = attempt(() => outer.map((content) => fieldsOf(content, 2)));
  const contentOf = (key: Buffer, kind: number): Uint8Array | undefined => {
    const found = entries?.filter((entry) => Buffer.compare(messages(entry, 1).at(-1) ?? NOTHING, key) === 0);
    const value = kindOf(found?.map((entry) => messages(entry, 2).at(-1) ?? NOTHING).at(-1) ?? NOTHING);
    return value.kind === kind && value.content.length > 0 ? value.content : undefined;
  };
  return { struct: contentOf(KEYS[0], 5), id: contentOf(KEYS[1], 3) };
}

/** One direction of a connection. */
class Direction {
  /** What came and did not go on. */
  held = Buffer.alloc(0);
  readonly gone: Buffer[] = [];
  reads = false;
  tells = false;
  isDone = false;
  isEnded = false;
  /** When what is held is given up, in seconds. */
  due: number | undefined;
}

/** A connection, as it should be served. */
export class ConnectionModel {
  readonly filterState: FilterState = {};
  readonly toServer = new Direction();
  readonly toClient = new Direction();
  isClosed = false;
  private isDecided = false;
  private answers = false;

  constructor(
    private readonly config: Config,
    private readonly preface: Buffer | undefined,
    private readonly around: Surroundings,
    private readonly counts: Counts,
    /** The time, in seconds. */
    private readonly now: () => number,
  ) {
    counts.connections++;
  }

  fromClient(bytes: Buffer, isEnd: boolean): void {
    this.pass(this.toServer, bytes, isEnd);
  }

  fromServer(bytes: Buffer, isEnd: boolean): void {
    this.pass(this.toClient, bytes, isEnd);
  }

  /** Time has passed. */
  tick(): void {
    for (const way of [this.toServer, this.toClient]) {
      if (this.isClosed || way.due === undefined || this.now() < way.due) continue;
      way.due = undefined;
      this.counts.stalled++;
      if (way === this.toClient) {
        this.isClosed = true;
        continue;
      }
      this.settle(way, {});
      this.letGo(way);
    }
  }

  private pass(way: Direction, bytes: Buffer, isEnd: boolean): void {
    if (this.isClosed || way.isEnded) return;
    way.held = Buffer.concat([way.held, bytes]);
    if (way === this.toServer) this.counts.fromClients += bytes.length;
    // Nobody is told of nothing.
    if (way === this.toServer && way.held.length === 0 && !isEnd) return;
    if (!way.isDone) {
      this.decide();
      if (way.reads && !this.read(way, isEnd)) return;
    }
    if (way.held.length > 0 || isEnd || way.isDone) this.letGo(way);
    if (isEnd) way.isEnded = true;
  }

  /** Looks for a preface; false: the bytes are held. */
  private read(way: Direction, isEnd: boolean): boolean {
    const first: First = way.held.length === 0 ? { what: 'more' } : firstOf(way.held, limitOf(this.config));
    if (first.what === 'more' && !isEnd) {
      way.due ??= this.now() + MOST_HELD;
      return false;
    }
    way.due = undefined;
    if (first.what === 'preface') {
      this.counts.found++;
      way.held = way.held.subarray(first.size);
      if (way === this.toServer) this.counts.fromClients -= first.size;
      if (way === this.toServer && this.answers) this.toClient.tells = true;
      this.settle(way, first.peer);
      return true;
    }
    if (first.what === 'refused') this.counts.refused++;
    else if (way.held.length > 0) this.counts.not_found++;
    this.settle(way, {});
    return true;
  }

  private letGo(way: Direction): void {
    if (!way.isDone && way.tells && way.held.length > 0 && this.preface) {
      way.gone.push(this.preface);
      this.counts.sent++;
    }
    if (way === this.toClient) this.counts.fromServers += way.held.length;
    way.gone.push(way.held);
    way.held = Buffer.alloc(0);
    way.isDone = true;
  }

  private decide(): void {
    if (this.isDecided) return;
    this.isDecided = true;
    const { methods, fields } = this.config;
    const { direction, takesPrefaces, isDisabled } = this.around;
    const does = (name: Parameters<typeof skips>[1], at: number) =>
      methods ? methods.has(name) : direction === at || (direction !== 1 && direction !== 2);
    const [hears, answers] = [does('downstream_discovery', 1), does('downstream_propagation', 1)];
    const [learns, tells] = [does('upstream_discovery', 2), does('upstream_propagation', 2)];
    const isAlways = fields.preface === 'always';
    const isWanted = isAlways || (fields.preface === 'endpoint_metadata' && takesPrefaces);
    const isLeftOut = isDisabled && (skips(this.config, 'upstream_propagation') || fields.dialect === 'istio');
    this.toServer.reads = hears || answers;
    this.toClient.tells = answers && isAlways;
    this.answers = answers;
    this.toServer.tells = tells && isWanted && !isLeftOut;
    this.toClient.reads = this.toServer.tells && learns;
    // Where no preface is to come it is known at once who is there, if another method says it.
    if (!this.toServer.reads) this.learn('downstream', {});
    if (!this.toClient.reads) this.learn('upstream', {});
  }

  /** A direction's preface was read, or will not come. */
  private settle(way: Direction, peer: Peer): void {
    way.reads = false;
    this.learn(way === this.toServer ? 'downstream' : 'upstream', peer);
  }

  /** Asks the methods of a list, and publishes whom the first one finds. */
  private learn(side: 'downstream' | 'upstream', said: Peer): void {
    const { methods, discovers, learns } = this.config;
    const list = side === 'downstream' ? discovers : learns;
    const limit = limitOf(this.config);
    const struct = said.struct && whyRefused(said.struct) === undefined ? said.struct : undefined;
    const isId = said.id && said.id.length <= limit && isReadable(said.id);
    const ofPreface: Peer = { struct, id: isId ? said.id : undefined };
    const answers = (methods ? list : ['istio_headers']).map((method): Peer => {
      if (method === 'istio_headers') return ofPreface;
      return method === 'endpoint_metadata' && side === 'upstream' ? atEndpoint(this.around.endpoint) : {};
    });
    const found = answers.find((peer) => peer.struct) ?? answers.find((peer) => peer.id);
    if (found) this.publish(side, found);
  }

  private publish(side: string, { struct, id }: Peer): void {
    const { config, filterState } = this;
    const mode = verification(config);
    const set = (name: string, value: Uint8Array) => {
      filterState[PEER + name] = Buffer.from(value);
    };
    if (mode !== 'off') set(`${side}_verified`, Buffer.from('unverified'));
    if (id && mode !== 'enforce' && mode !== 'require') set(`${side}_id`, id);
    if (!struct || mode === 'require') return;
    set(side, struct);
    for (const path of plainOf(config)) {
      const text = publishedAt(Buffer.from(struct), path, config);
      if (text) set(`${side}.${path}`, Buffer.from(text));
    }
  }
}

/** Whether an id can be shown. */
function isReadable(id: Uint8Array): boolean {
  return isUtf8(id) && !id.some((byte) => byte < 0x20 || byte === 0x7f);
}
