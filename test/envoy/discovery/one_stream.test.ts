// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ConfigFiles } from '../../support/config_files.ts';
import {
  anotherBuild,
  BY_ADDRESS,
  bootstrapService,
  filter,
  generation,
  LONGER_THAN_ANY_SEARCH,
  listening,
  MOMENT,
  VERSIONS,
} from '../../support/discovery.ts';
import { ALL_KNOWN, BOTH, DiscoveryStand } from '../../support/discovery_stand.ts';

/** A proxy asks the control plane once, however many threads, listeners and configurations it has. */

test.concurrent.each(VERSIONS)(
  'four workers and two configurations under traffic: one stream, on Envoy %s',
  async (_, version) => {
    await using stand = await DiscoveryStand.start({
      version,
      workers: 4,
      listeners: [listening('main', filter(generation(1))), listening('other', filter(generation(2)))],
    });
    await stand.untilKnown('main');
    await stand.untilKnown('other');
    const traffic = [stand.traffic('main'), stand.traffic('main'), stand.traffic('other'), stand.traffic('other')];
    await sleep(LONGER_THAN_ANY_SEARCH);
    for (const each of traffic) expect(Object.keys(await each.stop())).toEqual([ALL_KNOWN]);
    expect(stand.server.streams).toHaveLength(1);
    expect(stand.server.open).toHaveLength(1);
    await stand.untilMetric('discovery_streams', 1);
    await stand.untilMetric('discovery_connected', 1);
    await stand.untilMetric('discovery_workloads', 2);
    await stand.untilMetric('discovery_addresses', 2);
    expect(await stand.metric('discovery_on_worker')).toBe(0);
    expect(await stand.metric('discovery_reconnects')).toBe(0);
  },
);

describe.concurrent('one stream', () => {
  test('in a VM with an id, which shares nothing with others', async () => {
    await using stand = await DiscoveryStand.start({
      workers: 2,
      listeners: [
        listening('main', filter(generation(1), { vmId: 'discovery' })),
        listening('other', filter(generation(2), { vmId: 'discovery' })),
      ],
    });
    await stand.untilKnown('main');
    await stand.untilKnown('other');
    await sleep(LONGER_THAN_ANY_SEARCH);
    expect(stand.server.streams).toHaveLength(1);
    expect(await stand.names()).toEqual(BOTH);
  });

  test('for two builds of the module side by side', async () => {
    using files = new ConfigFiles();
    const other = anotherBuild(`${files.folder}/other.wasm`, 'another build');
    await using stand = await DiscoveryStand.start({
      workers: 2,
      listeners: [listening('main', filter(BY_ADDRESS)), listening('other', filter(BY_ADDRESS, { module: other }))],
    });
    await stand.untilKnown('main');
    await stand.untilKnown('other');
    await sleep(LONGER_THAN_ANY_SEARCH);
    expect(stand.server.streams).toHaveLength(1);
    expect(await stand.names({ listener: 'other' })).toEqual(BOTH);
  });

  test.each(VERSIONS)(
    'of the bootstrap service lives on while filters come and go, on Envoy %s',
    async (_, version) => {
      await using stand = await DiscoveryStand.start({
        version,
        workers: 2,
        lds: true,
        drainSeconds: 1,
        bootstrap: bootstrapService({ workload_discovery: {} }, { name: 'discovery' }),
        listeners: [],
      });
      await stand.untilStreams(1);
      for (let n = 1; n <= 3; n++) {
        await stand.setListeners([listening('main', filter(generation(n)))]);
        await stand.untilKnown();
        await stand.setListeners([]);
        await stand.until('the filter is gone', async () => {
          return (await stand.envoy.stat('listener_manager.total_listeners_draining')) === 0;
        });
      }
      await stand.setListeners([listening('main', filter(generation(4)))]);
      await stand.untilKnown();
      await sleep(LONGER_THAN_ANY_SEARCH);
      expect(stand.server.streams).toHaveLength(1);
      expect(stand.server.overlap()).toBeLessThan(MOMENT);
      stand.server.set({ uid: 'late', name: 'late', addresses: ['127.0.0.7'] });
      await stand.until('the newcomer is known', async () => (await stand.names({ from: '127.0.0.7' }))[0] === 'late');
    },
  );
});
