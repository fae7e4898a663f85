// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { examine } from '../../../cli/doctor/rules.ts';
import { sourceIn } from '../../../cli/doctor/source.ts';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { type Bootstrap, validate } from '../../../testkit/envoy/process.ts';
import { shippedFiles } from '../../../testkit/envoy/shipped.ts';
import { changeFilters, isBridge, managerOf } from '../../support/consumers.ts';
import { linesOf } from '../../support/doctor/examine.ts';

/** The doctor and the configurations under envoy/: as they are, and broken in the way that their READMEs warn of. */

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
type Json = any;

const textOf = (path: string) => readFileSync(join(ROOT, path), 'utf8');

const diagnose = (path: string, content: string) => examine([sourceIn(path, content)])[0].diagnoses;

/** What their READMEs say is missing or wrong in them on purpose. */
const ON_PURPOSE: Record<string, string[]> = {
  // Its RBAC stands before the exchange to show what is logged then.
  'envoy/attribution/server.yaml': ['answers-first', 'answers-first'],
  // These are an application, and a gateway that does not run the filter.
  'envoy/sidecar-pair/app.yaml': ['no-filter'],
  'envoy/grpc-gateway/gateway.yaml': ['no-filter'],
};

const OSM = ['client/lds.yaml', 'server/lds.yaml', 'bookbuyer.yaml'].map((each) => `envoy/open-service-mesh/${each}`);

test.each([...shippedFiles(), ...OSM])('%s as it is: nothing but notes', (path) => {
  const found = diagnose(path, textOf(path)).filter(({ severity }) => severity !== 'note');
  expect(
    found.map(({ rule }) => rule),
    linesOf(found).join('\n'),
  ).toEqual(ON_PURPOSE[path] ?? []);
});

const listenersOf = (config: Bootstrap): Json[] => config.static_resources?.listeners ?? config.resources;

const managersIn = (config: Bootstrap): Json[] =>
  listenersOf(config).flatMap(({ filter_chains }) =>
    filter_chains.flatMap(({ filters }: Json) =>
      filters.flatMap(({ typed_config }: Json) => (typed_config.http_filters ? typed_config : [])),
    ),
  );

const isOurs = ({ typed_config }: Json) => /metadata_exchange/.test(typed_config?.config?.root_id ?? '');

/** Does something with every plugin of ours in listeners. */
function eachPlugin(config: Bootstrap, change: (plugin: Json) => void): void {
  for (const { http_filters } of managersIn(config)) {
    for (const filter of http_filters) if (isOurs(filter)) change(filter.typed_config.config);
  }
}

/** The same with those on connections. */
function eachConnection(config: Bootstrap, change: (plugin: Json) => void): void {
  const filters: Json[] = listenersOf(config).flatMap(({ filter_chains }) =>
    filter_chains.flatMap((each: Json) => each.filters),
  );
  for (const filter of filters) if (isOurs(filter)) change(filter.typed_config.config);
}

const configure = (plugin: Json, value: object) => {
  plugin.configuration = { '@type': 'type.googleapis.com/google.protobuf.StringValue', value: JSON.stringify(value) };
};

const withoutDirection = (config: Bootstrap) => {
  for (const listener of listenersOf(config)) delete listener.traffic_direction;
};

const withoutBridge = (config: Bootstrap) =>
  changeFilters(config, (filters) => filters.filter((each) => !isBridge(each)));

/** The exchange goes to the end of each chain, with its bridge or without. */
const exchangeLast = (config: Bootstrap) =>
  changeFilters(config, (filters) => [...filters.filter((each) => !isOurs(each)), ...filters.filter(isOurs)]);

const bridgeLast = (config: Bootstrap) =>
  changeFilters(config, (filters) => [...filters.filter((each) => !isBridge(each)), ...filters.filter(isBridge)]);

const clusterOf = (config: Bootstrap, name: string): Json =>
  config.static_resources.clusters.find((each: Json) => each.name === name);

/** A file, what is done to it, and the rule that names the cause. */
const BROKEN: [path: string, how: string, change: (config: Bootstrap) => void, rule: string][] = [
  [
    'quick-start/server',
    'without a failure policy',
    (config) => eachPlugin(config, (each) => delete each.failure_policy),
    'no-failure-policy',
  ],
  ['quick-start/server', 'without a direction', withoutDirection, 'no-direction'],
  ['quick-start/client', 'without metadata', (config) => delete config.node.metadata, 'no-own-metadata'],
  ['quick-start/client', 'without the filter', (config) => changeFilters(config, () => []), 'no-filter'],
  [
    'sidecar-pair/reviews',
    'with the bridge above the exchange alone',
    (config) => changeFilters(config, (filters) => filters.slice(0, 2)),
    'bridge-on-wrong-side',
  ],
  ['sidecar-pair/productpage', 'without the bridge', withoutBridge, 'no-bridge'],
  [
    'edge-gateway/gateway',
    'with its lists lost, and INBOUND',
    (config) => {
      eachPlugin(config, (each) => delete each.configuration);
      listenersOf(config)[0].traffic_direction = 'INBOUND';
    },
    'believes-strangers',
  ],
  [
    'edge-gateway/gateway',
    'with downstream_propagation',
    (config) =>
      eachPlugin(config, (each) =>
        configure(each, { ...JSON.parse(each.configuration.value), downstream_propagation: [{ istio_headers: {} }] }),
      ),
    'tells-strangers',
  ],
  [
    'edge-gateway-tls/gateway',
    'with FAIL_OPEN',
    (config) =>
      eachPlugin(config, (each) => {
        each.failure_policy = 'FAIL_OPEN';
      }),
    'open-gateway',
  ],
  [
    'edge-gateway-tls/reviews',
    'without asking for certificates',
    (config) => delete listenersOf(config)[0].filter_chains[0].transport_socket.typed_config.require_client_certificate,
    'believes-strangers',
  ],
  [
    'waypoint/waypoint',
    'with a direction from the control plane',
    (config) => {
      listenersOf(config)[0].traffic_direction = 'INBOUND';
    },
    'one-sided-waypoint',
  ],
  [
    'waypoint/waypoint',
    'at the edge',
    (config) => {
      config.node.id = config.node.id.replace(/^waypoint/, 'router');
    },
    'believes-strangers',
  ],
  [
    'waypoint-discovery/waypoint',
    'without the control plane',
    (config) => {
      config.static_resources.clusters = [clusterOf(config, 'ratings')];
    },
    'discovery-cluster',
  ],
  [
    'workload-discovery/envoy',
    'with a keepalive too short for istiod',
    (config) => {
      const [options]: Json[] = Object.values(clusterOf(config, 'workload-discovery').typed_extension_protocol_options);
      options.explicit_http_config.http2_protocol_options.connection_keepalive.interval = '5s';
    },
    'discovery-keepalive',
  ],
  [
    'workload-discovery/any-server',
    'with a vm_id of the service’s own',
    (config) => {
      const service = config.bootstrap_extensions[0].typed_config.config;
      service.vm_config = { ...service.vm_config, vm_id: 'discovery' };
    },
    'discovery-vm-id',
  ],
  [
    'grpc-gateway/clients',
    'with another metadata_key',
    (config) => eachPlugin(config, (each) => configure(each, { metadata_key: 'dave' })),
    'no-own-metadata',
  ],
  [
    'upstream-filter/router',
    'without skip_external_clusters',
    (config) => {
      const [{ typed_config }] = managersIn(config)[0].http_filters.at(-1).typed_config.upstream_http_filters;
      typed_config.config.configuration.value.upstream_propagation = [{ istio_headers: {} }];
    },
    'tells-outside',
  ],
  [
    'upstream-filter/router',
    'with an aggregate that is not marked',
    (config) => {
      config.static_resources.clusters.push({
        name: 'all',
        lb_policy: 'CLUSTER_PROVIDED',
        cluster_type: {
          name: 'envoy.clusters.aggregate',
          typed_config: {
            '@type': 'type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig',
            clusters: ['reviews', 'outside'],
          },
        },
      });
    },
    'unmarked-aggregate',
  ],
  [
    'upstream-filter/sidecar',
    'without removing claims',
    (config) => delete managersIn(config)[0].route_config.virtual_hosts[0].request_headers_to_remove,
    'claims-pass',
  ],
  [
    'verify-peer/server',
    'without asking for certificates',
    (config) => delete listenersOf(config)[0].filter_chains[0].transport_socket.typed_config.require_client_certificate,
    'verify-without-certificates',
  ],
  [
    'verify-peer/server',
    'with certificates that nobody checks',
    (config) => {
      const tls = listenersOf(config)[0].filter_chains[0].transport_socket.typed_config.common_tls_context;
      tls.validation_context.trust_chain_verification = 'ACCEPT_UNTRUSTED';
    },
    'anything-verifies',
  ],
  [
    'verify-peer/server',
    'with verify_peer off',
    (config) => eachPlugin(config, (each) => delete each.configuration),
    'unproven-rule',
  ],
  ['attribution/server', 'as it is', () => {}, 'answers-first'],
  ['consumers/access-log/envoy', 'without the bridge', withoutBridge, 'no-bridge'],
  ['consumers/rbac/envoy', 'with the exchange last', exchangeLast, 'reads-too-early'],
  ['consumers/rbac/envoy', 'with the bridge last', bridgeLast, 'reads-too-early'],
  ['consumers/rate-limit/envoy', 'with the exchange last', exchangeLast, 'reads-too-early'],
  ['consumers/rate-limit/envoy', 'without the bridge', withoutBridge, 'no-bridge'],
  ['consumers/ext-authz/envoy', 'with the bridge last', bridgeLast, 'reads-too-early'],
  ['consumers/ext-proc/envoy', 'with the exchange last', exchangeLast, 'reads-too-early'],
  ['consumers/lua-cel-wasm/envoy', 'with the exchange last', exchangeLast, 'reads-too-early'],
  ['consumers/tracing/envoy', 'without the bridge', withoutBridge, 'no-bridge'],
  [
    'consumers/headers-and-routes/envoy',
    'without the filter that chooses the route again',
    (config) => changeFilters(config, (filters) => filters.filter(({ name }) => name !== 'choose_route_again')),
    'route-too-early',
  ],
  [
    'consumers/headers-and-routes/envoy',
    'without removing what a client may forge',
    (config) => {
      const [mutation] = managerOf(config, 'reviews').http_filters.filter(({ name }: Json) =>
        /header_mutation/.test(name),
      );
      mutation.typed_config.mutations.request_mutations.shift();
    },
    'forged-header',
  ],
  ['consumers/metrics/envoy', 'without stats_tags', (config) => delete config.stats_config, 'no-stats-tags'],
  [
    'consumers/metrics/stats_logger',
    'without the plain fields',
    (config) =>
      eachPlugin(config, (each) =>
        configure(each, { metadata_key: JSON.parse(each.configuration.value).metadata_key }),
      ),
    'not-published',
  ],
  ['grafana/envoy', 'without stats_tags', (config) => delete config.stats_config, 'no-stats-tags'],
  [
    'tcp-pair/client',
    'with `preface: always`',
    (config) => eachConnection(config, (each) => configure(each, { preface: 'always' })),
    'preface-for-all',
  ],
  [
    'tcp-pair/client',
    'without the endpoint’s metadata',
    (config) => delete clusterOf(config, 'redis').load_assignment.endpoints[0].lb_endpoints[0].metadata,
    'preface-for-nobody',
  ],
  [
    'tcp-pair/client',
    'without alpn_protocols',
    (config) => delete clusterOf(config, 'redis').transport_socket.typed_config.common_tls_context.alpn_protocols,
    'preface-protocol',
  ],
  [
    'tcp-pair/server',
    'without publish_fields',
    (config) => eachConnection(config, (each) => configure(each, { verify_peer: { mode: 'enforce' } })),
    'not-published',
  ],
  [
    'caller-name/server',
    'with FAIL_OPEN',
    (config) =>
      eachPlugin(config, (each) => {
        each.failure_policy = 'FAIL_OPEN';
      }),
    'application-told-open',
  ],
  [
    'egress-gateway/gateway',
    'without verify_peer',
    (config) =>
      eachPlugin(config, (each) =>
        configure(each, { ...JSON.parse(each.configuration.value), verify_peer: undefined }),
      ),
    'unproven-rule',
  ],
  ['open-service-mesh/client/lds', 'without a direction', withoutDirection, 'no-direction'],
];

describe('broken as its README warns', () => {
  test.each(BROKEN)('%s %s: %s', { timeout: 60_000 }, async (file, _, change, rule) => {
    const path = `envoy/${file}.yaml`;
    const config: Bootstrap = parse(textOf(path));
    change(config);
    const found = diagnose(path, stringify(config));
    expect(
      found.map((each) => each.rule),
      linesOf(found).join('\n'),
    ).toContain(rule);
    expect(found.find((each) => each.rule === rule)?.severity).not.toBe('note');
  });

  test('Envoy takes all of these: it does not find them', { timeout: 240_000 }, async () => {
    const bootstraps = BROKEN.filter(([file]) => !file.startsWith('open-service-mesh'));
    for (const [file, how, change] of bootstraps) {
      const config: Bootstrap = parse(textOf(`envoy/${file}.yaml`));
      change(config);
      const { valid, log } = await validate(config);
      expect(valid, `${file} ${how}: ${log}`).toBe(true);
    }
  });
});
