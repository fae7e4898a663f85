// SPDX-License-Identifier: Apache-2.0
import { bridge, type Cluster, lua, metadataExchange, proxy } from '../../../testkit/envoy/config.ts';
import type { Bootstrap } from '../../../testkit/envoy/process.ts';

/** Small configurations for the doctor's rules: what is broken, and the same in order. Envoy takes each of them. */

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
export type Json = any;

/** What the doctor is given: a configuration, and what a running Envoy says beside it. */
export interface Given {
  config: Bootstrap;
  /** The module's counters and gauges, by their names; others of Envoy's by whole names. */
  stats?: Record<string, number>;
  /** Seconds since it started; an hour unless told. */
  uptime?: number;
  /** Another proxy that is asked about at the same time. */
  beside?: Bootstrap;
}

/** A rule, with what it finds and what it is silent about. */
export interface Case {
  rule: string;
  severity: 'error' | 'warning' | 'note';
  broken: Given;
  healthy: Given;
  /** Envoy itself refuses what is broken here, so that no running one can have it. */
  isRefused?: boolean;
}

export const NODE = {
  id: 'sidecar~10.0.0.1~reviews-v1.default~default.svc.cluster.local',
  cluster: 'reviews.default',
  metadata: { 'istio.io/metadata': { NAME: 'reviews-v1', NAMESPACE: 'default', LABELS: { app: 'reviews' } } },
};

export const GATEWAY = { ...NODE, id: 'router~10.0.0.9~gateway.default~default.svc.cluster.local' };

const TYPE = 'type.googleapis.com';

/** Our filter, with a failure policy: FAIL_OPEN unless told. */
export function exchange(config?: Json, policy: string | undefined = 'FAIL_OPEN', name = 'metadata_exchange'): Json {
  const filter = metadataExchange(config, name);
  if (policy) filter.typed_config.config.failure_policy = policy;
  return filter;
}

export const ROUTE = { match: { prefix: '/' }, route: { cluster: 'app' } };
export const HEADERS = [{ istio_headers: {} }];
export const UPSTREAM = { upstream_discovery: HEADERS, upstream_propagation: HEADERS };

export interface Options {
  node?: Json;
  routes?: Json[];
  /** More fields of the connection manager, of the listener, and of the bootstrap. */
  manager?: Json;
  listener?: Json;
  bootstrap?: Json;
  /** The DownstreamTlsContext's fields: the chain speaks TLS. */
  tls?: Json;
  clusters?: Record<string, Partial<Cluster>>;
  /** Filters of the router. */
  upstreamFilters?: Json[];
}

/** A bootstrap with one listener, and a cluster `app`. */
export function listening(direction: 'INBOUND' | 'OUTBOUND' | undefined, filters: Json[], options: Options = {}) {
  const { node = NODE, routes = [ROUTE], manager, tls, clusters = {}, upstreamFilters } = options;
  const config = proxy({
    node,
    listeners: [{ name: 'main', direction, filters, routes, manager: { access_log: [], ...manager } }],
    clusters: Object.fromEntries(
      Object.entries({ app: {}, ...clusters }).map(([name, more]) => [name, { port: 1, ...more }]),
    ),
  });
  const [listener] = config.static_resources.listeners;
  Object.assign(listener, options.listener);
  const [chain] = listener.filter_chains;
  if (tls) chain.transport_socket = tlsSocket('Downstream', tls);
  if (upstreamFilters) {
    const router = chain.filters[0].typed_config.http_filters.at(-1);
    router.typed_config.upstream_http_filters = [...upstreamFilters, codec];
  }
  return { ...config, ...options.bootstrap };
}

/** Before a server, and before a client. */
export const inbound = (filters: Json[], options?: Options) => listening('INBOUND', filters, options);
export const outbound = (filters: Json[], options?: Options) => listening('OUTBOUND', filters, options);

const codec = {
  name: 'envoy.filters.http.upstream_codec',
  typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec` },
};

const CERTIFICATES = 'build/certificates/mesh';

/** What a proxy of the mesh shows, and how it checks what others show. */
export const MESH_TLS = {
  require_client_certificate: true,
  common_tls_context: {
    tls_certificates: [
      {
        certificate_chain: { filename: `${CERTIFICATES}/bookinfo-reviews.crt` },
        private_key: { filename: `${CERTIFICATES}/bookinfo-reviews.key` },
      },
    ],
    validation_context: { trusted_ca: { filename: `${CERTIFICATES}/root.crt` } },
  },
};

export const tlsSocket = (side: 'Upstream' | 'Downstream', context: Json) => ({
  name: 'envoy.transport_sockets.tls',
  typed_config: { '@type': `${TYPE}/envoy.extensions.transport_sockets.tls.v3.${side}TlsContext`, ...context },
});

/** A cluster's own HTTP filters. */
export const chainOf = (filters: Json[]) => ({
  typed_extension_protocol_options: {
    'envoy.extensions.upstreams.http.v3.HttpProtocolOptions': {
      '@type': `${TYPE}/envoy.extensions.upstreams.http.v3.HttpProtocolOptions`,
      explicit_http_config: { http_protocol_options: {} },
      http_filters: [...filters, codec],
    },
  },
});

export const EXTERNAL = { metadata: { filter_metadata: { istio: { external: true } } } };

/** RBAC with one policy, by these principals. */
export const rbac = (principal: Json = { any: true }, rules: Json = {}) => ({
  name: 'rbac',
  typed_config: {
    '@type': `${TYPE}/envoy.extensions.filters.http.rbac.v3.RBAC`,
    rules: { ...rules, policies: { one: { permissions: [{ any: true }], principals: [principal] } } },
  },
});

const KEY = 'envoy.wasm.metadata_exchange.downstream';

/** The client's namespace in dynamic metadata, and its id in filter state, as principals of RBAC. */
export const BY_METADATA = {
  sourced_metadata: {
    metadata_matcher: { filter: KEY, path: [{ key: 'NAMESPACE' }], value: { string_match: { exact: 'default' } } },
  },
};
export const BY_FILTER_STATE = { filter_state: { key: `wasm.${KEY}_id`, string_match: { exact: 'somebody' } } };

/** An access log with one field. */
export const logging = (format: string) => ({
  access_log: [
    {
      name: 'log',
      typed_config: {
        '@type': `${TYPE}/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`,
        log_format: { json_format: { field: format } },
      },
    },
  ],
});

/** A filter that has the route chosen again. */
export const CHOOSE_AGAIN = lua('choose_again', {
  inline_string: 'function envoy_on_request(handle) handle:clearRouteCache() end',
});

export const BRIDGE = bridge();
