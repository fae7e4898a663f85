// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import {
  counter,
  counting,
  counts,
  EVERY,
  expectCounts,
  series,
  startCounting,
  workload,
} from '../../support/traffic.ts';

/**
 * productpage calls reviews, each through its own sidecar with two workers. What both sidecars count is exactly what was
 * sent, and each says who called whom.
 */

/** Of ten requests one fails at the server, and two are the client's own mistake. */
const statusOf = (path: string) => [500, 404, 404][Number(path.slice(1)) % 10] ?? 200;

describe.each(EVERY)('two sidecars count what was sent, Envoy %s', (_, version) => {
  test('each request once at either end, with both workloads, and its status', async () => {
    await using app = await App.start(({ path }) => ({ status: statusOf(path), body: 'five stars' }));
    await using reviews = await Envoy.start(
      counting({
        own: workload('reviews'),
        listeners: [{ name: 'inbound', direction: 'INBOUND', filters: [counter()] }],
        clusters: { app: { port: app.port } },
      }),
      { version, workers: 2 },
    );
    await using productpage = await Envoy.start(
      counting({
        own: workload('productpage'),
        listeners: [{ name: 'outbound', direction: 'OUTBOUND', filters: [counter()] }],
        clusters: { app: { port: await reviews.port('inbound') } },
      }),
      { version, workers: 2 },
    );
    const port = await productpage.port('outbound');
    const paths = Array.from({ length: 200 }, (_, i) => `/${i}`);
    for (let at = 0; at < paths.length; at += 20) {
      const some = paths.slice(at, at + 20);
      await Promise.all(some.map((path) => send(port, { path, method: 'POST', body: 'x'.repeat(100) })));
    }
    const edge = 'productpage-v1 default reviews-v1 default';
    const labels =
      'reporter source_workload source_workload_namespace destination_workload destination_workload_namespace response_code';
    for (const [envoy, reporter] of [
      [productpage, 'source'],
      [reviews, 'destination'],
    ] as const) {
      await expectCounts(envoy, labels, {
        [`${reporter} ${edge} 200`]: 140,
        [`${reporter} ${edge} 404`]: 40,
        [`${reporter} ${edge} 500`]: 20,
      });
      // Each request has a duration and two sizes; Envoy shows histograms when it has flushed them.
      for (const metric of ['istio_request_duration_milliseconds', 'istio_request_bytes', 'istio_response_bytes']) {
        await envoy.until(`${metric} has all`, async () => {
          const found = await counts(envoy, ['reporter'], `${metric}_count`);
          return found[reporter] === 200;
        });
      }
      const bytes = await counts(envoy, ['reporter'], 'istio_request_bytes_sum');
      expect(bytes[reporter], 'a body of 100 bytes, and headers').toBeGreaterThan(200 * 100);
    }
  });

  test('the labels are Istio’s, all of them', async () => {
    const { envoy, port } = await startCounting({ version, workers: 2 });
    await using _ = envoy;
    await send(port, { headers: [METADATA, struct.header(workload('productpage')), ID, 'a'] });
    await send(port, {});
    await expectCounts(envoy, 'reporter', { destination: 2 });
    const destination = {
      destination_workload: 'reviews-v1',
      destination_workload_namespace: 'default',
      destination_canonical_service: 'reviews',
      destination_canonical_revision: 'v1',
      destination_app: 'reviews',
      destination_version: 'v1',
      destination_cluster: 'Kubernetes',
      destination_principal: 'unknown',
      destination_service: 'reviews.default.svc.cluster.local',
      destination_service_name: 'reviews',
      destination_service_namespace: 'default',
    };
    const request = {
      reporter: 'destination',
      request_protocol: 'http',
      response_code: '200',
      grpc_response_status: '',
      response_flags: '-',
      connection_security_policy: 'none',
    };
    const [known, stranger] = (await series(envoy)).sort(({ labels }) =>
      labels.source_workload === 'unknown' ? 1 : -1,
    );
    expect(known.labels).toEqual({
      ...request,
      ...destination,
      source_workload: 'productpage-v1',
      source_workload_namespace: 'default',
      source_canonical_service: 'productpage',
      source_canonical_revision: 'v1',
      source_app: 'productpage',
      source_version: 'v1',
      source_cluster: 'Kubernetes',
      source_principal: 'unknown',
    });
    const unknown = Object.keys(known.labels).filter((name) => name.startsWith('source_'));
    expect(stranger.labels).toEqual({
      ...request,
      ...destination,
      ...Object.fromEntries(unknown.map((name) => [name, 'unknown'])),
    });
  });
});
