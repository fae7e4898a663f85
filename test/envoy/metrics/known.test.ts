// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { localPort } from '../../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { WorkloadServer } from '../../../testkit/xds/server.ts';
import { expectCounts, OLDEST_AND_NEWEST, startCounting, workload } from '../../support/traffic.ts';

/** By whichever way a peer is known, its labels are the same. */

const HEADERS = [{ istio_headers: {} }];
const BAGGAGE = 'k8s.deployment.name=reviews-v1,service.name=reviews,service.version=v1,k8s.namespace.name=default';
const CLIENT = 'source_workload source_workload_namespace source_canonical_service source_version';
const SERVER = 'destination_workload destination_workload_namespace destination_canonical_service';

describe.each(OLDEST_AND_NEWEST)('a peer that is known, Envoy %s', (_, version) => {
  test('by its headers', async () => {
    const { envoy, port } = await startCounting({ version, own: workload('ratings') });
    await using _ = envoy;
    await send(port, { headers: [METADATA, struct.header(workload('reviews')), ID, 'reviews'] });
    await send(port, { headers: [ID, 'an id alone says nothing that a label is made of'] });
    await expectCounts(envoy, CLIENT, { 'reviews-v1 default reviews v1': 1, 'unknown unknown unknown unknown': 1 });
  });

  test('by baggage', async () => {
    const config = { downstream_discovery: [{ baggage: {} }] };
    const { envoy, port } = await startCounting({ version, config });
    await using _ = envoy;
    await send(port, { headers: ['baggage', BAGGAGE] });
    await expectCounts(envoy, CLIENT, { 'reviews-v1 default reviews v1': 1 });
  });

  test('by endpoint metadata, also where it gives no answer', async () => {
    await using app = await App.start(({ path }) => (path === '/hang' ? undefined : {}));
    const config = { upstream_discovery: [...HEADERS, { endpoint_metadata: {} }] };
    const metadata = { filter_metadata: { istio: { workload: 'reviews-v1;default;reviews;v1;Kubernetes' } } };
    const endpoints = [{ lb_endpoints: [{ endpoint: { address: localPort(app.port) }, metadata }] }];
    const { envoy, port } = await startCounting({
      version,
      workers: 2,
      direction: 'OUTBOUND',
      config,
      routes: [{ match: { prefix: '/' }, route: { cluster: 'app', timeout: '0.3s' } }],
      clusters: { app: { port: app.port, load_assignment: { cluster_name: 'app', endpoints } } },
    });
    await using _ = envoy;
    for (let i = 0; i < 5; i++) await send(port, {});
    expect((await send(port, { path: '/hang' })).status).toBe(504);
    await expectCounts(envoy, `reporter response_code ${SERVER}`, {
      'source 200 reviews-v1 default reviews': 5,
      'source 504 reviews-v1 default reviews': 1,
    });
  });

  test('by its address, from workload discovery, on either side', async () => {
    const address = (host: string, name: string) => ({
      uid: `Kubernetes//Pod/default/${name}`,
      name,
      namespace: 'default',
      addresses: [host],
      workloadName: `${name}-v1`,
      canonicalName: name,
      canonicalRevision: 'v1',
    });
    const workloads = [address('127.0.0.5', 'productpage'), address('127.0.0.2', 'reviews')];
    await using plane = await WorkloadServer.start({ workloads });
    await using app = await App.start(undefined, '127.0.0.2');
    const discovery = [{ workload_discovery: {} }];
    const { envoy, port } = await startCounting({
      version,
      workers: 2,
      direction: undefined,
      config: {
        downstream_discovery: discovery,
        upstream_discovery: discovery,
        workload_discovery: { cluster: 'plane' },
      },
      clusters: { app: { port: app.port, address: '127.0.0.2' }, plane: { port: plane.port, http2: true } },
    });
    await using _ = envoy;
    const known = async () => (await envoy.stat('wasmcustom.metadata_exchange.discovery_workloads')) === 2;
    await envoy.until('both are known', known);
    for (let i = 0; i < 4; i++) await send(port, { from: '127.0.0.5' });
    await send(port, { from: '127.0.0.99' });
    await expectCounts(envoy, 'reporter source_workload source_workload_namespace destination_workload', {
      'waypoint productpage-v1 default reviews-v1': 4,
      'waypoint unknown unknown reviews-v1': 1,
    });
  });
});

describe.each(OLDEST_AND_NEWEST)('the service that is asked, Envoy %s', (_, version) => {
  const asked = async (istio: object | undefined, headers: string[], expected: Record<string, number>) => {
    await using app = await App.start(() => ({ headers }));
    const metadata = istio && { filter_metadata: { istio } };
    const clusters = { app: { port: app.port, ...(metadata && { metadata }) } };
    const { envoy, port } = await startCounting({ version, direction: 'OUTBOUND', clusters });
    await using _ = envoy;
    await send(port, { host: 'what-the-client-says.example' });
    const labels = 'destination_service destination_service_name destination_service_namespace';
    await expectCounts(envoy, labels, expected);
  };
  const services = [{ host: 'ratings.books.svc.cluster.local', name: 'ratings', namespace: 'books' }];
  const FROM_REVIEWS = [METADATA, struct.header(workload('reviews')), ID, 'reviews'];

  test('is the one that istiod made the cluster for, whoever answers', async () => {
    const expected = { 'ratings.books.svc.cluster.local ratings books': 1 };
    await asked({ services }, FROM_REVIEWS, expected);
    await asked({ services }, [], expected);
  });

  test('or else that of the server', async () => {
    await asked(undefined, FROM_REVIEWS, { 'reviews.default.svc.cluster.local reviews default': 1 });
  });

  test('also of a host outside of the mesh', async () => {
    const outside = [{ host: 'api.example.com', name: 'api.example.com', namespace: 'books' }];
    await asked({ services: outside }, [], { 'api.example.com api.example.com books': 1 });
  });

  test('or unknown', async () => {
    await asked(undefined, [], { 'unknown unknown unknown': 1 });
  });
});
