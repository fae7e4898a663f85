// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { MODULE, ROOT } from './binary.ts';
import { anyPort, type Bootstrap, localPort } from './process.ts';

/**
 * Envoy configurations put together from a few words, for tests. The ones that users read are the YAML files
 * under envoy/.
 */

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
type Json = any;

const TYPE = 'type.googleapis.com';
const HTTP_MANAGER = `${TYPE}/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager`;
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const PEERS = 'wasm.envoy.wasm.metadata_exchange';

export interface Listener {
  name: string;
  /** Unspecified unless told. */
  direction?: 'INBOUND' | 'OUTBOUND';
  /** HTTP filters before the router. */
  filters: Json[];
  /** Routes of the one virtual host; everything goes to the cluster `app` unless told. */
  routes?: Json[];
  /** More fields of the connection manager. */
  manager?: Json;
  /** More fields of the access log's lines. */
  log?: Record<string, Json>;
}

export interface ProxyOptions {
  node?: Json;
  listeners: Listener[];
  /** Clusters: the port of this machine that each goes to, and more fields. */
  clusters?: Record<string, Cluster>;
}

/** A cluster with one host. */
export type Cluster = {
  port: number;
  /** One of this machine's addresses; 127.0.0.1 unless told. */
  address?: string;
  /** It speaks HTTP/2; with these options, if there are any. */
  http2?: boolean | Json;
} & Json;

/** A bootstrap configuration. */
export function proxy(options: ProxyOptions): Bootstrap {
  return {
    node: { id: 'test-node', cluster: 'test-cluster', ...options.node },
    static_resources: {
      listeners: options.listeners.map(httpListener),
      clusters: Object.entries(options.clusters ?? {}).map(([name, cluster]) => httpCluster(name, cluster)),
    },
  };
}

/** One listener that speaks HTTP/1.1 and HTTP/2, and writes what it learned about peers to the access log. */
export function httpListener(options: Listener): Json {
  const manager = {
    '@type': HTTP_MANAGER,
    stat_prefix: options.name,
    codec_type: 'AUTO',
    access_log: [peerLog(options.name, options.log)],
    http_filters: [...options.filters, router()],
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          routes: options.routes ?? [{ match: { prefix: '/' }, route: { cluster: 'app' } }],
        },
      ],
    },
    ...options.manager,
  };
  return {
    name: options.name,
    traffic_direction: options.direction ?? 'UNSPECIFIED',
    address: anyPort(),
    filter_chains: [{ filters: [{ name: 'envoy.filters.network.http_connection_manager', typed_config: manager }] }],
  };
}

/** A cluster that speaks HTTP/1.1, or HTTP/2. */
export function httpCluster(name: string, options: Cluster): Json {
  const { port, address, http2, ...more } = options;
  const options2 = http2 === true ? {} : http2;
  const protocol = http2 ? { http2_protocol_options: options2 } : { http_protocol_options: { enable_trailers: true } };
  return {
    name,
    connect_timeout: '5s',
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: localPort(port, address) } }] }],
    },
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: { '@type': `${TYPE}/${HTTP_OPTIONS}`, explicit_http_config: protocol },
    },
    ...more,
  };
}

/** Our filter. The configuration is given as google.protobuf.StringValue, as Istio does. */
export function metadataExchange(config?: Json, name = 'metadata_exchange'): Json {
  const text = typeof config === 'string' ? config : JSON.stringify(config);
  return wasm(name, config === undefined ? undefined : { '@type': `${TYPE}/google.protobuf.StringValue`, value: text });
}

/** A Wasm filter with any configuration message; with our module, unless another one is named. */
export function wasm(name: string, configuration?: Json, module = MODULE): Json {
  return {
    name,
    typed_config: {
      '@type': `${TYPE}/envoy.extensions.filters.http.wasm.v3.Wasm`,
      config: {
        name,
        root_id: name,
        configuration,
        vm_config: { runtime: 'envoy.wasm.runtime.v8', code: { local: { filename: module } } },
      },
    },
  };
}

/** Our bridge to dynamic metadata, for both sides or for one. */
export function bridge(name = 'dynamic_metadata', side?: 'downstream' | 'upstream'): Json {
  const filename = join(ROOT, 'envoy/dynamic_metadata.lua');
  if (!side) return lua(name, { filename });
  return lua(name, { inline_string: `metadata_exchange_side = "${side}" dofile("${filename}")` });
}

/** A Lua filter. */
export function lua(name: string, source: { filename: string } | { inline_string: string }): Json {
  return {
    name,
    typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.lua.v3.Lua`, default_source_code: source },
  };
}

/**
 * A filter of Envoy's own that shows the raw bytes of what a peer sent, in base64, as dynamic metadata `probe`: after
 * our filter for requests, before it for responses.
 */
export function probe(name = 'probe'): Json {
  const show = (side: string) => `
    local raw = handle:streamInfo():filterState():get("${PEERS}.${side}")
    if raw then handle:streamInfo():dynamicMetadata():set("probe", "${side}", handle:base64Escape(raw)) end`;
  return lua(name, {
    inline_string: `function envoy_on_request(handle) ${show('downstream')} end
      function envoy_on_response(handle) ${show('upstream')} end`,
  });
}

function router(): Json {
  return { name: 'router', typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.router.v3.Router` } };
}

/** What a listener learned, one JSON line a request: see `testkit/access_log.ts`. */
function peerLog(listener: string, more: Record<string, Json> = {}): Json {
  const side = (name: string) => ({
    struct: `%FILTER_STATE(${PEERS}.${name}:TYPED)%`,
    raw: `%DYNAMIC_METADATA(probe:${name})%`,
    id: `%FILTER_STATE(${PEERS}.${name}_id:PLAIN)%`,
    dynamic: `%DYNAMIC_METADATA(envoy.wasm.metadata_exchange.${name})%`,
  });
  return {
    name: 'peers',
    typed_config: {
      '@type': `${TYPE}/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`,
      log_format: {
        json_format: {
          listener,
          path: '%REQ(:PATH)%',
          status: '%RESPONSE_CODE%',
          downstream: side('downstream'),
          upstream: side('upstream'),
          ...more,
        },
      },
    },
  };
}
