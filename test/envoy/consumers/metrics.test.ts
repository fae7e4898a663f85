// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Example, OLDEST_AND_NEWEST, row, takes } from '../../support/consumers.ts';

/** envoy/consumers/metrics: requests counted by peer, by Envoy itself. */

describe.each(OLDEST_AND_NEWEST)('metrics by peer, Envoy %s', (_, version) => {
  test(row('metrics'), async () => {
    if (!takes('metrics', version)) {
      await expect(Example.start('metrics', { version })).rejects.toThrow(
        'envoy.extensions.access_loggers.stats.v3.Config',
      );
      return;
    }
    await using example = await Example.start('metrics', { version });
    for (const listener of ['productpage', 'productpage', 'loadtest', 'reviews']) await example.send(listener, {});
    const counters = () =>
      example.envoy.admin('/stats/prometheus').then((page) => page.match(/^.*peer_app.*$/gm)?.sort());
    const expected = [
      'envoy_productpage_requests{peer_app="reviews",peer_namespace="default",status="200"} 2',
      'envoy_reviews_requests{peer_app="",peer_namespace="",status="200"} 1',
      'envoy_reviews_requests{peer_app="loadtest",peer_namespace="testing",status="200"} 1',
      'envoy_reviews_requests{peer_app="productpage",peer_namespace="default",status="200"} 2',
    ];
    await example.envoy.until('all is counted', async () => (await counters())?.length === expected.length);
    expect(await counters()).toEqual(expected);
  });
});
