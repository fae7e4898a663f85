// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { once } from 'node:events';
import { createServer, type Http2Server } from 'node:http2';
import type { AddressInfo } from 'node:net';
import getPort from 'get-port';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MODULE } from '../../testkit/envoy/binary.ts';
import { App, Headers, send } from '../../testkit/http.ts';
import { podAddresses, podOf, type Resource, Sidecar } from './mesh.ts';
import { HEADERS, MeshStand, shippedResource, shippedResources } from './mesh_stand.ts';
import { Registry } from './registry.ts';

/**
 * upstream.yaml: the exchange behind the router of clients. What istiod makes of it, and that requests which leave the
 * mesh carry nothing of ours, whichever way they were led there.
 */

const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const TYPE = 'type.googleapis.com';
const REVIEWS = 'reviews.default.svc.cluster.local';

/** What a server is told by a request's headers: the two names of the dialect. */
const told = (headers: Headers | undefined) => Object.values(HEADERS).map((name) => headers?.all(name));
const NOTHING = [[], []];

function serviceEntry(name: string, location: string, protocol: string, port: number): Resource {
  return {
    apiVersion: 'networking.istio.io/v1',
    kind: 'ServiceEntry',
    metadata: { name, namespace: 'default' },
    spec: {
      hosts: [`${name}.example.com`],
      location,
      resolution: 'STATIC',
      ports: [{ number: 9080, name: 'port', protocol }],
      endpoints: [{ address: '127.0.0.1', ports: { port } }],
    },
  };
}

/** A service of the mesh whose port says nothing of its protocol. */
const unnamed: Resource = {
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 'unnamed', namespace: 'default' },
  spec: { selector: { app: 'unnamed' }, clusterIP: 'None', ports: [{ name: 'port', port: 9080 }] },
};

/** Requests to reviews that a filter of the proxy sends outside: the route is chosen anew after all others have run. */
const lateRoute: Resource[] = [
  {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name: 'reviews', namespace: 'default' },
    spec: {
      hosts: [REVIEWS],
      http: [
        {
          match: [{ headers: { 'x-chosen': { exact: 'outside' } } }],
          route: [{ destination: { host: 'outside.example.com' } }],
        },
        { route: [{ destination: { host: REVIEWS } }] },
      ],
    },
  },
  {
    apiVersion: 'networking.istio.io/v1alpha3',
    kind: 'EnvoyFilter',
    metadata: { name: 'late-route', namespace: 'default' },
    spec: {
      configPatches: [
        {
          applyTo: 'HTTP_FILTER',
          match: {
            context: 'SIDECAR_OUTBOUND',
            listener: {
              filterChain: {
                filter: {
                  name: 'envoy.filters.network.http_connection_manager',
                  subFilter: { name: 'envoy.filters.http.router' },
                },
              },
            },
          },
          patch: {
            operation: 'INSERT_BEFORE',
            value: {
              name: 'late-route',
              typed_config: {
                '@type': `${TYPE}/envoy.extensions.filters.http.lua.v3.Lua`,
                default_source_code: {
                  inline_string: `function envoy_on_request(handle)
                    local wanted = handle:headers():get("x-wanted")
                    if wanted then handle:headers():replace("x-chosen", wanted) handle:clearRouteCache() end end`,
                },
              },
            },
          },
        },
      ],
    },
  },
];

/** Which protocol a cluster speaks, and what else its options say. */
function optionsOf(cluster: Resource): Resource {
  const { '@type': type, ...options } = cluster.typed_extension_protocol_options?.[HTTP_OPTIONS] ?? {};
  return options;
}

const HTTP2 = { explicit_http_config: { http2_protocol_options: {} } };
const DOWNSTREAM = { use_downstream_protocol_config: { http_protocol_options: {}, http2_protocol_options: {} } };
/** What istiod says of the protocol; of HTTP/1.1 and of TCP nothing. */
const ISTIOD: Record<string, object> = {
  [`outbound|9080||${REVIEWS}`]: {},
  'outbound|9080||http2.example.com': HTTP2,
  'outbound|9080||grpc.example.com': HTTP2,
  'outbound|9080||tcp.example.com': {},
  'outbound|9080||unnamed.default.svc.cluster.local': DOWNSTREAM,
  'outbound|9080||outside.example.com': {},
  PassthroughCluster: { ...DOWNSTREAM, common_http_protocol_options: { idle_timeout: '300s' } },
};

async function optionsOfAll(stand: MeshStand): Promise<Record<string, object>> {
  const clusters = await stand.productpage.clusters();
  return Object.fromEntries(Object.keys(ISTIOD).map((name) => [name, optionsOf(clusters[name])]));
}

let outside: App;
/** A server that speaks nothing but HTTP/2, and what it was told last. */
let http2: Http2Server;
let http2Saw: Headers | undefined;
let registry: Registry;
let services: Resource[];

beforeAll(async () => {
  registry = await Registry.start();
  await registry.push('mesh/metadata-exchange:1');
  outside = await App.start();
  http2 = createServer((request, response) => {
    http2Saw = new Headers(request.rawHeaders);
    response.end('ok');
  }).listen(0, '127.0.0.1');
  await once(http2, 'listening');
  const { port } = http2.address() as AddressInfo;
  services = [
    serviceEntry('outside', 'MESH_EXTERNAL', 'HTTP', outside.port),
    serviceEntry('http2', 'MESH_INTERNAL', 'HTTP2', port),
    serviceEntry('grpc', 'MESH_INTERNAL', 'GRPC', port),
    serviceEntry('tcp', 'MESH_INTERNAL', 'TCP', port),
    unnamed,
    shippedResource('access-log.yaml'),
    ...lateRoute,
  ];
});
afterAll(async () => {
  http2?.close();
  for (const each of [outside, registry]) await each?.[Symbol.asyncDispose]();
});

/** What is shipped, with the image of this registry. */
function exchange(tag = '1'): Resource[] {
  const [filter, plugin] = shippedResources('upstream.yaml');
  const url = `oci://${registry.host}/mesh/metadata-exchange:${tag}`;
  filter.spec.configPatches[0].patch.value.typed_config.config.vm_config.code.remote.http_uri.uri = url;
  plugin.spec.url = url;
  return [filter, plugin];
}

describe('upstream.yaml as shipped', () => {
  let stand: MeshStand;

  beforeAll(async () => {
    stand = await MeshStand.start([...exchange(), ...services]);
  });
  afterAll(() => stand?.[Symbol.asyncDispose]());

  test("it leaves istiod's clusters alone: their protocols are what istiod chose", async () => {
    expect(await optionsOfAll(stand)).toEqual(ISTIOD);
  });

  test("istiod marks what is outside, and merges the filter into the client's router alone", async () => {
    const clusters = await stand.productpage.clusters();
    expect(clusters['outbound|9080||outside.example.com'].metadata.filter_metadata.istio.external).toBe(true);
    expect(clusters['outbound|9080||http2.example.com'].metadata.filter_metadata.istio.external).toBeUndefined();
    const names = (filter: Resource) => filter.typed_config.upstream_http_filters?.map((each: Resource) => each.name);
    const outbound = await stand.productpage.httpFilters(9080);
    expect(names(outbound.at(-1))).toEqual(['metadata-exchange-upstream', 'envoy.filters.http.upstream_codec']);
    expect(outbound.filter((each) => /metadata-exchange/.test(each.name))).toEqual([]);
    const inbound = await stand.reviews.httpFilters(8080);
    expect(names(inbound.at(-1))).toBeUndefined();
    expect(inbound[0].name).toMatch(/metadata-exchange/);
  });

  test('inside, both sides learn who the other is', async () => {
    const { status, clientSaw, serverSaw } = await stand.exchange('/reviews/1', { [HEADERS.id]: 'forged' });
    expect([status, told(clientSaw), told(serverSaw)]).toEqual([200, NOTHING, NOTHING]);
    expect((await stand.reviews.logged('/reviews/1')).downstream_peer.workload).toBe('productpage-v1');
    expect((await stand.productpage.logged('/reviews/1')).upstream_peer.workload).toBe('reviews-v1');
  });

  test.each(['http2', 'grpc'])('a service that speaks %s is told, over HTTP/2', async (name) => {
    http2Saw = undefined;
    expect((await stand.exchange(`/${name}`, { host: `${name}.example.com:9080` })).status).toBe(200);
    expect(told(http2Saw)).toEqual([[expect.any(String)], [expect.stringMatching(/~productpage-v1-0\.default~/)]]);
  });

  test('outside nothing is told, not even what the application forged', async () => {
    const forged = { [HEADERS.id]: 'forged', [HEADERS.metadata]: 'forged' };
    expect((await stand.exchange('/outside', { host: 'outside.example.com:9080', ...forged })).status).toBe(200);
    expect([outside.last.path, told(outside.last.headers)]).toEqual(['/outside', NOTHING]);
  });

  test('nor where a later filter leads a request outside', async () => {
    expect((await stand.exchange('/late', { 'x-wanted': 'outside' })).status).toBe(200);
    expect([outside.last.path, told(outside.last.headers)]).toEqual(['/late', NOTHING]);
  });
});

test('the same late route, with the exchange in the chain of the listener: it leaks', async () => {
  const plugin = shippedResource('wasmplugin.yaml');
  plugin.spec.url = `oci://${registry.host}/mesh/metadata-exchange:1`;
  const lists = shippedResource('upstream.yaml').spec.configPatches[0].patch.value.typed_config.config.configuration;
  plugin.spec.pluginConfig = lists.value;
  await using stand = await MeshStand.start([plugin, ...services]);
  expect(await optionsOfAll(stand), 'clusters without upstream.yaml').toEqual(ISTIOD);
  await stand.exchange('/outside', { host: 'outside.example.com:9080' });
  expect([outside.last.path, told(outside.last.headers)]).toEqual(['/outside', NOTHING]);
  await stand.exchange('/late', { 'x-wanted': 'outside' });
  expect(told(outside.last.headers)[1], 'outside is told').toEqual([expect.stringMatching(/~productpage-v1-0/)]);
});

test('the module as a file in the container', async () => {
  const [filter, plugin] = exchange();
  const [extension, ...patches] = filter.spec.configPatches;
  const { name, typed_config } = extension.patch.value;
  typed_config.config.vm_config.code = { local: { filename: MODULE } };
  for (const { patch } of patches) patch.value.typed_config.upstream_http_filters[0] = { name, typed_config };
  filter.spec.configPatches = patches;
  await using stand = await MeshStand.start([filter, plugin, ...services]);
  await stand.exchange('/reviews/1');
  expect((await stand.productpage.logged('/reviews/1')).upstream_peer.workload).toBe('reviews-v1');
  await stand.exchange('/late', { 'x-wanted': 'outside' });
  expect([outside.last.path, told(outside.last.headers)]).toEqual(['/late', NOTHING]);
});

test('a gateway tells the mesh, and nobody outside', async () => {
  const [address] = podAddresses(1);
  const pod = podOf(
    {
      metadata: { name: 'gateway-v1', namespace: 'default' },
      spec: {
        template: {
          metadata: { labels: { app: 'gateway', 'metadata-exchange': 'enabled' } },
          spec: { serviceAccountName: 'bookinfo-productpage', containers: [{ name: 'istio-proxy', image: 'auto' }] },
        },
      },
    },
    address,
  );
  const number = await getPort();
  const gateway = {
    apiVersion: 'networking.istio.io/v1',
    kind: 'Gateway',
    metadata: { name: 'gateway', namespace: 'default' },
    spec: {
      selector: { app: 'gateway' },
      servers: [{ port: { number, name: 'http', protocol: 'HTTP' }, hosts: ['*'] }],
    },
  };
  const to = (prefix: string, host: string) => ({
    match: [{ uri: { prefix } }],
    route: [{ destination: { host, port: { number: 9080 } } }],
  });
  const routes = {
    apiVersion: 'networking.istio.io/v1',
    kind: 'VirtualService',
    metadata: { name: 'gateway', namespace: 'default' },
    spec: {
      hosts: ['*'],
      gateways: ['default/gateway'],
      http: [to('/http2', 'http2.example.com'), to('/outside', 'outside.example.com'), to('/', REVIEWS)],
    },
  };
  await using stand = await MeshStand.start([...exchange(), ...services, pod, gateway, routes]);
  await using proxy = await Sidecar.start(pod, stand.istiod, { role: 'router' });
  http2Saw = undefined;
  const forged = [HEADERS.id, 'forged', HEADERS.metadata, 'forged'];
  for (const path of ['/http2', '/outside', '/reviews']) {
    const { status, headers } = await send(number, { path, headers: forged });
    expect([status, told(headers)], path).toEqual([200, NOTHING]);
  }
  expect(told(http2Saw)[1]).toEqual([expect.stringMatching(/^router~.*~gateway-v1-0\.default~/)]);
  expect([outside.last.path, told(outside.last.headers)]).toEqual(['/outside', NOTHING]);
  expect((await proxy.logged('/reviews')).upstream_peer.workload).toBe('reviews-v1');
  expect((await stand.reviews.logged('/reviews')).downstream_peer.workload).toBe('gateway-v1');
});

test('without the module requests go on, and nobody is told', async () => {
  await using stand = await MeshStand.start([...exchange('gone'), ...services]);
  http2Saw = undefined;
  expect((await stand.exchange('/reviews/1')).status).toBe(200);
  expect((await stand.exchange('/http2', { host: 'http2.example.com:9080' })).status).toBe(200);
  expect(told(http2Saw)).toEqual(NOTHING);
});

/** Why upstream.yaml does not patch clusters: what this version of istiod makes of it. */
describe('a MERGE into clusters', () => {
  function intoClusters(protocol: object): Resource {
    const [filter] = shippedResources('upstream.yaml');
    const [, { patch }] = filter.spec.configPatches;
    const options = { ...protocol, http_filters: patch.value.typed_config.upstream_http_filters };
    return {
      ...filter,
      spec: {
        configPatches: [
          exchange()[0].spec.configPatches[0],
          {
            applyTo: 'CLUSTER',
            match: { context: 'SIDECAR_OUTBOUND' },
            patch: {
              operation: 'MERGE',
              value: {
                typed_extension_protocol_options: {
                  [HTTP_OPTIONS]: { '@type': `${TYPE}/${HTTP_OPTIONS}`, ...options },
                },
              },
            },
          },
        ],
      },
    };
  }

  test("replaces istiod's options: gRPC is sent as HTTP/1.1", async () => {
    const http1 = { explicit_http_config: { http_protocol_options: {} } };
    await using stand = await MeshStand.start([intoClusters(http1), ...services]);
    for (const [name, options] of Object.entries(await optionsOfAll(stand))) {
      expect(options, name).toEqual({ ...http1, http_filters: expect.any(Array) });
    }
    expect((await stand.exchange('/grpc', { host: 'grpc.example.com:9080' })).status).not.toBe(200);
  });

  test('without a protocol of its own: Envoy refuses all of them', async () => {
    await using stand = await MeshStand.start([intoClusters({}), ...services], { ready: false });
    const refusal = /PassthroughCluster(.|\n)*"upstream_protocol_options", reason: is required/;
    await stand.productpage.until('clusters are refused', () => refusal.test(stand.productpage.log()));
  });
});
