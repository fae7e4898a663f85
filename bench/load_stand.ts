// SPDX-License-Identifier: Apache-2.0
import { proxy } from '../testkit/envoy/config.ts';
import { Envoy } from '../testkit/envoy/process.ts';
import { type Contender, OWN } from './contenders.ts';
import { cpuTime, toEnvoyCore, workerOf } from './cpu.ts';
import { load } from './load.ts';
import { clusterOf, PATHS } from './server.ts';
import * as peers from './sized_peer.ts';

const METADATA = 'x-istio-peer-metadata';
const ID = 'x-istio-peer-id';
const TYPE = 'type.googleapis.com/envoy.extensions.filters.http.header_mutation.v3.HeaderMutation';

/** Sizes of peers' Structs, in bytes. */
export const SIZES = [600, 1200, 5000];

/**
 * The listeners that each contender's Envoy has. All answer by themselves, but for the one that goes `through` to a
 * server.
 */
export type Listener = 'in' | 'out' | 'mutated' | 'logged' | 'counted' | 'through';

const answer = { status: 200 };
const direct = (path: object, more: object = {}) => ({ match: path, direct_response: answer, ...more });
const adds = (key: string, value: string) => ({ header: { key, value } });

/** A server's answer with a peer's headers, by the size that is the request's path. */
const answering = SIZES.map((size) =>
  direct({ path: `/${size}` }, { response_headers_to_add: [adds(METADATA, peers.header(size)), adds(ID, peers.ID)] }),
);

/** An access log that goes nowhere: what it costs is to put its lines together. */
function accessLog(contender: Contender): object {
  return {
    name: 'log',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog',
      path: '/dev/null',
      log_format: { text_format_source: { inline_string: `%REQ(:PATH)% ${contender.logs ?? ''}\n` } },
    },
  };
}

/** Makes a request one of a peer of its own, by its path, before the filter under test sees it. */
function mutation(): object {
  const { before, behind } = peers.aroundPath(600);
  const value = `${before}%REQ(:PATH)%${behind}`;
  const append = { append: { header: { key: METADATA, value } } };
  return { name: 'mutation', typed_config: { '@type': TYPE, mutations: { request_mutations: [append] } } };
}

export interface LoadStandOptions {
  /** A port where requests to `/hold` get no answer. */
  holding?: number;
  /** The port of the server behind the listener `through`: see server.ts. Unless told there is no such listener. */
  server?: number;
  workers?: number;
}

/** A contender in an Envoy, with one worker on a core that only Envoys have. */
export class LoadStand implements AsyncDisposable {
  private constructor(
    readonly contender: Contender,
    readonly envoy: Envoy,
    private readonly ports: Record<Listener, number>,
    private readonly task: string,
  ) {}

  static async start(contender: Contender, options: LoadStandOptions = {}): Promise<LoadStand> {
    const { holding, server, workers = 1 } = options;
    const manager = { access_log: [], http2_protocol_options: { max_concurrent_streams: 10_000 } };
    const hold = holding ? [{ match: { path: '/hold' }, route: { cluster: 'holding', timeout: '0s' } }] : [];
    const routes = [...hold, direct({ prefix: '/' })];
    const through = {
      name: 'through',
      direction: 'OUTBOUND' as const,
      filters: contender.filters('OUTBOUND'),
      routes: [{ match: { prefix: '/' }, route: { cluster: 'server' } }],
      manager,
    };
    const many = { max_requests: 100_000, max_connections: 100_000, max_pending_requests: 100_000 };
    const envoy = await Envoy.start(
      proxy({
        node: { id: OWN.id, metadata: { 'istio.io/metadata': OWN.metadata } },
        listeners: [
          { name: 'in', direction: 'INBOUND', filters: contender.filters('INBOUND'), routes, manager },
          { name: 'out', direction: 'OUTBOUND', filters: contender.filters('OUTBOUND'), routes: answering, manager },
          {
            name: 'mutated',
            direction: 'INBOUND',
            filters: [mutation(), ...contender.filters('INBOUND')],
            routes,
            manager,
          },
          {
            name: 'logged',
            direction: 'INBOUND',
            filters: contender.filters('INBOUND'),
            routes,
            manager: { ...manager, access_log: [accessLog(contender)] },
          },
          {
            name: 'counted',
            direction: 'INBOUND',
            filters: contender.filters('INBOUND'),
            routes,
            manager: { ...manager, access_log: contender.counts ? [contender.counts] : [] },
          },
          ...(server ? [through] : []),
        ],
        clusters: {
          ...(holding && { holding: { port: holding, http2: true, circuit_breakers: { thresholds: [many] } } }),
          ...(server && { server: clusterOf(server) }),
        },
      }),
      { name: contender.label, workers },
    );
    if (workers === 1) toEnvoyCore(envoy.pid);
    const names: Listener[] = ['in', 'out', 'mutated', 'logged', 'counted', ...(server ? ['through' as const] : [])];
    const ports = Object.fromEntries(
      await Promise.all(names.map(async (name) => [name, await envoy.port(name)] as const)),
    ) as Record<Listener, number>;
    return new LoadStand(contender, envoy, ports, workerOf(envoy.pid));
  }

  port(listener: Listener): number {
    return this.ports[listener];
  }

  /** Microseconds of the worker's time that a request takes, over so many requests. */
  async cost(of: Traffic, count: number): Promise<number> {
    const before = cpuTime(this.task);
    await load({ port: this.ports[of.listener], paths: of.paths, headers: of.headers, count });
    return (cpuTime(this.task) - before) / count / 1000;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
  }
}

/** Requests that are all alike, or one peer's after the other. */
export interface Traffic {
  listener: Listener;
  paths: string[];
  headers: [string, string][];
}

/** Headers that a request has beside the peer's: with the four that begin with a colon about ten in all. */
const USUAL: [string, string][] = [
  ['user-agent', 'Mozilla/5.0 (X11; Linux x86_64)'],
  ['accept', '*/*'],
  ['accept-encoding', 'gzip, deflate'],
  ['x-request-id', '0d5aa11e-4b1a-4b2f-9d6c-0e33f0a4c6ab'],
];
const MANY: [string, string][] = Array.from({ length: 29 }, (_, i) => [`x-header-${i}`, `the value of header ${i}`]);
const peerOf = (size: number): [string, string][] => [
  [METADATA, peers.header(size)],
  [ID, peers.ID],
];

export const inbound = (size: number): Traffic => ({
  listener: 'in',
  paths: ['/'],
  headers: [...USUAL, ...peerOf(size)],
});

/** Inbound, with an access log. */
export const logged = (size: number): Traffic => ({ ...inbound(size), listener: 'logged' });

/** Inbound, and counted. */
export const counted = (size: number): Traffic => ({ ...inbound(size), listener: 'counted' });

export const outbound = (size: number): Traffic => ({ listener: 'out', paths: [`/${size}`], headers: USUAL });

/** Outbound, to a server that answers so. */
export const through = (answer: keyof typeof PATHS): Traffic => ({
  listener: 'through',
  paths: [PATHS[answer]],
  headers: USUAL,
});

/** 40 headers and 4 kB of cookies. */
export const large = (): Traffic => ({
  listener: 'in',
  paths: ['/'],
  headers: [...USUAL, ...MANY, ['cookie', `session=${'c'.repeat(4088)}`], ...peerOf(600)],
});

export const withoutPeer = (): Traffic => ({ listener: 'in', paths: ['/'], headers: USUAL });

/** Requests of so many peers, one after the other, all different. */
export const distinct = (count: number): Traffic => ({
  listener: 'mutated',
  paths: Array.from({ length: count }, (_, i) => peers.pathOf(i)),
  headers: [...USUAL, [ID, peers.ID]],
});
