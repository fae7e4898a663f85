// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { parseAllDocuments } from 'yaml';
import { ask, askAtSocket, isSocket, urlOf } from '../ask.ts';
import { field, type Json, list, text, typeOf } from './json.ts';

/** Where the doctor reads: a running Envoy's admin page, or a file. Either way it ends up as the same pieces. */

/** All that one Envoy's configuration is made of, as far as a source has it. */
export interface Source {
  /** The address or path that it was asked for by. */
  name: string;
  /** Whether these are all listeners and clusters that the proxy has, and its bootstrap. */
  isWhole: boolean;
  bootstrap?: Json;
  listeners: Json[];
  clusters: Json[];
  routes: Json[];
  /** Extension configurations (ECDS) that have arrived: TypedExtensionConfig. */
  extensions: Json[];
  /** What Envoy refused: the resource's name, and why. */
  refused: { name: string; why: string }[];
  /** Only of a running Envoy. */
  live?: Live;
}

/** What only a running Envoy can say. */
export interface Live {
  version: string;
  /** Seconds since it started. */
  uptime: number;
  stats: Map<string, number>;
}

const nothing = (name: string): Source => ({
  name,
  isWhole: false,
  listeners: [],
  clusters: [],
  routes: [],
  extensions: [],
  refused: [],
});

/** The statistics that rules ask for: Envoy has thousands of others. */
const REQUESTS = 'downstream_rq_total';
const STATS = 'metadata_exchange|vm_reload|update_rejected';

/** The module writes its counters once a second: what it says later of requests that were counted before is complete. */
const TICK_MILLISECONDS = 1500;

/** Asks a running Envoy. */
export async function sourceAt(address: string): Promise<Source> {
  const page = (path: string) => (isSocket(address) ? askAtSocket(address, path) : ask(new URL(path, urlOf(address))));
  const [dump, requests, info] = await Promise.all([
    page('/config_dump'),
    page(`/stats?filter=${REQUESTS}`),
    page('/server_info'),
  ]);
  // Where no request came there is nothing that it could still have to say.
  const served = [...statsOf(requests)].some(([name, count]) => count > 0 && !name.startsWith('http.admin.'));
  if (served) await sleep(TICK_MILLISECONDS);
  const stats = await page(`/stats?filter=${encodeURIComponent(STATS)}`);
  const source = sourceOfDump(address, JSON.parse(dump));
  if (!source) throw new Error('its /config_dump has no configuration');
  const { version = '', uptime_current_epoch } = JSON.parse(info);
  source.live = {
    version: /\d+\.\d+\.\d+/.exec(version)?.[0] ?? '',
    uptime: Number.parseFloat(uptime_current_epoch) || 0,
    stats: statsOf(`${requests}\n${stats}`),
  };
  return source;
}

function statsOf(page: string): Map<string, number> {
  const lines = Array.from(page.matchAll(/^(.+): (\d+)$/gm), ([, name, value]) => [name, Number(value)] as const);
  return new Map(lines);
}

/** Reads a file: a bootstrap, a saved /config_dump, or resources such as a control plane's. YAML, or JSON. */
export function sourceIn(name: string, content: string): Source {
  const documents = parseAllDocuments(content, { logLevel: 'silent' });
  const broken = documents.flatMap(({ errors }) => errors)[0];
  if (broken) throw new Error(broken.message);
  const source = nothing(name);
  let isKnown = false;
  for (const document of documents) {
    const json = document.toJS();
    const dumped = sourceOfDump(name, json);
    if (dumped) return dumped;
    isKnown = addBootstrap(source, json) || addResources(source, json) || isKnown;
  }
  if (!isKnown)
    throw new Error('no bootstrap, no /config_dump, no listener and no cluster: `check` reads plugin configurations');
  return source;
}

function addBootstrap(source: Source, json: Json): boolean {
  const statics = field(json, 'static_resources');
  const dynamics = field(json, 'dynamic_resources');
  if (!statics && !dynamics) return false;
  source.bootstrap = json;
  source.listeners.push(...list(statics, 'listeners'));
  source.clusters.push(...list(statics, 'clusters'));
  source.isWhole = dynamics === undefined;
  return true;
}

/** What a file has that a control plane would send: `resources`, or one listener or cluster. */
function addResources(source: Source, json: Json): boolean {
  const before = source.listeners.length + source.clusters.length + source.extensions.length;
  for (const resource of [json, ...list(json, 'resources')]) {
    const type = typeOf(resource);
    if (type === 'envoy.config.listener.v3.Listener') source.listeners.push(resource);
    if (type === 'envoy.config.cluster.v3.Cluster') source.clusters.push(resource);
    if (type === 'envoy.config.route.v3.RouteConfiguration') source.routes.push(resource);
    if (type === 'envoy.config.core.v3.TypedExtensionConfig') source.extensions.push(resource);
  }
  return source.listeners.length + source.clusters.length + source.extensions.length > before;
}

function sourceOfDump(name: string, json: Json): Source | undefined {
  const configs = list(json, 'configs');
  if (configs.length === 0) return undefined;
  const source = nothing(name);
  source.isWhole = true;
  for (const config of configs) addPart(source, config);
  return source;
}

/** One part of a /config_dump. */
function addPart(source: Source, part: Json): void {
  const type = typeOf(part);
  const take = (to: Json[], what: string, ...lists: string[]) => {
    for (const each of lists.flatMap((one) => list(part, one))) {
      const found = field(each, what) ?? field(each, 'active_state', what) ?? field(each, 'warming_state', what);
      if (found) to.push(found);
      const why = text(each, 'error_state', 'details');
      if (why) source.refused.push({ name: text(each, 'name') || text(found, 'name'), why });
    }
  };
  if (type.endsWith('BootstrapConfigDump')) source.bootstrap = field(part, 'bootstrap');
  if (type.endsWith('ListenersConfigDump')) take(source.listeners, 'listener', 'static_listeners', 'dynamic_listeners');
  if (type.endsWith('ClustersConfigDump')) {
    take(source.clusters, 'cluster', 'static_clusters', 'dynamic_active_clusters', 'dynamic_warming_clusters');
  }
  if (type.endsWith('.RoutesConfigDump')) {
    take(source.routes, 'route_config', 'static_route_configs', 'dynamic_route_configs');
  }
  if (type.endsWith('EcdsConfigDump')) take(source.extensions, 'ecds_filter', 'ecds_filters');
}
