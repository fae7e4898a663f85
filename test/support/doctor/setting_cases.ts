// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { wasm } from '../../../testkit/envoy/config.ts';
import { type Case, chainOf, exchange, HEADERS, inbound, type Json, NODE, outbound, UPSTREAM } from './given.ts';

/** Cases about the plugin's configuration, the own metadata, metrics, and the control plane. */

const TAGS = parse(readFileSync(join(ROOT, 'envoy/stats_tags.yaml'), 'utf8'));

const nodeWith = (metadata: Json) => ({ ...NODE, metadata });

const LARGE = {
  'istio.io/metadata': { NAME: 'reviews-v1', NOTES: 'x'.repeat(5000), LABELS: { app: 'reviews' } },
};

const HUGE = { 'istio.io/metadata': { NAME: 'reviews-v1', NOTES: 'x'.repeat(8000) } };

const BY_ADDRESS = { downstream_discovery: [{ workload_discovery: {} }] };

/** A cluster that leads to a control plane. */
const controlPlane = (interval?: string, http2: Json = {}) => ({
  http2: { ...http2, ...(interval ? { connection_keepalive: { interval, timeout: '5s' } } : {}) },
});

/** A proxy that looks addresses up. */
export const asking = (cluster: Json = controlPlane('30s'), filter = exchange(BY_ADDRESS)) =>
  inbound([filter], cluster ? { clusters: { 'workload-discovery': cluster } } : {});

/** The bootstrap service that keeps the stream. */
function withService(config: Json, vmId?: string): Json {
  const { config: plugin } = wasm('workload_discovery', {
    '@type': 'type.googleapis.com/google.protobuf.StringValue',
    value: '{"workload_discovery": {"cluster": "workload-discovery"}}',
  }).typed_config;
  if (vmId) plugin.vm_config.vm_id = vmId;
  const service = {
    '@type': 'type.googleapis.com/envoy.extensions.wasm.v3.WasmService',
    singleton: true,
    config: plugin,
  };
  return { ...config, bootstrap_extensions: [{ name: 'envoy.bootstrap.wasm', typed_config: service }] };
}

const tag = { name: 'peer', value_format: '%FILTER_STATE(wasm.envoy.wasm.metadata_exchange.downstream_id:PLAIN)%' };

/** Envoy's stats logger, with one counter by peer. */
const statsLogger = (more: Json) => ({
  access_log: [
    {
      name: 'stats',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config',
        counters: [{ stat: { name: 'requests', tags: [tag] }, value_fixed: 1 }],
        ...more,
      },
    },
  ],
});

const COUNTING = { metrics: {} };

export const SETTING_CASES: Case[] = [
  {
    rule: 'configuration-refused',
    severity: 'error',
    isRefused: true,
    broken: { config: inbound([exchange({ max_header_size: 'many' })]) },
    healthy: { config: inbound([exchange({ max_header_size: 4096 })]) },
  },
  {
    rule: 'no-own-metadata',
    severity: 'warning',
    broken: { config: inbound([exchange()], { node: { ...NODE, metadata: undefined } }) },
    healthy: { config: inbound([exchange()]) },
  },
  {
    rule: 'no-own-metadata',
    severity: 'warning',
    broken: {
      config: inbound([exchange({ metadata_key: 'reviwes' })], { node: nodeWith({ reviews: { NAME: 'a' } }) }),
    },
    healthy: {
      config: inbound([exchange({ metadata_key: 'reviews' })], { node: nodeWith({ reviews: { NAME: 'a' } }) }),
    },
  },
  {
    rule: 'own-metadata-cut',
    severity: 'warning',
    broken: { config: outbound([exchange()], { node: nodeWith(LARGE) }) },
    healthy: { config: outbound([exchange({ metadata_fields: ['NAME', 'LABELS'] })], { node: nodeWith(LARGE) }) },
  },
  {
    rule: 'own-header-large',
    severity: 'warning',
    broken: { config: outbound([exchange({ max_header_size: 12000 })], { node: nodeWith(HUGE) }) },
    healthy: { config: outbound([exchange({ max_header_size: 8192 })], { node: nodeWith(LARGE) }) },
  },
  {
    rule: 'tells-secrets',
    severity: 'note',
    broken: {
      config: inbound([exchange()], { node: nodeWith({ 'istio.io/metadata': { NAME: 'a', API_TOKEN: 'b' } }) }),
    },
    healthy: { config: inbound([exchange()]) },
  },
  {
    rule: 'module-warns',
    severity: 'note',
    broken: { config: inbound([exchange({ shared_with_upstream: true })]) },
    healthy: { config: inbound([exchange({ shared_with_upstream: false })]) },
  },
  {
    rule: 'no-stats-tags',
    severity: 'error',
    broken: { config: inbound([exchange(COUNTING)]) },
    healthy: { config: inbound([exchange(COUNTING)], { bootstrap: TAGS }) },
  },
  {
    rule: 'no-stats-tags',
    severity: 'error',
    broken: { config: inbound([exchange({ metrics: { labels: { team: 'TEAM' } } })], { bootstrap: TAGS }) },
    healthy: {
      config: inbound([exchange({ metrics: { labels: { team: 'TEAM' } } })], {
        bootstrap: {
          stats_config: {
            stats_tags: [...TAGS.stats_config.stats_tags, { tag_name: 'team', regex: '(team=\\.=(.*?);\\.;)' }],
          },
        },
      }),
    },
  },
  {
    rule: 'metrics-in-cluster',
    severity: 'warning',
    broken: {
      config: outbound([], { bootstrap: TAGS, clusters: { app: chainOf([exchange({ ...UPSTREAM, ...COUNTING })]) } }),
    },
    healthy: { config: outbound([exchange({ ...UPSTREAM, ...COUNTING })], { bootstrap: TAGS }) },
  },
  {
    rule: 'counted-twice',
    severity: 'warning',
    broken: {
      config: inbound(
        [exchange(COUNTING), exchange({ ...COUNTING, dialect: 'istio' }, 'FAIL_OPEN', 'metadata_exchange_2')],
        {
          bootstrap: TAGS,
        },
      ),
    },
    healthy: {
      config: inbound([exchange(COUNTING), exchange({ dialect: 'istio' }, 'FAIL_OPEN', 'metadata_exchange_2')], {
        bootstrap: TAGS,
      }),
    },
  },
  {
    rule: 'unbounded-logger',
    severity: 'note',
    broken: { config: inbound([exchange()], { manager: statsLogger({ stat_prefix: 'wasmcustom' }) }) },
    healthy: {
      config: inbound([exchange()], {
        manager: statsLogger({ stats_scope: { prefix: 'wasmcustom', max_counters: 1000 } }),
      }),
    },
  },
  {
    rule: 'discovery-cluster',
    severity: 'error',
    broken: { config: asking(null) },
    healthy: { config: asking() },
  },
  {
    rule: 'discovery-cluster',
    severity: 'error',
    broken: { config: asking({}) },
    healthy: { config: asking() },
  },
  {
    rule: 'discovery-keepalive',
    severity: 'warning',
    broken: { config: asking(controlPlane()) },
    healthy: { config: asking() },
  },
  {
    rule: 'discovery-keepalive',
    severity: 'warning',
    broken: { config: asking(controlPlane('5s')) },
    healthy: { config: asking() },
  },
  {
    rule: 'discovery-vm-id',
    severity: 'warning',
    broken: { config: withService(asking(), 'another') },
    healthy: { config: withService(asking()) },
  },
  {
    rule: 'one-side-only',
    severity: 'note',
    broken: { config: outbound([exchange()]), beside: outbound([exchange()]) },
    healthy: { config: outbound([exchange()]), beside: inbound([exchange()]) },
  },
  {
    rule: 'other-headers',
    severity: 'error',
    broken: { config: inbound([exchange()]), beside: outbound([exchange({ dialect: 'istio' })]) },
    healthy: { config: inbound([exchange()]), beside: outbound([exchange()]) },
  },
  {
    rule: 'other-headers',
    severity: 'error',
    broken: { config: outbound([exchange({ dialect: 'istio' })]), beside: inbound([exchange()]) },
    healthy: { config: outbound([exchange()]), beside: inbound([exchange({ downstream_discovery: HEADERS })]) },
  },
];
