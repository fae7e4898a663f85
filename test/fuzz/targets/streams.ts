// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import protobuf from 'protobufjs';
import { Host, type Stream } from '../../host/host.ts';
import { NODE, node } from '../../host/node.ts';
import type { Random } from '../../unit/random.ts';
import { writeBaggage } from '../oracle/baggage.ts';
import { type Config, readConfig } from '../oracle/config.ts';
import {
  Exchange,
  type FilterState,
  type HeaderPair,
  limitOf,
  type Own,
  ownOf,
  type Root,
  readMetadata,
  type StreamModel,
} from '../oracle/exchange.ts';
import { canonical, plainStruct } from '../oracle/struct.ts';
import { type Builds, mostMemory, mutated, sameBytes, type Target } from '../target.ts';
import { generateConfig } from './config.ts';
import { generateStruct } from './struct.ts';

/** The id of a root that never was. */
const NOBODY = 3_999_999_999;

/** A program: what happens to one VM, one thing after the other. Numbers name roots and streams, whatever they are. */
interface Program {
  /** The node, as base64, or the number of one of NODES. */
  node: string | number;
  direction: number;
  steps: Step[];
}
type Step =
  | { configure: string; id: number }
  | { endRoot: number }
  | { request: HeaderPair[]; root: number; id: number }
  | { response: HeaderPair[]; stream: number }
  | { end: number }
  /** An internal redirect: the stream ends, and its request comes once more as it went on. */
  | { redirect: number; id: number }
  /** Contexts that the host never spoke of, or that ended. */
  | { unknown: number }
  | { direction: number }
  /** So many seconds. */
  | { tick: number };

export const NODES = [
  NODE,
  node({ id: 'own-id', cluster: 'own-cluster' }),
  node({ cluster: 'own-cluster', metadata: { 'istio.io/metadata': {} } }),
  node({
    metadata: { 'istio.io/metadata': { LABELS: { app: 'a', version: '1' }, LIST: [1, null, true, { x: 'y' }] } },
  }),
  node({ id: ' spaced' }),
  node({ id: 'control\x01' }),
  // As Istio's agent writes it.
  node({
    id: 'flat',
    metadata: {
      NAME: 'reviews-v1-7f6d',
      NAMESPACE: 'default',
      WORKLOAD_NAME: 'reviews-v1',
      OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
      CLUSTER_ID: '',
      LABELS: { app: 'reviews', 'app.kubernetes.io/name': 'renamed', version: 1, team: 'books' },
    },
    locality: { region: 'a-region', zone: 'a-zone' },
  }),
];

const describe = (headers: HeaderPair[]) => Buffer.from(JSON.stringify([...headers].sort()));
const describeState = (state: FilterState) =>
  Buffer.from(
    JSON.stringify(
      Object.entries(state)
        .map(([name, value]) => [name, value.toString('hex')])
        .sort(),
    ),
  );

/** Bytes of headers that one callback has room for in any case; of more, what does not fit may be as if unreadable. */
const ALWAYS_ROOM = 40_000;
const sizeOf = (headers: HeaderPair[]) => headers.reduce((size, [name, value]) => size + name.length + value.length, 0);

/** A host and the model of it, driven side by side. */
class Pair {
  readonly model = new Exchange();
  /** What neither a stream's callbacks may change: the lines in the log, and memory. */
  constructor(readonly host: Host) {}

  direction(value: number): void {
    this.model.direction = value;
    this.host.properties['xds.listener_direction'] = Buffer.from([value, 0, 0, 0, 0, 0, 0, 0]);
  }

  private quietly(run: () => void): void {
    const [lines, memory] = [this.host.log.length, this.host.memorySize()];
    run();
    if (this.host.log.length !== lines) throw new Error(`a stream logged: ${this.host.log.at(-1)?.text}`);
    if (this.host.memorySize() !== memory) throw new Error('a stream took memory');
  }

  onRequest(stream: Stream, model: StreamModel | undefined, headers: HeaderPair[]): void {
    const expected = model ? this.model.onRequest(model, headers) : headers;
    this.quietly(() => stream.onRequest(...headers.map((pair): HeaderPair => [...pair])));
    this.compare('request', stream, model, headers, stream.request, expected);
  }

  onResponse(stream: Stream, model: StreamModel | undefined, headers: HeaderPair[]): void {
    const expected = model ? this.model.onResponse(model, headers) : headers;
    this.quietly(() => stream.onResponse(...headers.map((pair): HeaderPair => [...pair])));
    this.compare('response', stream, model, headers, stream.response, expected);
  }

  private compare(
    what: string,
    stream: Stream,
    model: StreamModel | undefined,
    sent: HeaderPair[],
    actual: HeaderPair[],
    expected: HeaderPair[],
  ) {
    // Baggage is left as it is where there is no room to add to it.
    if (sizeOf(sent) > ALWAYS_ROOM) {
      const others = ([name]: HeaderPair) => name !== 'baggage';
      [actual, expected] = [actual.filter(others), expected.filter(others)];
    }
    if (
      actual.length !== expected.length ||
      !actual.every(([name, value], i) => name === expected[i][0] && value === expected[i][1])
    ) {
      const [is, right] = [describe(actual), describe(expected)].map((bytes) => bytes.toString());
      if (is !== right)
        throw new Error(`the ${what} goes on with ${is.slice(0, 1500)}, right is ${right.slice(0, 1500)}`);
    }
    const state = model?.filterState ?? {};
    if (sizeOf(sent) > ALWAYS_ROOM) {
      // Baggage that cannot be fetched is as if there were none: then another method may find something.
      if (model?.root.config.discovers.includes('baggage')) {
        for (const name of Object.keys(state)) delete state[name];
        Object.assign(state, stream.filterState);
        return;
      }
      for (const name of Object.keys(state)) if (!stream.filterState[name]) delete state[name];
    }
    const [is, right] = [Object.keys(stream.filterState), Object.keys(state)];
    if (is.length === right.length && right.every((name) => stream.filterState[name]?.equals(state[name]))) return;
    sameBytes(`filter state after the ${what}`, describeState(stream.filterState), describeState(state));
  }
}

/** One request with its response, for who wants to see what a configuration does. */
export function play(host: Host, rootId: number, root: Root, direction: number, headers: HeaderPair[]): void {
  const pair = new Pair(host);
  pair.direction(direction);
  const model = pair.model.begin(root);
  const stream = host.stream(rootId, 888_888_888);
  pair.onRequest(stream, model, headers);
  pair.onResponse(stream, model, headers);
  stream.end();
}

/** Whether the own metadata does not fit into its header. */
export function isTooLarge(own: Own, config: Config): boolean {
  return (own.metadata ?? '').length > limitOf(config);
}

/**
 * What is left of an own metadata that is too large: the module is asked, since the order in which fields go is its own.
 * It must fit, be a Struct in its one form, and say nothing that was not in the whole.
 */
export function cutDown(host: Host, root: number, whole: string, config: Config): string | undefined {
  const { metadataHeader } = config;
  const stream = host.stream(root, 999_999_999).onRequest([metadataHeader, '?']);
  stream.onResponse().end();
  const sent = [...stream.request, ...stream.response].find(
    ([name, value]) => name === metadataHeader && value !== '?',
  );
  if (!sent) return undefined;
  const bytes = sent[1] === '' ? Buffer.alloc(0) : readMetadata(sent[1]);
  if (!bytes || sent[1].length > limitOf(config)) throw new Error(`the own metadata was cut down to ${sent[1]}`);
  sameBytes('cut down', bytes, canonical(bytes)?.bytes);
  const isPart = (part: unknown, of: unknown): boolean => {
    if (typeof part !== 'object' || part === null || Array.isArray(part)) return isDeepStrictEqual(part, of);
    const all = of as Record<string, unknown>;
    return Object.entries(part).every(([key, value]) => Object.hasOwn(all, key) && isPart(value, all[key]));
  };
  const [part, all] = [bytes, Buffer.from(whole, 'base64')].map((each) => plainStruct(each));
  if (!isPart(part, all)) throw new Error('the own metadata says more when it is cut down');
  return sent[1];
}

interface Live {
  stream: Stream;
  model: StreamModel;
}

/** Header sequences on streams of several roots, compared with the model after each step. */
export class Streams implements Target {
  readonly name = 'streams';
  private host: Host;
  private mostPeers = 0;

  constructor(private readonly builds: Builds) {
    this.host = this.newHost();
  }

  private newHost(): Host {
    const host = new Host({}, this.builds.module);
    this.mostPeers = 0;
    return host;
  }

  renew(): void {
    this.host = this.newHost();
  }

  counters() {
    return [{ of: 'module' as const, global: (name: string) => this.host.global(name) }];
  }

  generate(random: Random, corpus: Uint8Array[]): Uint8Array {
    return Buffer.from(JSON.stringify(generateProgram(random, corpus)));
  }

  check(input: Uint8Array): boolean {
    const { host } = this;
    const program = JSON.parse(Buffer.from(input).toString()) as Program;
    const nodeBytes = typeof program.node === 'number' ? NODES[program.node] : Buffer.from(program.node, 'base64');
    host.properties['xds.node'] = nodeBytes;
    host.log.length = 0;
    host.calls.length = 0;
    const pair = new Pair(host);
    pair.direction(program.direction);
    const roots = new Map<number, Root>();
    const streams = new Map<number, Live>();
    /** The root or the stream that a number names, among those that are alive. */
    const nth = <T>(from: Map<number, T>, n: number): [number, T] | undefined =>
      from.size > 0 ? [...from][n % from.size] : undefined;
    /** An id that nobody has: the one that is wanted, or one that falls to the same place of a table. */
    const free = (wanted: number) => {
      let id = wanted;
      while (id === 0 || roots.has(id) || streams.has(id)) id = (id + 32768) >>> 0;
      return id;
    };
    const end = ([id, { stream }]: [number, Live]) => {
      streams.delete(id);
      stream.end();
    };
    /** A root outlives its streams. */
    const endRoot = ([id, root]: [number, Root]) => {
      for (const each of [...streams]) if (each[1].model.root === root) end(each);
      roots.delete(id);
      host.end(id);
    };

    for (const step of program.steps) {
      if ('configure' in step) {
        const id = free(step.id);
        const bytes = Buffer.from(step.configure, 'base64');
        const config = readConfig(bytes);
        const own = config && ownOf(nodeBytes, config);
        const isTaken = host.configure(bytes, id) !== undefined;
        if (isTaken !== (own !== undefined)) throw new Error(`configuration taken: ${isTaken}, right is ${!isTaken}`);
        if (!config || !own) continue;
        this.mostPeers = Math.max(this.mostPeers, Number(config.fields.max_peer_cache_size ?? 0));
        if (isTooLarge(own, config)) {
          own.metadata = cutDown(host, id, own.metadata as string, config);
          if (own.metadata) own.baggage = writeBaggage(Buffer.from(own.metadata, 'base64'));
        }
        roots.set(id, { config, own });
      } else if ('endRoot' in step) {
        const found = nth(roots, step.endRoot);
        if (found) endRoot(found);
      } else if ('request' in step) {
        const found = nth(roots, step.root);
        if (!found) continue;
        const id = free(step.id);
        const live = { stream: host.stream(found[0], id), model: pair.model.begin(found[1]) };
        streams.set(id, live);
        pair.onRequest(live.stream, live.model, step.request);
      } else if ('response' in step) {
        const found = nth(streams, step.stream)?.[1];
        if (found && !found.model.answered) pair.onResponse(found.stream, found.model, step.response);
      } else if ('redirect' in step) {
        const found = nth(streams, step.redirect);
        if (!found || found[1].model.answered) continue;
        const { stream, model } = found[1];
        const headers: HeaderPair[] = [...stream.request, ['x-envoy-original-url', 'http://test/from']];
        end(found);
        const id = free(step.id);
        const again = { stream: host.stream(stream.root, id), model: pair.model.begin(model.root, model.filterState) };
        Object.assign(again.stream.filterState, stream.filterState);
        streams.set(id, again);
        pair.onRequest(again.stream, again.model, headers);
      } else if ('unknown' in step) {
        const id = free(step.unknown);
        const stream = host.stream(NOBODY, id);
        const headers: HeaderPair[] = [['x-istio-peer-id', 'x']];
        pair.onRequest(stream, undefined, headers);
        // A response of a stream that is not known is taken for a forgotten one's.
        stream.onResponse(...headers).end();
      } else if ('direction' in step) pair.direction(step.direction);
      else if ('tick' in step) {
        host.pass(step.tick);
      } else {
        const found = nth(streams, step.end);
        if (found) end(found);
      }
    }
    for (const each of [...streams]) end(each);
    for (const each of [...roots]) endRoot(each);
    // Roots are known to be gone when others tick and they do not.
    host.properties['xds.node'] = NODE;
    const last = host.configure('', free(4_000_000_000)) as number;
    host.pass(6);
    host.end(last);
    if (host.memorySize() > mostMemory(this.mostPeers)) throw new Error('what came and went took memory');
    return pair.model.published > 0;
  }
}

const METADATA_NAMES = [
  'x-istio-peer-metadata',
  'x-istio-peer-metadata',
  'x-istio-peer-metadata',
  'x-a',
  'x-envoy-peer-metadata',
];
const ID_NAMES = ['x-istio-peer-id', 'x-istio-peer-id', 'x-istio-peer-id', 'x-b'];
const IDS = [1, 2, 3, 32766, 32767, 32768, 32769, 65535, 65536, 2147483648, 4294901760];
const LISTED = [{ istio_headers: {} }];
const SETTINGS = [
  '',
  '',
  '{}',
  '{"headers":{"metadata":"x-a","id":"x-b"}}',
  '{"node_key":"cluster"}',
  '{"max_header_size":60}',
  '{"metadata_fields":["NAME","LABELS.app","LIST","LABELS.x"]}',
  '{"max_header_size":65536,"max_peer_cache_size":2}',
  '{"dialect":"istio","additional_labels":["team","app"]}',
  '{"downstream_discovery":[{"istio_headers":{}},{"baggage":{}}],"upstream_propagation":[{"baggage":{}}]}',
  '{"downstream_discovery":[{"baggage":{}},{"istio_headers":{}}],"downstream_propagation":[{"istio_headers":{}}]}',
  '{"downstream_discovery":[{"baggage":{}}],"upstream_propagation":[{"istio_headers":{}},{"baggage":{}}]}',
];

function generateProgram(random: Random, corpus: Uint8Array[]): Program {
  const steps: Step[] = [];
  const kept =
    corpus.length > 0 && random.oneIn(5)
      ? (JSON.parse(Buffer.from(random.pick(corpus)).toString()) as Program)
      : undefined;
  const program: Program = {
    node: random.oneIn(12) ? anyNode(random).toString('base64') : random.oneIn(2) ? 0 : random.below(NODES.length),
    direction: random.below(random.oneIn(20) ? 200 : 3),
    steps,
  };
  const id = () => (random.oneIn(2) ? 1 + random.below(100000) : random.pick(IDS));
  steps.push({ configure: anyConfig(random), id: id() });
  if (random.oneIn(3)) steps.push({ configure: anyConfig(random), id: id() });
  for (let count = 1 + random.below(10); count > 0; count--) {
    const kind = random.below(24);
    if (kind < 9) steps.push({ request: anyHeaders(random), root: random.below(4), id: id() });
    else if (kind < 14) steps.push({ response: anyHeaders(random), stream: random.below(8) });
    else if (kind < 17) steps.push({ end: random.below(8) });
    else if (kind === 17) steps.push({ redirect: random.below(8), id: id() });
    else if (kind === 18) steps.push({ unknown: id() });
    else if (kind === 19) steps.push({ endRoot: random.below(4) });
    else if (kind === 20) steps.push({ configure: anyConfig(random), id: id() });
    else if (kind === 21) steps.push({ direction: random.below(4) });
    else if (kind === 22) steps.push({ tick: random.below(4) });
    else if (kept) steps.push(...kept.steps.slice(random.below(kept.steps.length)));
  }
  if (!steps.some((step) => 'request' in step)) steps.push({ request: anyHeaders(random), root: 0, id: id() });
  return program;
}

function anyConfig(random: Random): string {
  const kind = random.below(10);
  if (kind === 0) return Buffer.from(generateConfig(random, random.oneIn(2) ? 10 : Infinity)).toString('base64');
  if (kind < 7) return Buffer.from(random.pick(SETTINGS)).toString('base64');
  const lists: Record<string, unknown> = {};
  for (const side of ['downstream', 'upstream']) {
    for (const what of ['discovery', 'propagation']) {
      if (random.oneIn(2)) lists[`${side}_${what}`] = random.oneIn(4) ? [] : LISTED;
    }
  }
  if (random.oneIn(4)) lists.headers = { id: 'X-B' };
  return Buffer.from(JSON.stringify(lists)).toString('base64');
}

const FLAT_KEYS = ['NAME', 'NAMESPACE', 'WORKLOAD_NAME', 'CLUSTER_ID', 'OWNER', 'REGION', 'LABELS', 'other'];

/** A node whose own metadata is anything, and whose bytes are what they may. */
function anyNode(random: Random): Buffer {
  const struct = generateStruct(random, []);
  const value = protobuf.Writer.create()
    .uint32(random.oneIn(10) ? 0x32 : 0x2a)
    .bytes(struct)
    .finish();
  const writer = protobuf.Writer.create()
    .uint32(0x0a)
    .string(random.oneIn(3) ? random.text() : 'some-id');
  writer.uint32(0x1a).fork();
  const key = random.oneIn(3) ? random.pick(FLAT_KEYS) : 'istio.io/metadata';
  writer.uint32(0x0a).fork().uint32(0x0a).string(key).uint32(0x12).bytes(value).ldelim();
  for (let i = random.below(4); i > 0; i--) {
    const text = random.oneIn(3) ? 'kubernetes://apis/apps/v1/namespaces/x/jobs/y' : random.text();
    writer.uint32(0x0a).fork().uint32(0x0a).string(random.pick(FLAT_KEYS));
    writer.uint32(0x12).fork().uint32(0x1a).string(text).ldelim().ldelim();
  }
  writer.ldelim();
  if (random.oneIn(2)) {
    writer.uint32(0x22).fork();
    if (random.oneIn(2)) writer.uint32(0x0a).string('region');
    if (random.oneIn(2)) writer.uint32(0x12).string('zone');
    if (random.oneIn(2)) writer.uint32(random.oneIn(2) ? 0x1a : 0x08).uint32(0);
    writer.ldelim();
  }
  if (random.oneIn(4)) writer.uint32(0x22).bytes(Buffer.from('0a7f', 'hex'));
  if (random.oneIn(4)) writer.uint32(0x28).uint32(1);
  const bytes = writer.finish();
  return Buffer.from(random.oneIn(4) ? mutated(random, bytes, []) : bytes);
}

/** The headers of a message: the two of ours none, once or more often, among others. */
function anyHeaders(random: Random): HeaderPair[] {
  const headers: HeaderPair[] = [];
  const copies = () => (random.oneIn(6) ? random.below(5) : random.oneIn(4) ? 0 : 1);
  for (let i = copies(); i > 0; i--) headers.push([random.pick(METADATA_NAMES), anyMetadata(random)]);
  for (let i = copies(); i > 0; i--) headers.push([random.pick(ID_NAMES), anyId(random)]);
  for (let i = random.below(3); i > 0; i--) headers.push([random.pick([':path', 'x-other', 'x-istio']), anyId(random)]);
  for (let i = random.below(3); i > 0 && random.oneIn(2); i--) headers.push(['baggage', anyBaggage(random)]);
  if (random.oneIn(12)) headers.push(['x-envoy-original-url', 'http://test/from']);
  // More than are fetched at once.
  if (random.oneIn(6)) for (let i = 0; i < 25; i++) headers.push([`x-${i}`, 'x']);
  return random.oneIn(3) ? random.shuffled(headers) : headers;
}

const BAGGAGE_KEYS = [
  ...['k8s.deployment.name', 'k8s.pod.name', 'k8s.namespace.name', 'k8s.cluster.name', 'k8s.instance.name'],
  ...['service.name', 'service.version', 'app.name', 'app.version', 'other', 'k8s.cronjob.name', ''],
];

function anyBaggage(random: Random): string {
  const member = () => {
    const value = random.oneIn(4) ? random.pick(['%2C', '%', '%zz', '%C3%A4', '%ff', 'a%20b']) : random.text();
    const space = () => random.pick(['', '', ' ', '\t ']);
    return `${space()}${random.pick(BAGGAGE_KEYS)}${space()}=${space()}${value}${random.pick(['', '', ';ttl=1', ' '])}`;
  };
  return printable(Buffer.from(Array.from({ length: random.below(6) }, member).join(random.oneIn(9) ? ',,' : ',')));
}

/** What HTTP lets into a header: any bytes but those that end it. */
const printable = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString('latin1')
    .replaceAll(/[\0\r\n]/g, '?');

function anyMetadata(random: Random): string {
  const kind = random.below(16);
  if (kind === 0) return '';
  if (kind === 1) return printable(random.bytes(random.below(40)));
  if (kind === 2) return random.oneIn(8) ? huge(random, 'A') : 'CgkKAWESBBoCYWI=';
  if (kind === 3) return random.pick(['ChEKBE5BTUUSCRoHb3duLW93bg==', 'Cg0KBE5BTUUSBRoDb3du', '=', '====', 'A', 'CgA']);
  const text = Buffer.from(generateStruct(random, [])).toString('base64');
  if (kind === 4) return printable(mutated(random, Buffer.from(text), []));
  return random.oneIn(3) ? text.replaceAll('=', '') : text;
}

function anyId(random: Random): string {
  const kind = random.below(12);
  if (kind === 0) return '';
  if (kind === 1) return printable(random.bytes(random.below(20)));
  if (kind === 2) return random.oneIn(8) ? huge(random, 'i') : 'own-id';
  if (kind < 6) return printable(Buffer.from(random.text()));
  return `sidecar~10.0.0.${random.below(20)}~a.b~b.svc`;
}

/** Sizes on both sides of each limit: what a header may have, and what one callback has room for. */
function huge(random: Random, letter: string): string {
  return letter.repeat(random.pick([8188, 8192, 8196, 8200, 20000, 131064, 131072, 131080, 200000]));
}
