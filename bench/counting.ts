// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { MODULE } from '../testkit/envoy/binary.ts';
import { metadataExchange } from '../testkit/envoy/config.ts';
import type { Contender } from './contenders.ts';

/**
 * Istio's four request metrics by peer, from this filter and from Envoy's stats logger: what the exchange costs together
 * with the one who counts. The logger stands in envoy/consumers/metrics/stats_logger.yaml as it is here.
 */

const CLIENT = 'wasm.envoy.wasm.metadata_exchange.downstream';

/** The client's labels, and the field of each. */
const OF_CLIENTS = [
  ['source_workload', 'WORKLOAD_NAME'],
  ['source_workload_namespace', 'NAMESPACE'],
  ['source_cluster', 'CLUSTER_ID'],
  ['source_app', 'LABELS.app'],
  ['source_version', 'LABELS.version'],
  ['source_canonical_service', 'LABELS.app'],
  ['source_canonical_revision', 'LABELS.version'],
];
const FIELDS = [...new Set(OF_CLIENTS.map(([, field]) => field))];

const OTHERS = {
  reporter: 'destination',
  destination_workload: 'reviews-v1',
  destination_workload_namespace: 'default',
  destination_cluster: 'Kubernetes',
  destination_app: 'reviews',
  destination_version: 'v1',
  destination_canonical_service: 'reviews',
  destination_canonical_revision: 'v1',
  source_principal: '%DOWNSTREAM_PEER_URI_SAN%',
  destination_principal: '%DOWNSTREAM_LOCAL_URI_SAN%',
  destination_service: 'reviews.default.svc.cluster.local',
  destination_service_name: 'reviews',
  destination_service_namespace: 'default',
  request_protocol: 'http',
  response_code: '%RESPONSE_CODE%',
  grpc_response_status: '%GRPC_STATUS_NUMBER%',
  response_flags: '%RESPONSE_FLAGS%',
  connection_security_policy: 'none',
};

/** The stats logger, with a way to write a field of the client. */
function statsLogger(write: (field: string) => string): object {
  const labels = [...OF_CLIENTS.map(([label, field]) => [label, write(field)]), ...Object.entries(OTHERS)];
  const tags = labels.map(([name, value_format]) => ({ name, value_format }));
  const histogram = (name: string, unit: string, value_format: string) => ({
    stat: { name, tags },
    unit,
    value_format,
  });
  return {
    name: 'metrics',
    typed_config: {
      '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config',
      stat_prefix: 'wasmcustom',
      counters: [{ stat: { name: 'istio_requests_total', tags }, value_fixed: 1 }],
      histograms: [
        histogram('istio_request_duration_milliseconds', 'Milliseconds', '%DURATION%'),
        histogram('istio_request_bytes', 'Bytes', '%BYTES_RECEIVED%'),
        histogram('istio_response_bytes', 'Bytes', '%BYTES_SENT%'),
      ],
    },
  };
}

export const COUNTING: Contender[] = [
  {
    name: 'metrics',
    label: 'this filter, with `metrics`',
    wasm: MODULE,
    filters: () => [metadataExchange({ metrics: {} })],
    isNamed: true,
  },
  {
    name: 'metrics-cel',
    label: 'this filter, and the stats logger by CEL',
    wasm: MODULE,
    filters: () => [metadataExchange()],
    isNamed: true,
    counts: statsLogger((field) => `%CEL(filter_state['${CLIENT}'].${field})%`),
  },
  {
    name: 'metrics-plain',
    label: 'this filter, and the stats logger by plain fields',
    wasm: MODULE,
    filters: () => [metadataExchange({ publish_fields: FIELDS })],
    isNamed: true,
    counts: statsLogger((field) => `%FILTER_STATE(${CLIENT}.${field}:PLAIN)%`),
  },
];
