// SPDX-License-Identifier: Apache-2.0
import type { Bootstrap } from '../../testkit/envoy/process.ts';
import { Example, managerOf } from './consumers.ts';

/** Stock Envoys with Istio's metrics, made in one of two ways: those of envoy/consumers/metrics. */

/** A field of a peer's, or `unknown`. */
function fieldOf(side: 'downstream' | 'upstream', field: string): string {
  const key = `wasm.envoy.wasm.metadata_exchange.${side}`;
  return `%CEL('${key}' in filter_state ? filter_state['${key}'].${field} : 'unknown')%`;
}

/** The logger of a workload's proxy, before a client or before a server. */
function logger(reporter: 'source' | 'destination', workload: string, namespace: string) {
  const [own, others, side] =
    reporter === 'source'
      ? (['source', 'destination', 'upstream'] as const)
      : (['destination', 'source', 'downstream'] as const);
  const labels = {
    reporter,
    [`${own}_workload`]: workload,
    [`${own}_workload_namespace`]: namespace,
    [`${others}_workload`]: fieldOf(side, 'WORKLOAD_NAME'),
    [`${others}_workload_namespace`]: fieldOf(side, 'NAMESPACE'),
    request_protocol: 'http',
    response_code: '%RESPONSE_CODE%',
  };
  const tags = Object.entries(labels).map(([name, value_format]) => ({ name, value_format }));
  const duration = { name: 'istio_request_duration_milliseconds', tags };
  const typed_config = {
    '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config',
    // Envoy takes this word off the names in its Prometheus page.
    stat_prefix: 'wasmcustom',
    counters: [{ stat: { name: 'istio_requests_total', tags }, value_fixed: 1 }],
    histograms: [{ stat: duration, unit: 'Milliseconds', value_format: '%DURATION%' }],
  };
  return { name: 'istio metrics', typed_config };
}

const LISTENERS = ['productpage', 'loadtest', 'reviews'];

/** Changes fields of the filter's configuration. */
function configure(config: Bootstrap, listener: string, fields: object): void {
  for (const { typed_config } of managerOf(config, listener).http_filters) {
    const text = typed_config.config?.configuration;
    if (text) text.value = JSON.stringify({ ...JSON.parse(text.value), ...fields });
  }
}

/**
 * By Envoy's stats logger: productpage and loadtest call reviews, by the listeners of these names. /broken is answered
 * 503. Of reviews' own listener the caller is unknown.
 */
export function startIstioMetrics(): Promise<Example> {
  return Example.start('metrics', {
    change: (config) => {
      // Histograms are shown at each flush.
      config.stats_flush_interval = '0.2s';
      // The module does not count beside it.
      for (const listener of LISTENERS) configure(config, listener, { metrics: undefined });
      managerOf(config, 'productpage').access_log = [logger('source', 'productpage-v1', 'default')];
      managerOf(config, 'loadtest').access_log = [logger('source', 'loadtest-v1', 'testing')];
      const reviews = managerOf(config, 'reviews');
      reviews.access_log = [logger('destination', 'reviews-v1', 'default')];
      const broken = { match: { path: '/broken' }, direct_response: { status: 503 } };
      reviews.route_config.virtual_hosts[0].routes.unshift(broken);
    },
  });
}

const OF_A_SIDE = [
  ...['workload', 'workload_namespace', 'principal', 'app', 'version', 'cluster'],
  ...['canonical_service', 'canonical_revision'],
];
const OF_A_REQUEST = ['request_protocol', 'response_code', 'grpc_response_status', 'response_flags'];
const LABELS = [
  'reporter',
  ...['source', 'destination'].flatMap((side) => OF_A_SIDE.map((label) => `${side}_${label}`)),
  ...['destination_service', 'destination_service_name', 'destination_service_namespace'],
  ...OF_A_REQUEST,
  'connection_security_policy',
];

/** By the module, with Envoy's rules that make labels of what it writes, or without them. The same calls. */
export function startModuleMetrics({ hasTags }: { hasTags: boolean }): Promise<Example> {
  return Example.start('metrics', {
    change: (config) => {
      config.stats_flush_interval = '0.2s';
      const stats_tags = LABELS.map((tag_name) => ({ tag_name, regex: `(${tag_name}=\\.=(.*?);\\.;)` }));
      config.stats_config = hasTags ? { stats_tags } : {};
      for (const listener of LISTENERS) {
        managerOf(config, listener).access_log = [];
        configure(config, listener, { metrics: {} });
      }
    },
  });
}
