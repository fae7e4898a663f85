// SPDX-License-Identifier: Apache-2.0
import type { ProxyModel } from './model.ts';

/** Statistics of a running Envoy; 0 for what it does not have. */

/** The sum of those whose name matches. */
export function stat(proxy: ProxyModel, name: RegExp): number {
  let sum = 0;
  for (const [each, value] of proxy.source.live?.stats ?? []) if (name.test(each)) sum += value;
  return sum;
}

/** One of the module's own, of assembly/metrics/metrics.json. Before Envoy 1.39 it may stand under a cluster's name. */
export const moduleStat = (proxy: ProxyModel, name: string) =>
  stat(proxy, new RegExp(`(^|\\.)metadata_exchange[._]${name}$`));

/** Requests that listeners with these stat_prefixes got. Envoy writes colons as underscores in names. */
export function requestsAt(proxy: ProxyModel, prefixes: string[]): number {
  const { stats } = proxy.source.live ?? {};
  const names = prefixes.map((each) => each.replaceAll(/:\/\/|:\/|:/g, '_'));
  const counts = [...new Set(names)].map((each) => stats?.get(`http.${each}.downstream_rq_total`) ?? 0);
  return counts.reduce((sum, each) => sum + each, 0);
}

/** `1 request`, `2 requests`. */
export const times = (count: number, what: string) => `${count} ${what}${count === 1 ? '' : 's'}`;
