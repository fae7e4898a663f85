// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { httpListener } from '../../../testkit/envoy/config.ts';
import {
  anotherBuild,
  BY_ADDRESS,
  bootstrapService,
  CLIENT,
  filter,
  generation,
  LONGER_THAN_ANY_SEARCH,
  listening,
  MOMENT,
  OLDEST_AND_NEWEST,
  SERVER,
  TAKES_FIRST_VM_LATE,
} from '../../support/discovery.ts';
import { ALL_KNOWN, BOTH, DiscoveryStand } from '../../support/discovery_stand.ts';

/** The filter's configuration, the filter, and the module itself are replaced under traffic: nobody becomes unknown. */

/** Longer than old listeners go on: `drainSeconds` below. */
const DRAINED = 4_000;

/** Builds of the same version that follow each other sooner do not find out who is on the main thread: a worker asks. */
const APART = 2_500;

/** Whether there is one stream, there were never two at once, and what is new still arrives. */
async function expectOneLiveStream(stand: DiscoveryStand): Promise<void> {
  await stand.untilStreams(1);
  expect(stand.server.overlap()).toBeLessThan(MOMENT);
  stand.server.set({ uid: 'late', name: 'late', addresses: ['127.0.0.7'] });
  await stand.until('the newcomer is known', async () => (await stand.names({ from: '127.0.0.7' }))[0] === 'late');
  expect(stand.server.open).toHaveLength(1);
}

describe.concurrent.each(OLDEST_AND_NEWEST)('under traffic, on Envoy %s', (_, version) => {
  test('listener updates in a row, each with another configuration', async () => {
    await using stand = await DiscoveryStand.start({
      version,
      workers: 2,
      lds: true,
      drainSeconds: 2,
      // A service that needs no discovery: 1.36 does not start its first VM while it runs.
      bootstrap: bootstrapService({}, { name: 'first' }),
      listeners: [listening('main', filter(generation(0)))],
    });
    await stand.untilKnown();
    const traffic = stand.traffic();
    for (let n = 1; n <= 5; n++) {
      await stand.setListeners([listening('main', filter(generation(n)))]);
      await sleep(1_200);
    }
    await sleep(DRAINED);
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    await expectOneLiveStream(stand);
  });

  test('one of two listeners goes: until 1.39 each direction has a root context of its own', async () => {
    const inbound = listening('inbound', filter(BY_ADDRESS), { direction: 'INBOUND' });
    const outbound = listening('outbound', filter(BY_ADDRESS), { direction: 'OUTBOUND' });
    await using stand = await DiscoveryStand.start({
      version,
      workers: 2,
      lds: true,
      drainSeconds: 1,
      bootstrap: bootstrapService({}, { name: 'first' }),
      listeners: [inbound, outbound],
    });
    await stand.untilKnown('inbound');
    for (const stays of [outbound, inbound]) {
      await stand.setListeners([inbound, outbound]);
      await stand.untilKnown(stays.name);
      const traffic = stand.traffic(stays.name);
      await stand.setListeners([stays]);
      await sleep(DRAINED);
      expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
      await stand.untilStreams(1);
    }
    expect(stand.server.overlap()).toBeLessThan(MOMENT);
    expect(await stand.metric('discovery_on_worker')).toBe(0);
  });

  test('extension updates (ECDS), which end the old configuration at once', async () => {
    await using stand = await DiscoveryStand.start({ version, workers: 2, ecds: filter(generation(0)) });
    await stand.untilKnown();
    const traffic = stand.traffic();
    for (let n = 1; n <= 4; n++) {
      await stand.setExtension(filter(generation(n)));
      await sleep(1_500);
    }
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    await expectOneLiveStream(stand);
  });

  test('another build of the module takes the place of the old one', async () => {
    await using stand = await DiscoveryStand.start({ version, workers: 2, ecds: filter(BY_ADDRESS) });
    await stand.untilKnown();
    const traffic = stand.traffic();
    for (const build of ['second', 'third']) {
      await sleep(APART);
      const module = anotherBuild(stand.file(`${build}.wasm`), build);
      await stand.setExtension(filter(BY_ADDRESS, { module }));
      await sleep(LONGER_THAN_ANY_SEARCH);
    }
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    expect(await stand.metric('discovery_on_worker'), 'each was found on the main thread').toBe(0);
    expect(stand.server.streams).toHaveLength(3);
    await expectOneLiveStream(stand);
  });

  test('another build takes over while the control plane is away; what went meanwhile is forgotten', async () => {
    const from = '127.0.0.8';
    const gone = { uid: 'gone', name: 'gone', addresses: [from] };
    await using stand = await DiscoveryStand.start({
      version,
      workers: 2,
      ecds: filter(BY_ADDRESS),
      workloads: [CLIENT, SERVER, gone],
    });
    await stand.until('it is known', async () => (await stand.names({ from }))[0] === gone.name);
    const traffic = stand.traffic();
    stand.server.stop();
    await stand.setExtension(filter(BY_ADDRESS, { module: anotherBuild(stand.file('second.wasm'), 'second') }));
    await sleep(LONGER_THAN_ANY_SEARCH);
    expect(await stand.names({ from })).toEqual([gone.name, SERVER.name]);
    stand.server.remove(gone.uid);
    await stand.server.restart();
    await stand.untilStreams(1);
    await stand.until('it is forgotten', async () => (await stand.names({ from }))[0] === undefined);
    expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
    await expectOneLiveStream(stand);
  });
});

test.concurrent.each(TAKES_FIRST_VM_LATE)(
  'the filter comes only later, goes, and comes again, on Envoy %s',
  async (_, version) => {
    const busy = { ...listening('busy', filter({})), filters: [] };
    await using stand = await DiscoveryStand.start({
      version,
      workers: 4,
      lds: true,
      drainSeconds: 1,
      listeners: [busy],
    });
    expect(stand.server.streams).toHaveLength(0);
    for (let round = 1; round <= 2; round++) {
      await stand.setListeners([busy, listening('main', filter(BY_ADDRESS))]);
      await stand.untilKnown();
      const traffic = stand.traffic();
      await sleep(LONGER_THAN_ANY_SEARCH);
      expect(Object.keys(await traffic.stop())).toEqual([ALL_KNOWN]);
      expect(stand.server.open).toHaveLength(1);
      expect(stand.server.streams).toHaveLength(round);
      expect(await stand.metric('discovery_on_worker')).toBe(0);
      await stand.setListeners([busy]);
      await stand.untilStreams(0);
    }
  },
);

test.concurrent('a listener of which only something else changes keeps the stream', async () => {
  await using stand = await DiscoveryStand.start({ workers: 2, lds: true, drainSeconds: 1 });
  await stand.untilKnown();
  const [stream] = stand.server.streams;
  const changed = listening('main', filter(BY_ADDRESS), { manager: { server_name: 'changed' } });
  expect(httpListener(changed)).not.toEqual(httpListener(listening('main', filter(BY_ADDRESS))));
  await stand.setListeners([changed]);
  await sleep(DRAINED);
  expect(stand.server.open).toEqual([stream]);
  expect(await stand.names()).toEqual(BOTH);
});
