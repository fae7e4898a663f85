// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import { MODULE, testedVersions } from '../../testkit/envoy/binary.ts';
import { bridge, type Listener, wasm } from '../../testkit/envoy/config.ts';
import type { Named } from '../../testkit/xds/server.ts';

/** Who is there, and how a filter is told to look for them: the words of tests of workload discovery. */

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
type Json = any;

/** The Envoys that the filter must run on, with a name each. */
export const VERSIONS = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);

/** 1.36 and 1.37 crash when the first Wasm filter, whichever it is, arrives while they run. */
export const TAKES_FIRST_VM_LATE = VERSIONS.filter(([, version]) => !/^1\.3[67]\./.test(version ?? ''));

/** The oldest and the newest. */
export const OLDEST_AND_NEWEST = [...new Set([VERSIONS[0], VERSIONS[VERSIONS.length - 1]])];

/**
 * Workers keep answers for a second, from one tick to the next. On a busy machine a tick may come late, so that a test waits
 * for longer.
 */
export const KEPT = 2_500;

/** For so many milliseconds there may be two streams at the server when one takes the place of another. */
export const MOMENT = 250;

/** In so many milliseconds each VM knows on which thread it is: who wants a stream of its own has opened it by then. */
export const LONGER_THAN_ANY_SEARCH = 8_000;

/** Who asks: requests come from its address. */
export const CLIENT = {
  uid: 'Kubernetes//Pod/default/productpage-v1-0',
  name: 'productpage-v1-0',
  namespace: 'default',
  addresses: ['127.0.0.5'],
  serviceAccount: 'bookinfo-productpage',
  canonicalName: 'productpage',
  canonicalRevision: 'v1',
  workloadName: 'productpage-v1',
  clusterId: 'Kubernetes',
} satisfies Named;

/** Who answers: the application listens at its address. */
export const SERVER = {
  uid: 'Kubernetes//Pod/default/ratings-v1-0',
  name: 'ratings-v1-0',
  namespace: 'default',
  addresses: ['127.0.0.2'],
  trustDomain: 'cluster.global',
  serviceAccount: 'ratings',
  canonicalName: 'ratings',
  canonicalRevision: 'version-1',
  workloadName: 'ratings-v1',
  clusterId: 'ratings-cluster',
} satisfies Named;

/** An address that no workload has. */
export const STRANGER = '127.0.0.99';

/** Both sides by their addresses, and by nothing else. */
export const BY_ADDRESS = {
  downstream_discovery: [{ workload_discovery: {} }],
  upstream_discovery: [{ workload_discovery: {} }],
};

/** What is published as plain strings too, and logged as `plain`. */
export const FIELDS = ['NAME', 'IDENTITY', 'LABELS.app'];

/** As BY_ADDRESS, and told apart from others by a number: Envoy makes a new root context for each. */
export const generation = (n: number) => ({ ...BY_ADDRESS, max_peer_cache_size: 100 + n });

export interface FilterOptions {
  name?: string;
  /** Another build than the usual one. */
  module?: string;
  /** A VM, and shared data, of its own. */
  vmId?: string;
}

/** Our filter, with a configuration in JSON or as text. */
export function filter(config: Json, options: FilterOptions = {}): Json {
  const { name = 'metadata_exchange' } = options;
  return { name, typed_config: { '@type': HTTP_FILTER, config: plugin(config, options) } };
}

const HTTP_FILTER = wasm('', undefined).typed_config['@type'];

/** envoy.extensions.wasm.v3.PluginConfig: what filters and the bootstrap service share. */
function plugin(config: Json, { name = 'metadata_exchange', module, vmId }: FilterOptions): Json {
  const value = typeof config === 'string' ? config : JSON.stringify(config);
  const text = { '@type': 'type.googleapis.com/google.protobuf.StringValue', value };
  const made = wasm(name, text, module ?? MODULE).typed_config.config;
  if (vmId !== undefined) made.vm_config.vm_id = vmId;
  return made;
}

/** A service that runs once in a proxy, on its main thread, for as long as the proxy does. */
export function bootstrapService(config: Json, options: FilterOptions = {}): Json {
  const type = 'type.googleapis.com/envoy.extensions.wasm.v3.WasmService';
  const typed_config = { '@type': type, singleton: true, config: plugin(config, options) };
  return { name: 'envoy.bootstrap.wasm', typed_config };
}

/** A filter whose configuration comes by ECDS. */
export function discovered(name: string, source: object): Json {
  return { name, config_discovery: { config_source: source, type_urls: [HTTP_FILTER] } };
}

/** A listener with this filter, which logs all the forms in which a peer is known. */
export function listening(name: string, ours: Json, more: Partial<Listener> = {}): Listener {
  const plain = (side: string) =>
    Object.fromEntries(
      FIELDS.map((field) => [field, `%FILTER_STATE(wasm.envoy.wasm.metadata_exchange.${side}.${field}:PLAIN)%`]),
    );
  const log = { plain: { downstream: plain('downstream'), upstream: plain('upstream') } };
  return { name, filters: [bridge('responses'), ours, bridge('requests')], log, ...more };
}

/** Another build of the module: it does the same, but is not the same to Envoy. */
export function anotherBuild(path: string, mark: string): string {
  copyFileSync(MODULE, path);
  const name = Buffer.from(mark);
  writeFileSync(path, Buffer.concat([readFileSync(MODULE), Buffer.from([0, name.length + 1, name.length]), name]));
  return path;
}
