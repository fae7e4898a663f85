// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import { Host, type Stream } from '../../../testkit/host/host.ts';
import type { Random } from '../../../testkit/random.ts';
import { type Config, readConfig } from '../oracle/config.ts';
import {
  Exchange,
  type FilterState,
  type HeaderPair,
  type Own,
  ownBaggage,
  ownLimitOf,
  ownOf,
  type Root,
  readMetadata,
  type StreamModel,
} from '../oracle/exchange.ts';
import { canonical, plainStruct } from '../oracle/struct.ts';
import { type Builds, mostMemory, sameBytes, type Target } from '../target.ts';
import { generateProgram, NODES, type Program } from './programs.ts';

/** The id of a root that never was. */
const NOBODY = 3_999_999_999;

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
  /** Streams that had a message that was too large to be read for certain. */
  private readonly unread = new WeakSet<StreamModel>();
  /** What neither a stream's callbacks may change: the lines in the log, and memory. */
  constructor(readonly host: Host) {}

  /** The messages of a stream that no configuration is responsible for. */
  unserved(stream: Stream, headers: HeaderPair[]): void {
    this.quietly(() => stream.onRequest(...headers.map((pair): HeaderPair => [...pair])));
    this.compare('request', stream, undefined, headers, stream.request, this.model.unserved(headers, true));
    this.quietly(() => stream.onResponse(...headers.map((pair): HeaderPair => [...pair])));
    this.compare('response', stream, undefined, headers, stream.response, this.model.unserved(headers, false));
  }

  direction(value: number): void {
    this.model.direction = value;
    this.host.properties['xds.listener_direction'] = Buffer.from([value, 0, 0, 0, 0, 0, 0, 0]);
  }

  /** What the control plane says of the endpoint that answers. */
  endpoint(text: string): void {
    this.model.endpoint = text;
    this.host.properties['xds.upstream_host_metadata.filter_metadata.istio.workload'] = Buffer.from(text, 'latin1');
  }

  /** Whether the metadata of each cluster says `disable_mx`. */
  disable(isDisabled: boolean): void {
    this.model.isDisabled = isDisabled;
    this.host.properties['xds.cluster_metadata.filter_metadata.istio.disable_mx'] = Buffer.from([isDisabled ? 1 : 0]);
  }

  private quietly(run: () => void): void {
    const [lines, memory] = [this.host.log.length, this.host.memorySize()];
    run();
    if (this.host.log.length !== lines) throw new Error(`a stream logged: ${this.host.log.at(-1)?.text}`);
    if (this.host.memorySize() !== memory) throw new Error('a stream took memory');
  }

  onRequest(stream: Stream, model: StreamModel, headers: HeaderPair[]): void {
    const expected = this.model.onRequest(model, headers);
    this.quietly(() => stream.onRequest(...headers.map((pair): HeaderPair => [...pair])));
    this.compare('request', stream, model, headers, stream.request, expected);
  }

  onResponse(stream: Stream, model: StreamModel, headers: HeaderPair[]): void {
    const expected = this.model.onResponse(model, headers);
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
    // Baggage is left as it is where there is no room to add to it, and not answered where it could not be read.
    if (model && sizeOf(sent) > ALWAYS_ROOM) this.unread.add(model);
    if (sizeOf(sent) > ALWAYS_ROOM || (model && this.unread.has(model))) {
      const told = model?.root.config.application?.header;
      // Of a peer that could not be read the application is told nothing.
      if (actual.every(([name]) => name !== told)) expected = expected.filter(([name]) => name !== told);
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
      // What cannot be fetched is as if there were none: then less is known of the peer, or another method finds one.
      const isHeardInBaggage = model?.root.config.discovers.includes('baggage');
      for (const [name, value] of Object.entries(stream.filterState)) {
        if (value.length > 0 && !isHeardInBaggage && !state[name]?.equals(value))
          throw new Error(`${name} is not right`);
      }
      for (const name of Object.keys(state)) delete state[name];
      Object.assign(state, stream.filterState);
      return;
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
  pair.model.roots.add(root);
  const model = pair.model.begin(root);
  const stream = host.stream(rootId, 888_888_888);
  pair.onRequest(stream, model, headers);
  pair.onResponse(stream, model, headers);
  stream.end();
}

/** Whether the own metadata does not fit into its header. */
export function isTooLarge(own: Own, config: Config): boolean {
  return (own.metadata ?? '').length > ownLimitOf(config);
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
  if (!bytes || sent[1].length > ownLimitOf(config)) throw new Error(`the own metadata was cut down to ${sent[1]}`);
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
  isLarge: boolean;
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
    pair.endpoint(program.endpoint ?? '');
    pair.disable(program.isDisabled ?? false);
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
      pair.model.roots.delete(root);
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
          own.baggage = own.metadata ? ownBaggage(Buffer.from(own.metadata, 'base64'), config) : undefined;
        }
        const root = { config, own };
        roots.set(id, root);
        pair.model.roots.add(root);
      } else if ('endRoot' in step) {
        const found = nth(roots, step.endRoot);
        if (found) endRoot(found);
      } else if ('request' in step) {
        const found = nth(roots, step.root);
        if (!found) continue;
        const id = free(step.id);
        // What a callback has no room for may be as if unreadable: then a later run may know less.
        const isLarge = sizeOf(step.request) > ALWAYS_ROOM;
        const live = { stream: host.stream(found[0], id), model: pair.model.begin(found[1]), isLarge };
        streams.set(id, live);
        pair.onRequest(live.stream, live.model, step.request);
      } else if ('response' in step) {
        const found = nth(streams, step.stream)?.[1];
        if (found && !found.model.answered) pair.onResponse(found.stream, found.model, step.response);
      } else if ('redirect' in step) {
        const found = nth(streams, step.redirect);
        if (!found || found[1].isLarge) continue;
        const { stream, model } = found[1];
        const headers: HeaderPair[] = [...stream.request, ['x-envoy-original-url', 'http://test/from']];
        end(found);
        const id = free(step.id);
        const other = step.root === undefined ? undefined : nth(roots, step.root);
        const again = {
          stream: host.stream(other?.[0] ?? stream.root, id),
          model: pair.model.begin(other?.[1] ?? model.root, model),
          isLarge: false,
        };
        Object.assign(again.stream.filterState, stream.filterState);
        Object.assign(again.stream.notes, stream.notes);
        streams.set(id, again);
        pair.onRequest(again.stream, again.model, headers);
      } else if ('unknown' in step) {
        const id = free(step.unknown);
        const stream = host.stream(NOBODY, id);
        pair.unserved(stream, [
          ['x-istio-peer-id', 'x'],
          ['x-a', ''],
          ['x-client-workload', 'WORKLOAD_NAME=admin'],
          ['x-told', ''],
          ['x-stays', 'y'],
        ]);
        stream.end();
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
    if (host.memorySize() > mostMemory(this.mostPeers)) throw new Error('what came and went took memory');
    return pair.model.published > 0;
  }
}
