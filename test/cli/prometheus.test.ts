// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import getPort from 'get-port';
import { expect, test } from 'vitest';
import { metadataExchange } from '../support/cli.ts';
import { startIstioMetrics } from '../support/istio_metrics.ts';
import { Prometheus } from '../support/prometheus.ts';

/** `metadata-exchange map --prometheus` with a real Prometheus server (Debian's package) that scrapes a real Envoy. */

test('a Prometheus server knows the same map: rates, errors, percentiles, and totals', async () => {
  await using example = await startIstioMetrics();
  // A series that was born between two scrapes grows, for Prometheus, only from then on.
  for (const path of ['/', '/broken']) await example.send('productpage', { path });
  await using prometheus = await Prometheus.start(example.envoy.adminAddress());
  const start = Date.now();
  for (let i = 0; Date.now() < start + 12_000; i++) {
    await example.send('productpage', { path: i % 4 === 0 ? '/broken' : '/' });
    await sleep(50);
  }

  const { code, stdout, stderr } = await metadataExchange([
    ...['map', '--prometheus', prometheus.url, '--seconds', '8', '--json'],
  ]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [edge, ...others] = JSON.parse(stdout).edges;
  expect(others).toEqual([]);
  expect(edge).toMatchObject({
    source: { kind: 'workload', name: 'productpage-v1', namespace: 'default' },
    destination: { kind: 'workload', name: 'reviews-v1', namespace: 'default' },
    protocol: 'http',
    reporter: 'source',
    seen_by: ['source', 'destination'],
  });
  expect(edge.rate).toBeGreaterThan(5);
  expect(edge.rate).toBeLessThan(25);
  expect(edge.errors / edge.requests).toBeCloseTo(0.25, 1);
  expect(edge.p50).toBeGreaterThan(0);
  expect(edge.p99).toBeGreaterThanOrEqual(edge.p50);

  await sleep(2500);
  const total = await metadataExchange(['map', '--prometheus', prometheus.url, '--total', '--json']);
  const asked = await metadataExchange(['map', '--total', '--json', example.envoy.adminAddress()]);
  expect(JSON.parse(total.stdout)).toEqual(JSON.parse(asked.stdout));
});

test('a Prometheus server that is not there, and one that is something else', async () => {
  const nobody = `127.0.0.1:${await getPort()}`;
  const gone = await metadataExchange(['map', '--prometheus', nobody]);
  expect(gone).toEqual({ code: 1, stdout: '', stderr: `${nobody}: ECONNREFUSED\n` });
  await using example = await startIstioMetrics();
  const { code, stderr } = await metadataExchange(['map', '--prometheus', example.envoy.adminAddress()]);
  expect(code).toBe(1);
  expect(stderr).toContain(`${example.envoy.adminAddress()}: answered 404`);
});
