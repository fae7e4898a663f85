// SPDX-License-Identifier: Apache-2.0
import type { Exchange } from '../exchange.ts';
import { has } from '../exchange.ts';
import { type Json, texts } from '../json.ts';
import { type Cluster, exchangesOf, managersOf, ownExchange, type ProxyModel } from '../model.ts';
import { error, type Finding, note, type Rule, some, warning } from '../rule.ts';
import { CHOOSES_AGAIN } from './bridge.ts';

/** What leaves the mesh. */

const BEHIND = 'Tell behind the router, where it is known to which cluster a request goes: envoy/upstream-filter.';

const namesOf = (clusters: Cluster[]) => some(clusters.map(({ name }) => name));

/** Clusters outside that an exchange at a listener or the router tells; a cluster's own chain stands in its place. */
function toldOutside(proxy: ProxyModel, { lists, settings, place }: Exchange): Cluster[] {
  const methods = lists.upstream_propagation;
  if (methods.length === 0 || methods.every(({ skipsExternal }) => skipsExternal)) return [];
  return proxy.clusters.filter(({ isExternal, isOnlyWithoutExchange, filters }) => {
    if (!isExternal || (place === 'router' && filters.length > 0)) return false;
    // istiod's mark for servers that speak HBONE is obeyed in Istio's dialect.
    return !(isOnlyWithoutExchange && settings.dialect === 'istio' && !has(methods, 'baggage'));
  });
}

export const tellsOutside: Rule = {
  id: 'tells-outside',
  check(proxy) {
    return exchangesOf(proxy).flatMap((exchange): Finding[] => {
      if (exchange.place === 'cluster') return [];
      const outside = toldOutside(proxy, exchange);
      if (outside.length === 0) return [];
      const what = `Servers outside of the mesh are told who we are: ${namesOf(outside)}.`;
      const skip = 'Set `"skip_external_clusters": true` in upstream_propagation.';
      return [
        warning(
          exchange.where,
          what,
          exchange.place === 'router' ? skip : `${BEHIND} ${skip.replace('Set', 'Or set')}`,
        ),
      ];
    });
  },
};

export const externalClusterTells: Rule = {
  id: 'external-cluster-tells',
  check(proxy) {
    return proxy.clusters.flatMap(({ isExternal, filters }) =>
      filters.flatMap(({ exchange, isOff }) => {
        if (!isExternal || isOff || !exchange?.lists.upstream_propagation.some((each) => !each.skipsExternal))
          return [];
        const what = 'A cluster outside of the mesh has the exchange in its own chain, and is told who we are.';
        return [error(exchange.where, what, "Take the filter out of this cluster's chain.")];
      }),
    );
  },
};

export const toldByListener: Rule = {
  id: 'told-by-listener',
  check(proxy) {
    const outside = proxy.clusters.filter(({ isExternal }) => isExternal);
    if (outside.length === 0) return [];
    return managersOf(proxy).flatMap(({ http }): Finding[] => {
      const own = ownExchange(http);
      if (!own?.exchange?.lists.upstream_propagation.some(({ skipsExternal }) => skipsExternal)) return [];
      const later = http.filters
        .slice(own.index + 1)
        .filter(({ config }) => CHOOSES_AGAIN.test(JSON.stringify(config)));
      const mirrors = JSON.stringify(http.routes).includes('request_mirror_policies');
      const what = `skip_external_clusters goes by the cluster that is chosen when this filter runs, and ${namesOf(outside)} may be chosen later`;
      if (later.length > 0) {
        const by = `${what}: ${some(later.map(({ name }) => name))} has the route chosen again.`;
        return [warning(own.where, by, BEHIND)];
      }
      if (mirrors) return [warning(own.where, `${what}: routes mirror requests to other clusters.`, BEHIND)];
      return [note(own.where, `${what}, by a filter after it.`, BEHIND)];
    });
  },
};

export const unmarkedAggregate: Rule = {
  id: 'unmarked-aggregate',
  check(proxy) {
    if (!exchangesOf(proxy).some(({ lists }) => lists.upstream_propagation.length > 0)) return [];
    const outside = new Set(proxy.clusters.filter(({ isExternal }) => isExternal).map(({ name }) => name));
    return proxy.clusters.flatMap(({ members, isExternal, where }) => {
      const found = members.filter((each) => outside.has(each));
      if (isExternal || found.length === 0) return [];
      const what = `This aggregate has a member outside of the mesh, ${some(found)}, which is told who we are: filters see the aggregate's metadata, not the member's.`;
      const todo = 'Mark the aggregate: `metadata: {filter_metadata: {istio: {external: true}}}`.';
      return [warning(where, what, todo)];
    });
  },
};

export const claimsPass: Rule = {
  id: 'claims-pass',
  check(proxy) {
    const chained = proxy.clusters.filter(({ filters }) => filters.some(({ exchange }) => exchange));
    const bare = proxy.clusters.filter((each) => !chained.includes(each) && !each.members.length);
    if (chained.length === 0 || bare.length === 0) return [];
    const headers = chained.flatMap(({ filters }) => filters.flatMap(({ exchange }) => exchange?.headers ?? []));
    return managersOf(proxy).flatMap(({ chain, listener, http }) => {
      if (listener.direction === 'INBOUND' || http.filters.some(({ exchange }) => exchange)) return [];
      if (http.upstreamFilters.some(({ exchange }) => exchange)) return [];
      const routes = JSON.stringify(http.routes).toLowerCase();
      const targets = bare.filter(({ name }) => routes.includes(`"${name.toLowerCase()}"`));
      if (targets.length === 0 || !routes.includes('"cluster"')) return [];
      if (headers.every((each) => removes(http.routes, each))) return [];
      const what = `What the application claims to be passes on to clusters without the filter: ${namesOf(targets)}.`;
      const todo = `Remove both headers in the route configuration: \`request_headers_to_remove: [${[...new Set(headers)].join(', ')}]\`.`;
      return [warning(chain.where, what, todo)];
    });
  },
};

/** Whether a route configuration removes a header from requests. */
function removes(routes: Json, header: string): boolean {
  if (routes === null || typeof routes !== 'object') return false;
  const removed = texts(routes, 'request_headers_to_remove').map((each) => each.toLowerCase());
  return removed.includes(header) || Object.values(routes).some((each) => removes(each, header));
}
