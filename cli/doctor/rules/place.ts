// SPDX-License-Identifier: Apache-2.0
import type { Exchange } from '../exchange.ts';
import { NATIVE_HEADERS } from '../exchange.ts';
import { entries, field, type Json } from '../json.ts';
import {
  allExchangesOf,
  behindRouter,
  exchangesOf,
  type Filter,
  filtersOf,
  type HttpChain,
  managersOf,
  ownExchange,
  type ProxyModel,
} from '../model.ts';
import { readingsOf } from '../readings.ts';
import { offIn, perRoute } from '../routes.ts';
import { error, type Finding, note, places, type Rule, some, warning } from '../rule.ts';

/** Whether the filter is there, and in its place. */

export const noFilter: Rule = {
  id: 'no-filter',
  check(proxy) {
    const { listeners, services, source } = proxy;
    const isThere = allExchangesOf(proxy).length > 0 || services.length > 0;
    // Where it should come and has not, `not-loaded` or `refused-by-envoy` says so.
    if (isThere || source.refused.length > 0) return [];
    if (filtersOf(proxy).some(({ isAwaited, isStandIn }) => isAwaited || isStandIn)) return [];
    if (!source.isWhole && listeners.length === 0) {
      const what = 'The file has no listener: this proxy gets them from a control plane.';
      return [note('', what, 'Give the admin address of the running proxy, or a file with its /config_dump.')];
    }
    if (hasProxyProtocol(proxy)) {
      const what = 'There is no filter. The PROXY protocol tells who the client of a connection is, with limits.';
      return [note('', what, 'envoy/proxy-protocol/README.md has the limits. The filter does more: docs/tcp.md.')];
    }
    const what =
      'No listener and no cluster has the filter: this proxy neither reads nor tells who is on the other side.';
    const todo =
      'Put it first among the http_filters of each listener. If it is there already, its update may be refused.';
    return [error('', what, todo)];
  },
};

/** Whether connections carry fields of the PROXY protocol, which needs no module. */
const hasProxyProtocol = ({ listeners, clusters }: ProxyModel) =>
  [...listeners, ...clusters].some(({ config }) =>
    /"(proxy_protocol_tlvs|added_tlvs|tlv_type)"/.test(JSON.stringify(config)),
  );

export const listenerWithoutFilter: Rule = {
  id: 'listener-without-filter',
  check(proxy) {
    if (exchangesOf(proxy).length === 0) return [];
    const learnsBehind = ({ http, listener }: HttpChain) =>
      listener.direction !== 'INBOUND' && behindRouter(proxy, http).length > 0;
    const without = managersOf(proxy).filter((each) => !hasFilter(each) && !learnsBehind(each));
    const facing = without.filter(({ listener }) => listener.direction);
    const others = without.filter(({ listener }) => !listener.direction);
    const findings: Finding[] = facing.map(({ chain, listener }) => {
      const side = listener.direction === 'INBOUND' ? 'Clients' : 'Servers';
      const what = `${side} of this listener stay unknown: it has no filter, though others of this proxy have.`;
      return warning(chain.where, what, 'Put the filter first among its http_filters too.');
    });
    if (others.length > 0) {
      const what = 'These listeners have no filter, and no traffic_direction either: nobody is known there.';
      const todo = 'If they only serve probes or statistics, that is right. Otherwise give them both.';
      findings.push(note(places(others.map(({ chain }) => chain)), what, todo));
    }
    return findings;
  },
};

const hasFilter = ({ http }: HttpChain) =>
  http.filters.some(({ exchange, isAwaited, isStandIn }) => exchange || isAwaited || isStandIn);

/** Filters that answer requests by themselves, and what they are called. */
const ANSWERS: [RegExp, string][] = [
  [/\.rbac\./, 'RBAC'],
  [/\.ext_authz\./, 'ext_authz'],
  [/\.jwt_authn\./, 'jwt_authn'],
  [/\.(local_)?ratelimit\./, 'the rate limit'],
  [/\.fault\./, 'fault'],
  [/\.oauth2\./, 'oauth2'],
  [/\.(basic_auth|api_key_auth)\./, 'authentication'],
  [/\.(admission_control|adaptive_concurrency)\./, 'load shedding'],
  [/\.csrf\./, 'csrf'],
];

function answerer({ type, config, isOff }: Filter): string | undefined {
  if (isOff) return undefined;
  const [, name] = ANSWERS.find(([pattern]) => pattern.test(type)) ?? [];
  if (name === 'RBAC' && refusesNobody(config)) return undefined;
  return name;
}

/** Shadow rules take notes, and denials without a policy are none. */
function refusesNobody(config: Json): boolean {
  if (field(config, 'matcher')) return false;
  const rules = field(config, 'rules');
  const denies = field(rules, 'action') === 'DENY' || field(rules, 'action') === 1;
  return rules === undefined || (denies && entries(rules, 'policies').length === 0);
}

export const answersFirst: Rule = {
  id: 'answers-first',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http, chain }) => {
      const own = ownExchange(http);
      const { lists } = own?.exchange ?? {};
      // Of those that ask for the peer here `reads-too-early` says more.
      const readers = readingsOf(http, chain.where).map(({ filter }) => filter);
      if (!own || !lists || lists.downstream_discovery.length + lists.downstream_propagation.length === 0) return [];
      return http.filters.slice(0, own.index).flatMap((filter) => {
        const name = answerer(filter);
        if (!name || readers.includes(filter)) return [];
        const what = `Requests that ${name} answers here have an unknown client, and their client is not told who refused: it stands before the exchange.`;
        return [warning(filter.where, what, 'Move the exchange before it, best to the first place in the chain.')];
      });
    });
  },
};

export const twoExchanges: Rule = {
  id: 'two-exchanges',
  check(proxy) {
    const chains = managersOf(proxy).flatMap(({ http }) => [http.filters, http.upstreamFilters]);
    return [...chains, ...proxy.clusters.map(({ filters }) => filters)].flatMap((filters) => {
      const ours = filters.filter(({ exchange, isOff }) => exchange && usesHeaders(exchange) && !isOff);
      const native = filters.find((each) => each.isNativeExchange && !each.isOff);
      const rival =
        native && ours.find(({ exchange }) => exchange?.headers.some((each) => NATIVE_HEADERS.includes(each)));
      if (native && rival) {
        const what = `Istio's own exchange, ${native.name}, is in the same chain under the same header names: the two take each other's headers away.`;
        const todo =
          'Switch the native one off in istiod (envoy/istio/istiod-values.yaml), or delete `dialect: istio` from the configuration of this one.';
        return [error(rival.where, what, todo)];
      }
      const [first, ...others] = ours;
      return others.flatMap(({ exchange, where }) => {
        if (!exchange?.headers.some((each) => first.exchange?.headers.includes(each))) return [];
        const what = `A second filter of this kind in one chain, under the same header names: the first, ${first.name}, takes the headers away from it.`;
        return [warning(where, what, 'Remove one of them, or give one other header names.')];
      });
    });
  },
};

const usesHeaders = ({ lists }: Exchange) =>
  Object.values(lists).some((methods) => methods.some(({ name }: { name: string }) => name === 'istio_headers'));

export const toldTwice: Rule = {
  id: 'told-twice',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http }) => {
      const own = ownExchange(http);
      const tells = ({ lists }: Exchange) => lists.upstream_propagation.length > 0;
      const behind = behindRouter(proxy, http).find(tells);
      if (!own?.exchange || !behind || !tells(own.exchange)) return [];
      const what = `Every cluster is told who we are by this filter already, so the one behind the router (${behind.where}) cannot keep it from anybody.`;
      const todo = "Take the exchange out of this listener, or its configuration's upstream_propagation.";
      return [warning(own.where, what, todo)];
    });
  },
};

export const switchedOff: Rule = {
  id: 'switched-off',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http }) =>
      http.filters.flatMap(({ exchange, isOff, name, where }): Finding[] => {
        if (!exchange) return [];
        const off = offIn(perRoute(http.routes, name));
        if (isOff) {
          const what = 'The filter is `disabled: true`, and no route switches it on.';
          return [error(where, what, 'Remove `disabled`, or switch it on in typed_per_filter_config.')];
        }
        if (off.length === 0) return [];
        const what = `The filter is switched off for ${some(off)}: peers are unknown there, and their headers pass.`;
        return [note(where, what, 'Remove `disabled: true` from typed_per_filter_config if that is not wanted.')];
      }),
    );
  },
};
