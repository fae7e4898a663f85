// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import type { Exchange } from '../exchange.ts';
import { entries, field, list, typeOf } from '../json.ts';
import { allExchangesOf, exchangesOf, managersOf } from '../model.ts';
import { error, note, places, type Rule, some, warning } from '../rule.ts';
import { moduleStat, times } from '../stats.ts';
import { asksForCertificate } from './strangers.ts';

/** Istio's metrics by peer. */

const counts = ({ settings }: Exchange) => Boolean(settings.metrics);

/** The labels that need a rule in the bootstrap. */
function labelsWithRules(): string[] {
  const shipped = parse(readFileSync(join(ROOT, 'envoy/stats_tags.yaml'), 'utf8'));
  return shipped.stats_config.stats_tags.map(({ tag_name }: { tag_name: string }) => tag_name);
}

export const noStatsTags: Rule = {
  id: 'no-stats-tags',
  check(proxy) {
    const counting = allExchangesOf(proxy).filter(counts);
    if (counting.length === 0 || proxy.source.bootstrap === undefined) return [];
    const own = counting.flatMap(({ settings }) => entries(settings, 'metrics', 'labels').map(([name]) => name));
    const missing = [...labelsWithRules(), ...own].filter((each) => !proxy.statsTags.includes(each));
    if (missing.length === 0) return [];
    const which = proxy.statsTags.length === 0 ? 'stats_tags' : `stats_tags for ${some(missing)}`;
    const what = `The filter counts requests, and the bootstrap has no ${which}: labels stay in the metrics' names, and no query finds them.`;
    const todo =
      'Paste envoy/stats_tags.yaml into the bootstrap, with a rule for each label of your own, and restart Envoy.';
    return [error(places(counting), what, todo)];
  },
};

export const metricsInCluster: Rule = {
  id: 'metrics-in-cluster',
  check(proxy) {
    return exchangesOf(proxy).flatMap((exchange) => {
      if (!counts(exchange) || exchange.place === 'listener') return [];
      const what = "`metrics` does nothing behind the router: Envoy does not tell a filter there of a request's end.";
      return [warning(exchange.where, what, "Put `metrics` into the listener's filter: it counts whom this one met.")];
    });
  },
};

export const countedTwice: Rule = {
  id: 'counted-twice',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http }) => {
      const counting = http.filters.filter(({ exchange, isOff }) => exchange && counts(exchange) && !isOff);
      if (counting.length < 2) return [];
      const what = `Each request is counted ${counting.length} times: so many filters of this chain have \`metrics\`.`;
      return [warning(counting[1].where, what, 'Leave `metrics` in one of them.')];
    });
  },
};

export const unboundedLogger: Rule = {
  id: 'unbounded-logger',
  check(proxy) {
    return managersOf(proxy).flatMap((at) =>
      list(at.http.config, 'access_log').flatMap((logger) => {
        const any = field(logger, 'typed_config');
        if (typeOf(any) !== 'envoy.extensions.access_loggers.stats.v3.Config') return [];
        if (!JSON.stringify(any).includes('metadata_exchange') || asksForCertificate(at)) return [];
        if (field(any, 'stats_scope', 'max_counters') !== undefined) return [];
        const what =
          'The stats logger has no bound, and each new peer is a new metric: who may connect can fill the memory.';
        const todo =
          'Bound it with `stats_scope` from Envoy 1.39 on, use it behind mTLS, or let the filter count (`metrics`).';
        return [note(`${at.chain.where}, access log`, what, todo)];
      }),
    );
  },
};

export const unnamedTraffic: Rule = {
  id: 'unnamed-traffic',
  check(proxy) {
    const count = moduleStat(proxy, 'traffic_unnamed');
    if (count === 0) return [];
    const what = `${times(count, 'request')} counted with an unknown peer, because there are max_series series already.`;
    const todo =
      'Raise metrics.max_series if the mesh is that large. If it is not, somebody invents peers: use verify_peer.';
    return [warning('', what, todo)];
  },
};
