// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { Relay } from '../../../testkit/xds/relay.ts';
import { CLIENT, MOMENT, OLDEST_AND_NEWEST, SERVER } from '../../support/discovery.ts';
import { ALL_KNOWN, BOTH, DiscoveryStand } from '../../support/discovery_stand.ts';

/** The control plane goes away, or goes wrong: who is known stays known, and what was missed is made up for. */

const NEWCOMER = { uid: 'late', name: 'late', addresses: ['127.0.0.7'] };

/** Goes while the control plane is away. */
const GONE = { uid: 'gone', name: 'gone', addresses: ['127.0.0.8'] };

/** Envoy asks after a silent connection, and ends it where nobody answers. */
const KEEPALIVE = { interval: '1s', timeout: '2s' };

/** Waits until a workload is known that the control plane has since now. */
async function expectNewcomer(stand: DiscoveryStand): Promise<void> {
  stand.server.set(NEWCOMER);
  await stand.until('the newcomer is known', async () => {
    return (await stand.names({ from: NEWCOMER.addresses[0] }))[0] === NEWCOMER.name;
  });
}

describe.concurrent.each(OLDEST_AND_NEWEST)('a control plane, on Envoy %s', (_, version) => {
  test('that stops and starts again: the proxy says what it has, and hears only what it missed', async () => {
    const workloads = [CLIENT, SERVER, GONE];
    await using stand = await DiscoveryStand.start({ version, workers: 2, workloads });
    await stand.untilKnown();
    const traffic = stand.traffic();
    stand.server.stop();
    await stand.untilMetric('discovery_connected', 0);
    await sleep(1_500);
    expect(await stand.metric('discovery_failures')).toBeGreaterThan(0);
    const whoWas = async () => (await stand.names({ from: GONE.addresses[0] }))[0];
    expect(await whoWas(), 'what is known is kept').toBe(GONE.name);
    expect(await stand.metric('discovery_workloads')).toBe(3);
    stand.server.remove(GONE.uid);
    await stand.server.restart();
    await stand.untilStreams(1);
    await stand.until('who is gone is forgotten', async () => (await whoWas()) === undefined);
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    const [first] = stand.server.open[0].requests;
    expect(Object.keys(first.initialResourceVersions).sort()).toEqual([CLIENT.uid, GONE.uid, SERVER.uid].sort());
    expect(first.node, 'it says again who it is').toBeDefined();
    await expectNewcomer(stand);
    expect(stand.server.overlap()).toBeLessThan(MOMENT);
    await stand.untilMetric('discovery_connected', 1);
    expect(await stand.metric('discovery_reconnects')).toBeGreaterThan(0);
  });

  test('that asks proxies to leave (GOAWAY): they come again', async () => {
    await using stand = await DiscoveryStand.start({ version, workers: 2 });
    await stand.untilKnown();
    const [first] = stand.server.streams;
    const traffic = stand.traffic();
    stand.server.goAway(500);
    await stand.until('the old stream is gone, and there is a new one', () => !first.open && stand.server.settled);
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    await expectNewcomer(stand);
    expect(stand.server.open).toHaveLength(1);
    expect(stand.server.overlap()).toBeLessThan(MOMENT);
  });

  test('behind a connection that died silently: the keepalive finds out', async () => {
    await using stand = await DiscoveryStand.start({ version, workers: 2, cluster: null, cds: true });
    await using relay = await Relay.start(stand.server.port);
    await stand.setCluster({ port: relay.port, http2: { connection_keepalive: KEEPALIVE } });
    await stand.untilKnown();
    const [first] = stand.server.streams;
    const traffic = stand.traffic();
    relay.hang();
    stand.server.set(NEWCOMER);
    await stand.until('there is a new stream', () => stand.server.streams.length > 1);
    await stand.until('the newcomer is known', async () => {
      return (await stand.names({ from: NEWCOMER.addresses[0] }))[0] === NEWCOMER.name;
    });
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    expect(stand.server.open.filter((stream) => stream !== first)).toHaveLength(1);
    expect(first.sent.length, 'the old stream was told, and nobody heard it').toBe(2);
    expect(first.answerTo(first.sent[1])).toBeUndefined();
  });

  test('with a message of more than 4 MiB: it is taken, and acknowledged', async () => {
    const crowd = Array.from({ length: 20_000 }, (_, i) => ({
      ...CLIENT,
      uid: `Kubernetes//Pod/crowd/pod-${i}`,
      name: `pod-${i}`,
      namespace: 'crowd',
      addresses: [`10.1.${i >> 8}.${i & 255}`],
      node: 'x'.repeat(150),
    }));
    await using stand = await DiscoveryStand.start({ version, workers: 2, workloads: [CLIENT, SERVER, ...crowd] });
    await stand.untilKnown();
    await stand.untilStreams(1);
    expect(stand.server.streams[0].sent, 'all in one message').toHaveLength(1);
    expect(stand.server.streams[0].refusals).toEqual([]);
    await stand.untilMetric('discovery_workloads', crowd.length + 2);
    expect(await stand.metric('discovery_refused')).toBe(0);
    expect(await stand.names()).toEqual(BOTH);
  });
});

describe.concurrent('a control plane', () => {
  test('that sends garbage is told which resource it was; the others count', async () => {
    await using stand = await DiscoveryStand.start();
    await stand.untilKnown();
    stand.server.setRaw('garbage', Buffer.from('ff', 'hex'));
    await stand.untilStreams(1);
    const [stream] = stand.server.open;
    expect(stream.refusals).toHaveLength(1);
    expect(stream.refusals[0]).toContain('garbage');
    expect(stream.requests.at(-1)?.errorDetail?.code).toBe(3);
    await expectNewcomer(stand);
    await stand.untilMetric('discovery_refused', 1);
    expect(stand.server.streams).toHaveLength(1);
    // A response that is none at all must not end what works.
    stand.server.sendRaw(Buffer.from('0affffffff', 'hex'));
    stand.server.set({ ...NEWCOMER, name: 'later' });
    await stand.until('the update counts', async () => (await stand.names({ from: '127.0.0.7' }))[0] === 'later');
  });

  test('that ends each stream after it has answered is asked again, ever more rarely', async () => {
    await using stand = await DiscoveryStand.start();
    await stand.untilKnown();
    const { server } = stand;
    const begin = performance.now();
    const end = begin + 8_000;
    while (performance.now() < end) {
      if (server.settled) server.open[0].end(0, '');
      await sleep(20);
    }
    expect(server.streams.length, 'it comes again').toBeGreaterThan(1);
    expect(server.streams.length).toBeLessThan(6);
    expect(await stand.names()).toEqual(BOTH);
    await expectNewcomer(stand);
  });

  test('that turns the proxy away is asked again, less and less often', async () => {
    await using stand = await DiscoveryStand.start();
    await stand.untilKnown();
    const { server } = stand;
    const asked: number[] = [];
    const end = performance.now() + 12_000;
    while (performance.now() < end) {
      for (const stream of server.open) {
        asked.push(performance.now());
        stream.end(16, 'who are you?');
      }
      await sleep(20);
    }
    expect(asked.length).toBeGreaterThan(2);
    expect(asked.length, 'at most so often in twelve seconds').toBeLessThan(9);
    expect(await stand.names()).toEqual(BOTH);
    expect(server.overlap()).toBeLessThan(MOMENT);
  });

  test('is kept while the proxy drains its listeners and fails its health checks', async () => {
    await using stand = await DiscoveryStand.start({ workers: 2 });
    await stand.untilKnown();
    await stand.envoy.admin('/healthcheck/fail', 'POST');
    await stand.envoy.admin('/drain_listeners?graceful', 'POST');
    await expectNewcomer(stand);
    expect(stand.server.streams).toHaveLength(1);
    expect(stand.server.open).toHaveLength(1);
  });
});
