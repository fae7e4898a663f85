// SPDX-License-Identifier: Apache-2.0
import {
  type Chain,
  PEER_EXCHANGE,
  TAKES_PREFACES,
  tcpCluster,
  tcpExchange,
  tcpListener,
  tcpProxy,
} from '../../../testkit/envoy/tcp.ts';
import { type Case, exchange, HEADERS, inbound, type Json, MESH_TLS, NODE, outbound, tlsSocket } from './given.ts';

/** Cases about the exchange on connections, and about the header for the application. */

const KEY = 'wasm.envoy.wasm.metadata_exchange.connection.downstream';

/** Our filter on connections, with FAIL_OPEN. */
function onConnections(config?: Json): Json {
  const filter = tcpExchange(config);
  filter.typed_config.config.failure_policy = 'FAIL_OPEN';
  return filter;
}

const PROXY = tcpProxy({ name: 'main' });

/** A proxy with one listener of TCP, and its cluster `app`. */
function connecting(direction: 'INBOUND' | 'OUTBOUND' | undefined, chain: Chain, cluster = tcpCluster('app', 1)): Json {
  return {
    node: NODE,
    static_resources: { listeners: [tcpListener({ name: 'main', direction, chains: [chain] })], clusters: [cluster] },
  };
}

const before = (filters: Json[]) => connecting('INBOUND', { filters: [...filters, PROXY] });
const towards = (config: Json, cluster: Json) =>
  connecting('OUTBOUND', { filters: [onConnections(config), PROXY] }, cluster);

/** What a side of the exchange over TLS shows, and agrees to. */
const offering = (...protocols: string[]) => ({
  ...MESH_TLS.common_tls_context,
  ...(protocols.length > 0 ? { alpn_protocols: protocols } : {}),
});

const toOffering = (...protocols: string[]) =>
  tcpCluster('app', 1, TAKES_PREFACES, {
    transport_socket: tlsSocket('Upstream', { common_tls_context: offering(...protocols) }),
  });

/** A server's chain over TLS: what it is for, and what it agrees to. */
const negotiated = (config: Json, protocols: string[], agreed: string[]) =>
  connecting('INBOUND', {
    filters: [onConnections(config), PROXY],
    transportSocket: tlsSocket('Downstream', { ...MESH_TLS, common_tls_context: offering(...agreed) }),
    protocols,
  });

/** Envoy's RBAC for connections, by a plain field of the client's. */
const networkRbac = {
  name: 'rbac',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC',
    stat_prefix: 'main',
    rules: {
      policies: {
        one: {
          permissions: [{ any: true }],
          principals: [{ filter_state: { key: `${KEY}.NAMESPACE`, string_match: { exact: 'default' } } }],
        },
      },
    },
  },
};

const PUBLISHING = { publish_fields: ['NAMESPACE'] };
const ASKED = { preface: 'endpoint_metadata' };
const ALWAYS = { preface: 'always' };

/** A server's proxy that tells its application who calls. */
const telling = (config: Json = {}, policy = 'FAIL_CLOSED', action = 'REJECT_REQUEST') =>
  inbound([exchange({ tell_application: {}, ...config }, policy)], {
    manager: { common_http_protocol_options: { headers_with_underscores_action: action } },
  });

const RUNS = { configurations: 3 };

export const CONNECTION_CASES: Case[] = [
  {
    rule: 'no-filter',
    severity: 'error',
    broken: { config: before([]) },
    healthy: { config: before([onConnections()]) },
  },
  {
    rule: 'no-direction',
    severity: 'warning',
    broken: { config: connecting(undefined, { filters: [onConnections(), PROXY] }) },
    healthy: { config: before([onConnections()]) },
  },
  {
    rule: 'preface-for-nobody',
    severity: 'warning',
    broken: { config: towards({}, tcpCluster('app', 1, TAKES_PREFACES)) },
    healthy: { config: towards(ASKED, tcpCluster('app', 1, TAKES_PREFACES)) },
  },
  {
    rule: 'preface-for-nobody',
    severity: 'warning',
    broken: { config: towards(ASKED, tcpCluster('app', 1)) },
    healthy: { config: towards(ASKED, tcpCluster('app', 1, TAKES_PREFACES)) },
  },
  // The mark stands on the cluster, in place of its endpoint.
  {
    rule: 'preface-for-nobody',
    severity: 'warning',
    broken: { config: towards(ASKED, tcpCluster('app', 1, undefined, { metadata: TAKES_PREFACES })) },
    healthy: { config: towards(ASKED, tcpCluster('app', 1, TAKES_PREFACES, { metadata: TAKES_PREFACES })) },
  },
  {
    rule: 'one-side-only',
    severity: 'warning',
    broken: {
      config: before([onConnections()]),
      beside: before([onConnections()]),
      stats: { ...RUNS, preface_not_found: 4 },
    },
    healthy: {
      config: before([onConnections()]),
      beside: towards(ASKED, tcpCluster('app', 1, TAKES_PREFACES)),
      stats: RUNS,
    },
  },
  {
    rule: 'preface-for-all',
    severity: 'warning',
    broken: { config: towards(ALWAYS, tcpCluster('app', 1)) },
    healthy: { config: towards(ALWAYS, toOffering(PEER_EXCHANGE, 'istio')) },
  },
  {
    rule: 'preface-for-all',
    severity: 'warning',
    broken: { config: before([onConnections(ALWAYS)]) },
    healthy: { config: negotiated(ALWAYS, [PEER_EXCHANGE], [PEER_EXCHANGE]) },
  },
  {
    rule: 'preface-protocol',
    severity: 'error',
    broken: { config: negotiated({}, [PEER_EXCHANGE], ['istio']) },
    healthy: { config: negotiated({}, [PEER_EXCHANGE], [PEER_EXCHANGE]) },
  },
  {
    rule: 'preface-protocol',
    severity: 'warning',
    broken: { config: towards(ASKED, toOffering('istio')) },
    healthy: { config: towards(ASKED, toOffering(PEER_EXCHANGE)) },
  },
  {
    rule: 'reads-too-early',
    severity: 'error',
    broken: { config: before([networkRbac, onConnections(PUBLISHING)]) },
    healthy: { config: before([onConnections(PUBLISHING), networkRbac]) },
  },
  {
    rule: 'not-published',
    severity: 'error',
    broken: { config: before([onConnections(), networkRbac]) },
    healthy: { config: before([onConnections(PUBLISHING), networkRbac]) },
  },
  {
    rule: 'verify-without-certificates',
    severity: 'warning',
    broken: { config: before([onConnections({ verify_peer: { mode: 'enforce' } })]) },
    healthy: { config: negotiated({ verify_peer: { mode: 'enforce' } }, [PEER_EXCHANGE], [PEER_EXCHANGE]) },
  },
  {
    rule: 'preface-refused',
    severity: 'warning',
    broken: { config: before([onConnections()]), stats: { ...RUNS, preface_found: 1, preface_refused: 2 } },
    healthy: { config: before([onConnections()]), stats: { ...RUNS, preface_found: 1 } },
  },
  {
    rule: 'preface-refused',
    severity: 'warning',
    broken: { config: before([onConnections()]), stats: { ...RUNS, preface_found: 1, preface_stalled: 2 } },
    healthy: { config: before([onConnections()]), stats: { ...RUNS, preface_found: 1 } },
  },
  {
    rule: 'no-preface',
    severity: 'warning',
    broken: { config: before([onConnections()]), stats: { ...RUNS, preface_not_found: 4 } },
    healthy: { config: before([onConnections()]), stats: { ...RUNS, preface_not_found: 4, preface_found: 1 } },
  },
  {
    rule: 'application-not-told',
    severity: 'warning',
    broken: { config: telling({ downstream_propagation: HEADERS }) },
    healthy: { config: telling() },
  },
  {
    rule: 'application-told-open',
    severity: 'warning',
    broken: { config: telling({}, 'FAIL_OPEN') },
    healthy: { config: outbound([exchange({ tell_application: {} })]) },
  },
  {
    rule: 'application-underscores',
    severity: 'note',
    broken: { config: telling({}, 'FAIL_CLOSED', 'ALLOW') },
    healthy: { config: telling() },
  },
];
