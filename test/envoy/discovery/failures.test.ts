// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { expect, test } from 'vitest';
import { BY_ADDRESS, CLIENT, filter, listening, SERVER, VERSIONS } from '../../support/discovery.ts';
import { DiscoveryStand, namesOf } from '../../support/discovery_stand.ts';
import { FaultyServer } from '../../support/faults.ts';

/** A request that failed is attributed to the server that was tried: that is when one wants to know. */

const route = (prefix: string, cluster: string, more: object = {}) => {
  return { match: { prefix }, route: { cluster, ...more } };
};

test.each(VERSIONS)('refused, reset and timed out: the log names who was tried, on Envoy %s', async (_, version) => {
  await using faulty = await FaultyServer.start(SERVER.addresses[0]);
  const address = SERVER.addresses[0];
  await using stand = await DiscoveryStand.start({
    version,
    listeners: [
      listening('main', filter(BY_ADDRESS), {
        routes: [
          route('/refused', 'refused'),
          route('/reset', 'faulty'),
          route('/hold', 'faulty', { timeout: '0.2s' }),
          route('/', 'app'),
        ],
      }),
    ],
    clusters: {
      // Nothing listens there.
      refused: { port: 1, address },
      faulty: { port: faulty.port, address },
    },
  });
  await stand.untilKnown();
  for (const [path, status] of [
    ['/refused/1', 503],
    ['/reset/1', 503],
    ['/hold/1', 504],
  ] as const) {
    const { answer, log } = await stand.ask({ path });
    expect(answer.status, path).toBe(status);
    expect(namesOf(log), path).toEqual([CLIENT.name, SERVER.name]);
    expect(log.upstream.dynamic, `${path}: in dynamic metadata`).toEqual(log.upstream.struct);
  }
});
