// SPDX-License-Identifier: Apache-2.0
import {
  BY_FILTER_STATE,
  type Case,
  CHOOSE_AGAIN,
  chainOf,
  EXTERNAL,
  exchange,
  GATEWAY,
  HEADERS,
  inbound,
  type Json,
  MESH_TLS,
  outbound,
  ROUTE,
  rbac,
  tlsSocket,
  UPSTREAM,
} from './given.ts';

/** Cases about strangers, failures, what leaves the mesh, and proof. */

const SKIPPING = {
  upstream_discovery: HEADERS,
  upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
};

const ENFORCED = { verify_peer: { mode: 'enforce' } };

const calledBy = {
  header: { key: 'x-called-by', value: '%FILTER_STATE(wasm.envoy.wasm.metadata_exchange.downstream_id:PLAIN)%' },
};

const { validation_context, ...withoutValidation } = MESH_TLS.common_tls_context;

/** A cluster that chooses from others. */
const aggregate = (...clusters: string[]): Json => ({
  load_assignment: undefined,
  lb_policy: 'CLUSTER_PROVIDED',
  cluster_type: {
    name: 'envoy.clusters.aggregate',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig',
      clusters,
    },
  },
});

const asksVerdict = {
  filter_state: {
    key: 'wasm.envoy.wasm.metadata_exchange.downstream_verified',
    string_match: { exact: 'verified' },
  },
};

const BOTH_ASKED = { and_ids: { ids: [asksVerdict, BY_FILTER_STATE] } };

/** A route to each of two clusters. */
const ROUTES = [{ match: { prefix: '/outside' }, route: { cluster: 'outside' } }, ROUTE];

const removing = { request_headers_to_remove: ['x-istio-peer-metadata', 'x-istio-peer-id'] };

export const SAFETY_CASES: Case[] = [
  {
    rule: 'believes-strangers',
    severity: 'error',
    broken: { config: inbound([exchange({}, 'FAIL_CLOSED')], { node: GATEWAY }) },
    healthy: { config: outbound([exchange(UPSTREAM, 'FAIL_CLOSED')], { node: GATEWAY }) },
  },
  {
    rule: 'believes-strangers',
    severity: 'warning',
    broken: { config: inbound([exchange()], { tls: { ...MESH_TLS, require_client_certificate: false } }) },
    healthy: { config: inbound([exchange()], { tls: MESH_TLS }) },
  },
  {
    rule: 'tells-strangers',
    severity: 'error',
    broken: {
      config: outbound([exchange({ ...UPSTREAM, downstream_propagation: HEADERS }, 'FAIL_CLOSED')], { node: GATEWAY }),
    },
    healthy: { config: outbound([exchange(UPSTREAM, 'FAIL_CLOSED')], { node: GATEWAY }) },
  },
  {
    rule: 'forged-header',
    severity: 'warning',
    broken: { config: inbound([exchange()], { routes: [{ ...ROUTE, request_headers_to_add: [calledBy] }] }) },
    healthy: {
      config: inbound([exchange()], {
        routes: [{ ...ROUTE, request_headers_to_remove: ['X-Called-By'], request_headers_to_add: [calledBy] }],
      }),
    },
  },
  {
    rule: 'no-failure-policy',
    severity: 'warning',
    broken: { config: inbound([exchange({}, '')]) },
    healthy: { config: inbound([exchange({}, 'FAIL_CLOSED')]) },
  },
  {
    rule: 'open-gateway',
    severity: 'warning',
    broken: { config: outbound([exchange(UPSTREAM)], { node: GATEWAY }) },
    healthy: { config: outbound([exchange(UPSTREAM, 'FAIL_CLOSED')], { node: GATEWAY }) },
  },
  {
    rule: 'open-deny-rule',
    severity: 'warning',
    broken: { config: inbound([exchange(), rbac(BY_FILTER_STATE, { action: 'DENY' })]) },
    healthy: { config: inbound([exchange({}, 'FAIL_CLOSED'), rbac(BY_FILTER_STATE, { action: 'DENY' })]) },
  },
  {
    rule: 'tells-outside',
    severity: 'warning',
    broken: { config: outbound([exchange()], { clusters: { outside: EXTERNAL } }) },
    healthy: { config: outbound([], { clusters: { outside: EXTERNAL }, upstreamFilters: [exchange(SKIPPING)] }) },
  },
  {
    rule: 'tells-outside',
    severity: 'warning',
    broken: { config: outbound([], { clusters: { outside: EXTERNAL }, upstreamFilters: [exchange(UPSTREAM)] }) },
    healthy: { config: outbound([], { clusters: { outside: EXTERNAL }, upstreamFilters: [exchange(SKIPPING)] }) },
  },
  {
    rule: 'external-cluster-tells',
    severity: 'error',
    broken: { config: outbound([], { clusters: { app: { ...EXTERNAL, ...chainOf([exchange(UPSTREAM)]) } } }) },
    healthy: { config: outbound([], { clusters: { app: chainOf([exchange(UPSTREAM)]) } }) },
  },
  {
    rule: 'told-by-listener',
    severity: 'warning',
    broken: { config: outbound([exchange(SKIPPING), CHOOSE_AGAIN], { clusters: { outside: EXTERNAL } }) },
    healthy: { config: outbound([], { clusters: { outside: EXTERNAL }, upstreamFilters: [exchange(SKIPPING)] }) },
  },
  {
    rule: 'told-by-listener',
    severity: 'note',
    broken: { config: outbound([exchange(SKIPPING)], { clusters: { outside: EXTERNAL } }) },
    healthy: { config: outbound([exchange(SKIPPING)]) },
  },
  {
    rule: 'unmarked-aggregate',
    severity: 'warning',
    broken: {
      config: outbound([], {
        clusters: { outside: EXTERNAL, all: aggregate('app', 'outside') },
        upstreamFilters: [exchange(SKIPPING)],
      }),
    },
    healthy: {
      config: outbound([], {
        clusters: { outside: EXTERNAL, all: { ...aggregate('app', 'outside'), ...EXTERNAL } },
        upstreamFilters: [exchange(SKIPPING)],
      }),
    },
  },
  {
    rule: 'claims-pass',
    severity: 'warning',
    broken: {
      config: outbound([], { routes: ROUTES, clusters: { app: chainOf([exchange(UPSTREAM)]), outside: {} } }),
    },
    healthy: {
      config: outbound([], {
        routes: ROUTES.map((route) => ({ ...route, ...removing })),
        clusters: { app: chainOf([exchange(UPSTREAM)]), outside: {} },
      }),
    },
  },
  {
    rule: 'verify-without-certificates',
    severity: 'warning',
    broken: { config: inbound([exchange(ENFORCED)]) },
    healthy: { config: inbound([exchange(ENFORCED)], { tls: MESH_TLS }) },
  },
  {
    rule: 'verify-without-certificates',
    severity: 'error',
    broken: { config: outbound([exchange({ verify_peer: { mode: 'require' } })]) },
    healthy: {
      config: outbound([exchange({ verify_peer: { mode: 'require' } })], {
        clusters: {
          app: { transport_socket: tlsSocket('Upstream', { common_tls_context: MESH_TLS.common_tls_context }) },
        },
      }),
    },
  },
  {
    rule: 'anything-verifies',
    severity: 'error',
    broken: {
      config: inbound([exchange(ENFORCED)], {
        tls: {
          ...MESH_TLS,
          common_tls_context: {
            ...MESH_TLS.common_tls_context,
            validation_context: { ...validation_context, trust_chain_verification: 'ACCEPT_UNTRUSTED' },
          },
        },
      }),
    },
    healthy: { config: inbound([exchange(ENFORCED)], { tls: MESH_TLS }) },
  },
  {
    rule: 'anything-verifies',
    severity: 'error',
    broken: {
      config: outbound([exchange(ENFORCED)], {
        clusters: { app: { transport_socket: tlsSocket('Upstream', { common_tls_context: withoutValidation }) } },
      }),
    },
    healthy: {
      config: outbound([exchange(ENFORCED)], {
        clusters: {
          app: { transport_socket: tlsSocket('Upstream', { common_tls_context: MESH_TLS.common_tls_context }) },
        },
      }),
    },
  },
  {
    rule: 'unproven-rule',
    severity: 'warning',
    broken: { config: inbound([exchange(), rbac(BY_FILTER_STATE)], { tls: MESH_TLS }) },
    healthy: { config: inbound([exchange(ENFORCED), rbac(BOTH_ASKED)], { tls: MESH_TLS }) },
  },
  {
    rule: 'unproven-rule',
    severity: 'error',
    broken: { config: inbound([exchange(), rbac(BOTH_ASKED)], { tls: MESH_TLS }) },
    healthy: { config: inbound([exchange(ENFORCED), rbac(BOTH_ASKED)], { tls: MESH_TLS }) },
  },
  {
    rule: 'unused-proof',
    severity: 'note',
    broken: { config: inbound([exchange()], { tls: MESH_TLS }) },
    healthy: { config: inbound([exchange(ENFORCED)], { tls: MESH_TLS }) },
  },
];
