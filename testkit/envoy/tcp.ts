// SPDX-License-Identifier: Apache-2.0
import { metadataExchange } from './config.ts';
import { anyPort, localPort } from './process.ts';

/** Envoy configurations for TCP put together from a few words: see config.ts for HTTP. */

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
type Json = any;

const TYPE = 'type.googleapis.com';
const NETWORK_WASM = `${TYPE}/envoy.extensions.filters.network.wasm.v3.Wasm`;
const TCP_PROXY = `${TYPE}/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`;
const TLS_INSPECTOR = `${TYPE}/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector`;
const CONNECTION = 'wasm.envoy.wasm.metadata_exchange.connection';

/** What both sides of an exchange over TCP negotiate, as in Istio. */
export const PEER_EXCHANGE = 'istio-peer-exchange';

/** Our filter among the network filters of a listener. */
export function tcpExchange(config?: Json, name = 'metadata_exchange'): Json {
  const { typed_config } = metadataExchange(config, name);
  return { name, typed_config: { ...typed_config, '@type': NETWORK_WASM } };
}

/** Envoy's TCP proxy, which writes what was learned about peers to the access log: see `testkit/connection_log.ts`. */
export function tcpProxy(options: { name: string; cluster?: string; proxy?: Json; log?: Record<string, Json> }): Json {
  return {
    name: 'envoy.filters.network.tcp_proxy',
    typed_config: {
      '@type': TCP_PROXY,
      stat_prefix: options.name,
      cluster: options.cluster ?? 'app',
      access_log: [connectionLog(options.name, options.log)],
      ...options.proxy,
    },
  };
}

/** A chain of network filters; over TLS, where it has a transport socket, and then for these protocols only. */
export interface Chain {
  name?: string;
  filters: Json[];
  transportSocket?: Json;
  protocols?: string[];
}

export interface TcpListener {
  name: string;
  /** Unspecified unless told. */
  direction?: 'INBOUND' | 'OUTBOUND';
  chains: Chain[];
}

/** A listener of TCP. Where a chain asks for protocols, Envoy looks into the handshake for them. */
export function tcpListener({ name, direction, chains }: TcpListener): Json {
  const looks = chains.some(({ protocols }) => protocols);
  const inspector = { name: 'envoy.filters.listener.tls_inspector', typed_config: { '@type': TLS_INSPECTOR } };
  return {
    name,
    traffic_direction: direction ?? 'UNSPECIFIED',
    address: anyPort(),
    listener_filters: looks ? [inspector] : [],
    filter_chains: chains.map((chain, i) => ({
      name: chain.name ?? `chain-${i}`,
      filters: chain.filters,
      transport_socket: chain.transportSocket,
      // Envoy looks at transport protocols first: a chain without a condition would not be found after one for TLS.
      filter_chain_match:
        looks && chain.transportSocket
          ? { transport_protocol: 'tls', application_protocols: chain.protocols }
          : undefined,
    })),
  };
}

/** What a control plane says of a server that understands prefaces. */
export const TAKES_PREFACES = { filter_metadata: { 'envoy.wasm.metadata_exchange': { preface: true } } };

/** A cluster of one host, with metadata of its endpoint. */
export function tcpCluster(name: string, port: number, metadata?: Json, more: Json = {}): Json {
  const endpoint = { endpoint: { address: localPort(port) }, metadata };
  return {
    name,
    connect_timeout: '5s',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] },
    ...more,
  };
}

/** What was learned of a connection, as JSON. */
function connectionLog(listener: string, more: Record<string, Json> = {}): Json {
  const side = (name: string) => ({
    struct: `%FILTER_STATE(${CONNECTION}.${name}:TYPED)%`,
    id: `%FILTER_STATE(${CONNECTION}.${name}_id:PLAIN)%`,
    verified: `%FILTER_STATE(${CONNECTION}.${name}_verified:PLAIN)%`,
  });
  return {
    name: 'connections',
    typed_config: {
      '@type': `${TYPE}/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`,
      log_format: {
        json_format: {
          connection: listener,
          chain: '%FILTER_CHAIN_NAME%',
          downstream: side('downstream'),
          upstream: side('upstream'),
          received: '%BYTES_RECEIVED%',
          sent: '%BYTES_SENT%',
          flags: '%RESPONSE_FLAGS%',
          ...more,
        },
      },
    },
  };
}
