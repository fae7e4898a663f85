// SPDX-License-Identifier: Apache-2.0
import http2 from 'node:http2';
import { describe, expect, test } from 'vitest';
import type { Listener } from '../../../testkit/envoy/config.ts';
import type { Envoy } from '../../../testkit/envoy/process.ts';
import { METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { Updatable } from '../../support/lds.ts';
import { counter, expectCounts, OLDEST_AND_NEWEST, startCounting } from '../../support/traffic.ts';

/** Nobody grows Envoy's memory by inventing peers: past `max_series` a new one counts as unknown. */

const peer = (i: number) => struct.header({ WORKLOAD_NAME: `peer-${i}`, NAMESPACE: `of-${i}` });
const unnamed = (envoy: Envoy) => envoy.stat('wasmcustom.metadata_exchange.traffic_unnamed');

/** Requests of so many peers, all different, over one connection of HTTP/2. */
async function flood(port: number, from: number, to: number): Promise<void> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  const one = (i: number) =>
    new Promise<void>((resolve, reject) => {
      const stream = session.request({ ':path': '/', [METADATA]: peer(i) });
      stream.on('error', reject).on('end', resolve).resume();
    });
  for (let at = from; at < to; at += 100) {
    await Promise.all(Array.from({ length: Math.min(100, to - at) }, (_, i) => one(at + i)));
  }
  session.close();
}

describe.each(OLDEST_AND_NEWEST)('max_series, Envoy %s', (_, version) => {
  test('past it a peer counts as unknown, those before it go on, and a metric says so', async () => {
    const { envoy, port } = await startCounting({ version, config: { metrics: { max_series: 3 } } });
    await using _ = envoy;
    for (let round = 0; round < 2; round++) {
      for (let i = 0; i < 5; i++) await send(port, { headers: [METADATA, peer(i)] });
    }
    await expectCounts(envoy, 'source_workload source_workload_namespace', {
      'peer-0 of-0': 2,
      'peer-1 of-1': 2,
      'peer-2 of-2': 2,
      'unknown unknown': 4,
    });
    await envoy.until('a metric says so', async () => (await unnamed(envoy)) === 4);
    expect(await envoy.stat('wasmcustom.metadata_exchange.traffic_series')).toBe(4);
  });

  test('the code of a request whose peer is unknown is known all the same', async () => {
    const routes = [
      { match: { path: '/404' }, direct_response: { status: 404 } },
      { match: { prefix: '/' }, direct_response: { status: 200 } },
    ];
    const { envoy, port } = await startCounting({ version, routes, config: { metrics: { max_series: 1 } } });
    await using _ = envoy;
    for (const path of ['/', '/', '/404', '/404']) await send(port, { path, headers: [METADATA, peer(path.length)] });
    await expectCounts(envoy, 'source_workload response_code', { 'peer-1 200': 2, 'unknown 404': 2 });
  });

  test('each worker finds its own series, and all add to the same metrics', async () => {
    const { envoy, port } = await startCounting({ version, workers: 2, config: { metrics: { max_series: 10 } } });
    await using _ = envoy;
    for (let i = 0; i < 40; i++) await send(port, { headers: [METADATA, peer(i % 2)] });
    await expectCounts(envoy, 'source_workload', { 'peer-0': 20, 'peer-1': 20 });
  });
});

test('over a listener’s update counts go on, and series that were made are found again', async () => {
  const listener = (max_series: number): Listener => ({
    name: 'in',
    direction: 'INBOUND',
    filters: [counter({ metrics: { max_series } })],
    routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }],
  });
  await using mesh = await Updatable.start([listener(2)], { drainSeconds: 1 });
  const { envoy } = mesh;
  const ask = async (i: number) => await send(await envoy.port('in'), { headers: [METADATA, peer(i)] });
  for (const i of [0, 1, 2]) await ask(i);
  await mesh.update([listener(3)]);
  for (const i of [0, 1, 2, 3]) await ask(i);
  await envoy.until('all are counted', async () => (await total(envoy)) === 7);
  // The first two, and the one for the unknown, which is found again as well.
  const made = () => envoy.stat('wasmcustom.metadata_exchange.traffic_series');
  await envoy.until('there are three', async () => (await made()) === 3);
});

test('with the buckets that are shipped Envoy’s page for Prometheus has half of the lines', async () => {
  const lines = async (buckets?: string) => {
    const { envoy, port } = await startCounting({ buckets });
    await using _ = envoy;
    await send(port, { headers: [METADATA, peer(1)] });
    await expectCounts(envoy, 'source_workload', { 'peer-1': 1 });
    return (await envoy.admin('/stats/prometheus')).match(/^istio_/gm)?.length ?? 0;
  };
  expect([await lines(), await lines('envoy/stats_buckets.yaml')]).toEqual([67, 35]);
});

/** All requests that were counted. Not from Prometheus' page, which has 50 kB for each series. */
async function total(envoy: Envoy): Promise<number> {
  const page = await envoy.admin('/stats?filter=istio_requests_total');
  return Array.from(page.matchAll(/: (\d+)$/gm), ([, value]) => Number(value)).reduce((all, each) => all + each, 0);
}

test('100,000 peers, each with one request: every one is counted, and memory does not grow', async () => {
  const { envoy, port } = await startCounting({ manager: { access_log: [] } });
  await using _ = envoy;
  const allocated = () => envoy.stat('server.memory_allocated');
  await flood(port, 0, 20_000);
  await envoy.until('these are counted', async () => (await unnamed(envoy)) === 19_000);
  const before = await allocated();
  await flood(port, 20_000, 100_000);
  await envoy.until('all are counted', async () => (await unnamed(envoy)) === 99_000);
  expect(await total(envoy)).toBe(100_000);
  expect(await envoy.stat('wasmcustom.metadata_exchange.traffic_series')).toBe(1001);
  // What the last connections had comes back when Envoy has deleted them.
  await envoy.until('no more memory is taken than before', async () => (await allocated()) - before < 1 << 20);
}, 120_000);
