// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { MODULE, ROOT } from '../testkit/envoy/binary.ts';
import { bridge, metadataExchange, wasm } from '../testkit/envoy/config.ts';
import { buildCompetitors } from './competitors/build.ts';
import { checkCompetitor } from './competitors/check.ts';
import { competitorFilter, type Direction } from './competitors/filter.ts';
import { COUNTING } from './counting.ts';
import * as peers from './sized_peer.ts';
import { AGAIN, NONE, OURS } from './statistics.ts';

/** Who is measured: each is an Envoy of its own, with other HTTP filters in its chain. */
export interface Contender {
  name: string;
  label: string;
  /** The module, where it is one. */
  wasm?: string;
  /** Its filters for a listener of a direction. */
  filters(direction: Direction): object[];
  /** What its access log says, where requests are logged: else the path alone. */
  logs?: string;
  /** An access logger that counts requests, where they are counted. */
  counts?: object;
  /** It takes part in cases that name it, and in no others. */
  isNamed?: true;
}

/** What the proxies under test say of themselves. */
export const OWN = { id: peers.ID, metadata: peers.metadata(600) };

const LIST = [{ istio_headers: {} }];
const LISTS = {
  INBOUND: { downstream_discovery: LIST, downstream_propagation: LIST },
  OUTBOUND: { upstream_discovery: LIST, upstream_propagation: LIST },
};
const built = (name: string) => join(ROOT, 'build/bench', `${name}.wasm`);
const ours = (direction: Direction) => metadataExchange(LISTS[direction]);

function withBridge(direction: Direction, filter: object): object[] {
  return direction === 'INBOUND'
    ? [filter, bridge('dynamic_metadata', 'downstream')]
    : [bridge('dynamic_metadata', 'upstream'), filter];
}

/** Fields of a peer that people log, and how each of three ways to read them is written. */
const LOGGED = ['NAME', 'NAMESPACE', 'WORKLOAD_NAME', 'CLUSTER_ID', 'SERVICE_ACCOUNT', 'ISTIO_VERSION'];
const FIELDS = [...LOGGED, 'LABELS.app', 'LABELS.version'];
const CLIENT = 'envoy.wasm.metadata_exchange.downstream';
const logOf = (write: (path: string) => string) => FIELDS.map(write).join(' ');

/** The same access log in three ways: what the exchange costs together with what reads it. */
const LOGGING: Contender[] = [
  {
    name: 'log-cel',
    label: 'this filter, eight fields by CEL',
    wasm: MODULE,
    filters: () => [metadataExchange()],
    isNamed: true,
    logs: logOf((path) => `%CEL(filter_state['wasm.${CLIENT}'].${path})%`),
  },
  {
    name: 'log-bridge',
    label: 'this filter and the bridge, eight fields by DYNAMIC_METADATA',
    wasm: MODULE,
    filters: (direction) => withBridge(direction, metadataExchange()),
    isNamed: true,
    logs: logOf((path) => `%DYNAMIC_METADATA(${CLIENT}:${path.replace('.', ':')})%`),
  },
  {
    name: 'log-plain',
    label: 'this filter, eight plain fields',
    wasm: MODULE,
    filters: () => [metadataExchange({ publish_fields: FIELDS })],
    isNamed: true,
    logs: logOf((path) => `%FILTER_STATE(wasm.${CLIENT}.${path}:PLAIN)%`),
  },
];

const ENDPOINT = [{ endpoint_metadata: {} }];
const ISTIO_NAMES = { headers: { metadata: 'x-envoy-peer-metadata', id: 'x-envoy-peer-metadata-id' } };

/** This filter, with a configuration for clients alone. */
function client(name: string, label: string, config: object): Contender {
  return {
    name,
    label,
    wasm: MODULE,
    filters: () => [metadataExchange({ ...LISTS.OUTBOUND, ...config })],
    isNamed: true,
  };
}

/** What a client's filter asks about the cluster and the endpoint. */
const ASKING: Contender[] = [
  client('endpoint', 'this filter, endpoint metadata in place of headers', { upstream_discovery: ENDPOINT }),
  client('headers-endpoint', 'this filter, headers, then endpoint metadata', {
    upstream_discovery: [...LIST, ...ENDPOINT],
  }),
  client('names', 'this filter, with lists and Istio’s header names', ISTIO_NAMES),
  client('dialect', 'this filter, with lists and `dialect: istio`', { dialect: 'istio' }),
];

export const WITHOUT: Contender = { name: NONE, label: 'no filter', filters: () => [] };
const BESIDE = 'beside';

/** Who takes part in every case: what is compared with, and a module to be compared with ours. */
export const ALWAYS = [NONE, OURS, AGAIN, BESIDE];

/** A module of ours that is not the one under test, such as the one before a change. */
function anotherModule(path: string): Contender {
  if (!existsSync(path)) throw new Error(`there is no module at ${path}`);
  const filter = wasm('metadata_exchange', undefined, resolve(path));
  return { name: BESIDE, label: `this filter as in ${path}`, wasm: resolve(path), filters: () => [filter] };
}

/**
 * All contenders that can be built here, the one without a filter first. What is missing is said. `beside` is the path
 * of one module more.
 */
export async function contenders(beside?: string): Promise<Contender[]> {
  const all: Contender[] = [
    WITHOUT,
    {
      name: 'empty',
      label: 'empty Wasm filter',
      wasm: built('empty'),
      filters: () => [wasm('empty', undefined, built('empty'))],
    },
    {
      name: 'floor',
      label: 'straight floor',
      wasm: built('floor'),
      filters: () => [wasm('floor', undefined, built('floor'))],
    },
    { name: OURS, label: 'this filter', wasm: MODULE, filters: () => [metadataExchange()] },
    { name: AGAIN, label: 'this filter, a second time', wasm: MODULE, filters: () => [metadataExchange()] },
    ...(beside ? [anotherModule(beside)] : []),
    { name: 'lists', label: 'this filter, with lists', wasm: MODULE, filters: (direction) => [ours(direction)] },
    {
      name: 'bridge',
      label: 'this filter and the bridge',
      wasm: MODULE,
      filters: (direction) => withBridge(direction, metadataExchange()),
    },
  ];
  all.push(...LOGGING, ...ASKING, ...COUNTING);
  for (const competitor of await buildCompetitors()) {
    if (competitor.missing) {
      console.log(`==> ${competitor.label} is not measured: ${competitor.missing}`);
      continue;
    }
    await checkCompetitor(competitor);
    all.push({
      name: competitor.name,
      label: competitor.label,
      wasm: competitor.wasm,
      filters: (direction) => [competitorFilter(competitor, direction, OWN)],
    });
  }
  return all;
}
