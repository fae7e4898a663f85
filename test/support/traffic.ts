// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'vitest';
import { parse } from 'yaml';
import { ROOT, testedVersions } from '../../testkit/envoy/binary.ts';
import { type Listener, metadataExchange, type ProxyOptions, proxy } from '../../testkit/envoy/config.ts';
import { type Bootstrap, Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';

/** Istio's request metrics, as Prometheus reads them from an Envoy with envoy/stats_tags.yaml in its bootstrap. */

/** Every Envoy that the filter runs on, with a name each. */
export const EVERY = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);

/** The oldest and the newest of them. */
export const OLDEST_AND_NEWEST = [...new Map([EVERY[0], EVERY[EVERY.length - 1]]).entries()];

/** What productpage and reviews say of themselves. */
export const workload = (app: string, more: object = {}) => ({
  NAME: `${app}-v1-abc`,
  NAMESPACE: 'default',
  WORKLOAD_NAME: `${app}-v1`,
  CLUSTER_ID: 'Kubernetes',
  LABELS: { app, version: 'v1', 'service.istio.io/canonical-name': app, 'service.istio.io/canonical-revision': 'v1' },
  ...more,
});

/** The bootstrap of a proxy that counts, with labels of our own beside those that are shipped. */
export function counting(
  options: ProxyOptions & Pick<CountingOptions, 'own' | 'tags' | 'bare' | 'buckets'>,
): Bootstrap {
  const read = (path: string) => parse(readFileSync(join(ROOT, path), 'utf8')).stats_config;
  const more = (options.tags ?? []).map((name) => ({ tag_name: name, regex: `(${name}=\\.=(.*?);\\.;)` }));
  const buckets = options.buckets && read(options.buckets);
  const stats = { stats_tags: [...read('envoy/stats_tags.yaml').stats_tags, ...more], ...buckets };
  const node = { metadata: { 'istio.io/metadata': options.own ?? workload('reviews') }, ...options.node };
  return {
    ...proxy({ ...options, node }),
    stats_config: options.bare ? undefined : stats,
    stats_flush_interval: '0.2s',
  };
}

/** The filter with its metrics on. */
export const counter = (config: object = {}, name?: string) => metadataExchange({ metrics: {}, ...config }, name);

export interface Series {
  labels: Record<string, string>;
  value: number;
}

/** All series of a metric. */
export async function series(envoy: Envoy, metric = 'istio_requests_total'): Promise<Series[]> {
  const page = await envoy.admin('/stats/prometheus');
  const lines = page.split('\n').filter((line) => line.startsWith(`${metric}{`));
  return lines.map((line) => {
    const end = line.lastIndexOf('}');
    const pairs = line.slice(line.indexOf('{') + 1, end).matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/gs);
    const unescaped = (text: string) => text.replace(/\\(.)/gs, (_, each) => (each === 'n' ? '\n' : each));
    const labels = Object.fromEntries(Array.from(pairs, ([, name, value]) => [name, unescaped(value)]));
    return { labels, value: Number(line.slice(end + 1)) };
  });
}

/** How often each combination of these labels' values was counted: `{ 'source 200': 3 }`. */
export async function counts(envoy: Envoy, labels: string[], metric?: string): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const each of await series(envoy, metric)) {
    const key = labels.map((name) => each.labels[name]).join(' ');
    found[key] = (found[key] ?? 0) + each.value;
  }
  return found;
}

/** Waits until so many requests are counted, and compares which they are. A request too many is found as well. */
export async function expectCounts(
  envoy: Envoy,
  labels: string,
  expected: Record<string, number>,
  metric?: string,
): Promise<void> {
  const names = labels.split(' ');
  const sum = (found: Record<string, number>) => Object.values(found).reduce((all, each) => all + each, 0);
  for (let i = 0; i < 100 && sum(await counts(envoy, names, metric)) < sum(expected); i++) await sleep(50);
  await sleep(100);
  expect(await counts(envoy, names, metric)).toEqual(expected);
}

export interface CountingOptions extends EnvoyOptions {
  /** Fields of the plugin's configuration beside `metrics`. */
  config?: object;
  own?: object;
  /** Labels that its bootstrap knows beside Istio's. */
  tags?: string[];
  /** Its bootstrap knows no labels at all. */
  bare?: boolean;
  /** The file with its histograms' buckets; Envoy's own unless told. */
  buckets?: string;
  direction?: Listener['direction'];
  filters?: object[];
  routes?: object[];
  manager?: object;
  clusters?: ProxyOptions['clusters'];
}

const OK = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];

/** One proxy that counts; unless told it is reviews' own, and answers every request by itself. */
export async function startCounting(options: CountingOptions = {}): Promise<{ envoy: Envoy; port: number }> {
  const { config, own, tags, bare, buckets, direction, filters, routes, manager, clusters, ...how } = options;
  const listener: Listener = {
    name: 'listener',
    direction: 'direction' in options ? direction : 'INBOUND',
    filters: filters ?? [counter(config)],
    routes: routes ?? (clusters?.app ? undefined : OK),
    manager,
  };
  const envoy = await Envoy.start(counting({ own, tags, bare, buckets, listeners: [listener], clusters }), how);
  return { envoy, port: await envoy.port('listener') };
}
