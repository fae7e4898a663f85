// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { expect, test } from 'vitest';
import { localPort } from '../../../testkit/envoy/process.ts';
import { App } from '../../../testkit/http.ts';
import { BY_ADDRESS, CLIENT, filter, listening, OLDEST_AND_NEWEST, SERVER, VERSIONS } from '../../support/discovery.ts';
import { DiscoveryStand, namesOf } from '../../support/discovery_stand.ts';
import { FaultyServer } from '../../support/faults.ts';

/** A request that failed is attributed to the server that was tried: that is when one wants to know. */

const route = (prefix: string, cluster: string, more: object = {}) => {
  return { match: { prefix }, route: { cluster, ...more } };
};

/** A cluster with hosts at these addresses. */
const hosts = (cluster_name: string, ...addresses: object[]) => {
  const lb_endpoints = addresses.map((address) => ({ endpoint: { address } }));
  return { port: 1, load_assignment: { cluster_name, endpoints: [{ lb_endpoints }] } };
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

test.each(OLDEST_AND_NEWEST)(
  'a retry names who answered, and no answer names nobody, on Envoy %s',
  async (_, version) => {
    const dead = { uid: 'dead', name: 'dead', addresses: ['127.0.0.3'] };
    await using app = await App.start(undefined, SERVER.addresses[0]);
    const retry_policy = { retry_on: 'connect-failure', num_retries: 5 };
    await using stand = await DiscoveryStand.start({
      version,
      workloads: [CLIENT, SERVER, dead],
      listeners: [
        listening('main', filter(BY_ADDRESS), {
          routes: [
            route('/retried', 'two', { retry_policy }),
            route('/tried-once', 'two'),
            route('/no-host', 'none'),
            { match: { prefix: '/no-server' }, direct_response: { status: 200 } },
            route('/', 'app'),
          ],
        }),
      ],
      clusters: {
        two: hosts('two', localPort(app.port, SERVER.addresses[0]), localPort(1, dead.addresses[0])),
        none: hosts('none'),
      },
    });
    await stand.untilKnown();
    for (let n = 0; n < 6; n++) {
      const { answer, log } = await stand.ask({ path: `/retried/${n}` });
      expect([answer.status, ...namesOf(log)]).toEqual([200, CLIENT.name, SERVER.name]);
    }
    const tried: unknown[] = [];
    for (let n = 0; n < 6; n++) {
      const { answer, log } = await stand.ask({ path: `/tried-once/${n}` });
      tried.push(`${answer.status} ${namesOf(log)[1]}`);
    }
    expect([...new Set(tried)].sort(), 'the one that failed, and the other').toEqual([
      `200 ${SERVER.name}`,
      '503 dead',
    ]);
    for (const [path, status] of [
      ['/no-host/1', 503],
      ['/no-server/1', 200],
    ] as const) {
      const { answer, log } = await stand.ask({ path });
      expect([answer.status, ...namesOf(log)], path).toEqual([status, CLIENT.name, undefined]);
    }
  },
);
