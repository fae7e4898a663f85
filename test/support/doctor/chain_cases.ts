// SPDX-License-Identifier: Apache-2.0
import { bridge, lua } from '../../../testkit/envoy/config.ts';
import {
  BRIDGE,
  BY_FILTER_STATE,
  BY_METADATA,
  type Case,
  CHOOSE_AGAIN,
  exchange,
  HEADERS,
  inbound,
  type Json,
  listening,
  logging,
  NODE,
  outbound,
  ROUTE,
  rbac,
  UPSTREAM,
} from './given.ts';

/** Cases about filters, their order, and the direction in which a listener looks. */

const KEY = 'envoy.wasm.metadata_exchange';

/** Two listeners in one proxy. */
function both(first: Json, second: Json): Json {
  const added = structuredClone(second.static_resources.listeners[0]);
  const config = structuredClone(first);
  config.static_resources.listeners.push({ ...added, name: 'second' });
  return config;
}

const routeTo = (disabled: boolean) => ({
  ...ROUTE,
  typed_per_filter_config: {
    metadata_exchange: {
      '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig',
      disabled,
      ...(disabled ? {} : { config: {} }),
    },
  },
});

const byMetadata = {
  match: {
    prefix: '/',
    dynamic_metadata: [
      { filter: `${KEY}.downstream`, path: [{ key: 'NAME' }], value: { string_match: { exact: 'productpage' } } },
    ],
  },
  route: { cluster: 'app' },
};

/** Istio's own exchange. */
const native = {
  name: 'envoy.filters.http.peer_metadata',
  typed_config: {
    '@type': 'type.googleapis.com/io.istio.http.peer_metadata.Config',
    downstream_discovery: HEADERS,
    downstream_propagation: HEADERS,
  },
};

const plain = (field: string) => `%FILTER_STATE(wasm.${KEY}.downstream.${field}:PLAIN)%`;

/** A Lua filter that makes a response header of the server's id. */
const serverInHeader = () =>
  lua('server_in_header', {
    inline_string: `function envoy_on_response(handle)
      local id = handle:streamInfo():filterState():get("wasm.${KEY}.upstream_id")
      if id then handle:headers():add("x-server", id) end
    end`,
  });

export const CHAIN_CASES: Case[] = [
  {
    rule: 'no-filter',
    severity: 'error',
    broken: { config: inbound([]) },
    healthy: { config: inbound([exchange()]) },
  },
  {
    rule: 'listener-without-filter',
    severity: 'warning',
    broken: { config: both(inbound([exchange()]), outbound([])) },
    healthy: { config: both(inbound([exchange()]), outbound([exchange()])) },
  },
  {
    rule: 'switched-off',
    severity: 'error',
    broken: { config: inbound([{ ...exchange(), disabled: true }]) },
    healthy: { config: inbound([exchange()]) },
  },
  {
    rule: 'switched-off',
    severity: 'note',
    broken: { config: inbound([exchange()], { routes: [{ ...routeTo(true), name: 'probes' }, ROUTE] }) },
    healthy: { config: inbound([exchange()]) },
  },
  {
    rule: 'answers-first',
    severity: 'warning',
    broken: { config: inbound([rbac(), exchange()]) },
    healthy: { config: inbound([exchange(), rbac()]) },
  },
  {
    rule: 'two-exchanges',
    severity: 'warning',
    broken: { config: inbound([exchange(), exchange({}, 'FAIL_OPEN', 'metadata_exchange_2')]) },
    healthy: {
      config: inbound([exchange(), exchange({ dialect: 'istio' }, 'FAIL_OPEN', 'metadata_exchange_2')]),
    },
  },
  {
    // Stock Envoy does not have the native filter: Istio's proxies do.
    rule: 'two-exchanges',
    severity: 'error',
    isRefused: true,
    broken: { config: inbound([native, exchange({ dialect: 'istio' })]) },
    healthy: { config: inbound([native, exchange()]) },
  },
  {
    rule: 'told-twice',
    severity: 'warning',
    broken: { config: outbound([exchange()], { upstreamFilters: [exchange(UPSTREAM)] }) },
    healthy: { config: outbound([], { upstreamFilters: [exchange(UPSTREAM)] }) },
  },
  {
    rule: 'no-direction',
    severity: 'warning',
    broken: { config: listening(undefined, [exchange()]) },
    healthy: {
      config: listening(undefined, [
        exchange({ ...UPSTREAM, downstream_discovery: HEADERS, downstream_propagation: HEADERS }),
      ]),
    },
  },
  {
    rule: 'one-sided-waypoint',
    severity: 'warning',
    broken: { config: inbound([exchange()], { node: { ...NODE, id: 'waypoint~10.0.0.2~w.default~default' } }) },
    healthy: {
      config: listening(undefined, [exchange()], { node: { ...NODE, id: 'waypoint~10.0.0.2~w.default~default' } }),
    },
  },
  {
    rule: 'switched-off-by-lists',
    severity: 'error',
    broken: { config: inbound([exchange({ downstream_discovery: [] })]) },
    healthy: { config: inbound([exchange()]) },
  },
  {
    rule: 'switched-off-by-lists',
    severity: 'warning',
    broken: { config: inbound([exchange({ downstream_propagation: HEADERS })]) },
    healthy: { config: inbound([exchange({ downstream_discovery: HEADERS, downstream_propagation: HEADERS })]) },
  },
  {
    rule: 'switched-off-by-lists',
    severity: 'warning',
    broken: { config: outbound([exchange({ upstream_propagation: HEADERS })]) },
    healthy: { config: outbound([exchange(UPSTREAM)]) },
  },
  {
    rule: 'switched-off-by-lists',
    severity: 'warning',
    broken: { config: outbound([exchange({ upstream_discovery: HEADERS })]) },
    healthy: { config: outbound([exchange(UPSTREAM)]) },
  },
  {
    rule: 'bridge-on-wrong-side',
    severity: 'error',
    broken: { config: inbound([BRIDGE, exchange()]) },
    healthy: { config: inbound([exchange(), BRIDGE]) },
  },
  {
    rule: 'bridge-on-wrong-side',
    severity: 'error',
    broken: { config: outbound([bridge('bridge', 'downstream'), exchange()]) },
    healthy: { config: outbound([bridge('bridge', 'upstream'), exchange()]) },
  },
  {
    rule: 'no-bridge',
    severity: 'error',
    broken: { config: inbound([exchange()], { manager: logging(`%DYNAMIC_METADATA(${KEY}.downstream:NAME)%`) }) },
    healthy: {
      config: inbound([exchange(), BRIDGE], { manager: logging(`%DYNAMIC_METADATA(${KEY}.downstream:NAME)%`) }),
    },
  },
  {
    rule: 'reads-too-early',
    severity: 'error',
    broken: { config: inbound([rbac(BY_FILTER_STATE), exchange()]) },
    healthy: { config: inbound([exchange(), rbac(BY_FILTER_STATE)]) },
  },
  {
    rule: 'reads-too-early',
    severity: 'error',
    broken: { config: inbound([exchange(), rbac(BY_METADATA), BRIDGE]) },
    healthy: { config: inbound([exchange(), BRIDGE, rbac(BY_METADATA)]) },
  },
  {
    rule: 'reads-too-early',
    severity: 'error',
    broken: { config: outbound([exchange(), serverInHeader()]) },
    healthy: { config: outbound([serverInHeader(), exchange()]) },
  },
  {
    rule: 'route-too-early',
    severity: 'error',
    broken: { config: inbound([exchange(), BRIDGE], { routes: [byMetadata, ROUTE] }) },
    healthy: { config: inbound([exchange(), BRIDGE, CHOOSE_AGAIN], { routes: [byMetadata, ROUTE] }) },
  },
  {
    rule: 'wrong-key',
    severity: 'error',
    broken: { config: inbound([exchange()], { manager: logging(`%FILTER_STATE(${KEY}.downstream_id:PLAIN)%`) }) },
    healthy: { config: inbound([exchange()], { manager: logging(`%FILTER_STATE(wasm.${KEY}.downstream_id:PLAIN)%`) }) },
  },
  {
    rule: 'wrong-key',
    severity: 'error',
    broken: {
      config: inbound([exchange(), BRIDGE], { manager: logging(`%DYNAMIC_METADATA(wasm.${KEY}.downstream:NAME)%`) }),
    },
    healthy: {
      config: inbound([exchange(), BRIDGE], { manager: logging(`%DYNAMIC_METADATA(${KEY}.downstream:NAME)%`) }),
    },
  },
  {
    rule: 'wrong-form',
    severity: 'warning',
    broken: { config: inbound([exchange()], { manager: logging(`%FILTER_STATE(wasm.${KEY}.downstream:PLAIN)%`) }) },
    healthy: { config: inbound([exchange()], { manager: logging(`%FILTER_STATE(wasm.${KEY}.downstream:TYPED)%`) }) },
  },
  {
    rule: 'not-published',
    severity: 'error',
    broken: { config: inbound([exchange()], { manager: logging(plain('NAMESPACE')) }) },
    healthy: {
      config: inbound([exchange({ publish_fields: ['NAMESPACE'] })], { manager: logging(plain('NAMESPACE')) }),
    },
  },
  {
    rule: 'asks-for-nobody',
    severity: 'warning',
    broken: { config: inbound([exchange()], { manager: logging(`%FILTER_STATE(wasm.${KEY}.upstream:TYPED)%`) }) },
    healthy: { config: outbound([exchange()], { manager: logging(`%FILTER_STATE(wasm.${KEY}.upstream:TYPED)%`) }) },
  },
];
