// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { CLIENT, filter, listening, MOMENT, OLDEST_AND_NEWEST } from '../../support/discovery.ts';
import { ALL_KNOWN, BOTH, DiscoveryStand } from '../../support/discovery_stand.ts';

/** The cluster that goes to the control plane is the operator's: it may be missing, come late, go, and be another one. */

/** What Envoy's log says about the cluster. */
const warnings = (stand: DiscoveryStand, cluster = 'workload-discovery') =>
  stand.envoy
    .log()
    .split('\n')
    .filter((line) => line.includes('[warning]') && line.includes(cluster));

describe.concurrent.each(OLDEST_AND_NEWEST)('the cluster, on Envoy %s', (_, version) => {
  test('is missing: one warning, a metric, retries; it works when the cluster comes', async () => {
    await using stand = await DiscoveryStand.start({ version, workers: 2, cds: true, cluster: null });
    await stand.until('attempts fail', async () => (await stand.metric('discovery_failures')) >= 2);
    const { answer, log } = await stand.ask();
    expect(answer.status, 'requests go on').toBe(200);
    expect(log.downstream.struct).toBeUndefined();
    expect(warnings(stand)).toHaveLength(1);
    await stand.setCluster({});
    await stand.untilKnown();
    expect(warnings(stand)).toHaveLength(1);
    expect(stand.server.streams).toHaveLength(1);
    await stand.untilMetric('discovery_connected', 1);
  });

  test('is removed and added again: who is known stays known, and there is one stream', async () => {
    await using stand = await DiscoveryStand.start({ version, workers: 2, cds: true });
    await stand.untilKnown();
    const traffic = stand.traffic();
    await stand.setCluster(null);
    await stand.untilStreams(0);
    await sleep(1_000);
    await stand.setCluster({});
    await stand.untilStreams(1);
    expect(stand.server.streams).toHaveLength(2);
    // Changed while the stream is open: Envoy makes a new cluster of it.
    await stand.setCluster({ connect_timeout: '3s' });
    await stand.until('there is a stream by the new cluster', () => stand.server.streams.length === 3);
    await stand.untilStreams(1);
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    expect(stand.server.overlap()).toBeLessThan(MOMENT);
  });
});

test.concurrent('another name for it; two names are two control planes, which do not mix', async () => {
  const at = (cluster: string, n: number) => ({
    downstream_discovery: [{ workload_discovery: {} }],
    workload_discovery: { cluster },
    max_peer_cache_size: n,
  });
  await using other = await DiscoveryStand.start({ workloads: [{ ...CLIENT, name: 'other' }], cluster: null });
  await using stand = await DiscoveryStand.start({
    workers: 2,
    listeners: [
      listening('main', filter(at('workload-discovery', 1))),
      listening('other', filter(at('other-istiod', 2))),
    ],
    clusters: { 'other-istiod': { port: other.server.port, http2: true } },
  });
  await stand.untilNames([BOTH[0], undefined]);
  await stand.untilNames(['other', undefined], 'other');
  expect(await stand.names()).toEqual([BOTH[0], undefined]);
  expect([stand.server.streams.length, other.server.streams.length]).toEqual([1, 1]);
});
