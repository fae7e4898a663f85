// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ROOT, testedVersions } from '../../../testkit/envoy/binary.ts';
import { type Bootstrap, validate } from '../../../testkit/envoy/process.ts';
import { METADATA } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { Example, OLDEST_AND_NEWEST, row, takes } from '../../support/consumers.ts';
import { counts, expectCounts, series } from '../../support/traffic.ts';

/** envoy/consumers/metrics: Istio's request metrics by peer, from the filter, and from Envoy's own stats logger. */

const STATS_LOGGER = 'stats_logger.yaml';
const flushing = (config: Bootstrap) => Object.assign(config, { stats_flush_interval: '0.2s' });
const EDGE = 'reporter source_workload source_workload_namespace destination_workload response_code';
const METRICS = [
  'istio_requests_total',
  'istio_request_duration_milliseconds_count',
  'istio_request_bytes_count',
  'istio_response_bytes_count',
];

/** What an Envoy shows of each metric; they are shown when they are flushed. */
async function shown({ envoy }: Example, requests: number): Promise<string[][]> {
  const names: string[][] = [];
  for (const metric of METRICS) {
    const isThere = async () => Object.values(await counts(envoy, ['reporter'], metric)).some((n) => n === requests);
    await envoy.until(`${metric} is flushed`, isThere);
    names.push([metric, ...Object.keys((await series(envoy, metric))[0].labels).sort()]);
  }
  return names;
}

describe.each(OLDEST_AND_NEWEST)('metrics by peer, Envoy %s', (_, version) => {
  test(row('metrics-module'), async () => {
    await using example = await Example.start('metrics', { version, change: flushing });
    for (const listener of ['productpage', 'productpage', 'loadtest', 'reviews']) await example.send(listener, {});
    await expectCounts(example.envoy, EDGE, {
      'source productpage-v1 default reviews-v1 200': 2,
      'source loadtest-v1 testing reviews-v1 200': 1,
      'destination productpage-v1 default reviews-v1 200': 2,
      'destination loadtest-v1 testing reviews-v1 200': 1,
      'destination unknown unknown reviews-v1 200': 1,
    });
  });

  test(row('metrics'), async () => {
    if (!takes('metrics', version)) {
      await expect(Example.start('metrics', { version, file: STATS_LOGGER })).rejects.toThrow('it ended');
      return;
    }
    await using example = await Example.start('metrics', { version, file: STATS_LOGGER, change: flushing });
    for (const listener of ['productpage', 'productpage', 'reviews']) await example.send(listener, {});
    await expectCounts(example.envoy, EDGE, {
      'source productpage-v1 default reviews-v1 200': 2,
      'destination productpage-v1 default reviews-v1 200': 2,
      'destination   reviews-v1 200': 1,
    });
  });

  test('both have the same names and labels', async () => {
    if (!takes('metrics', version)) return;
    await using module = await Example.start('metrics', { version, change: flushing });
    await using logger = await Example.start('metrics', { version, file: STATS_LOGGER, change: flushing });
    for (const example of [module, logger]) await example.send('productpage', {});
    expect(await shown(module, 1)).toEqual(await shown(logger, 1));
  });
});

test('the rules of envoy.yaml are those that are shipped', () => {
  const read = (path: string) => parse(readFileSync(join(ROOT, path), 'utf8'));
  const shipped = read('envoy/stats_tags.yaml').stats_config;
  expect(read('envoy/consumers/metrics/envoy.yaml').stats_config).toEqual(shipped);
});

/** From Envoy 1.39 the stats logger is bounded by a scope of its own, as docs/metrics.md says. */
const BOUNDED = testedVersions().filter((version) => !version || /^1\.(39|4)/.test(version));

/** The configuration with such a scope in place of each prefix. */
function bound(config: Bootstrap): void {
  const scope = { prefix: 'wasmcustom', max_counters: 2, max_histograms: 6, enable_eviction: true };
  for (const { filter_chains } of config.static_resources.listeners) {
    const [log] = filter_chains[0].filters[0].typed_config.access_log;
    log.typed_config.stats_scope = scope;
    delete log.typed_config.stat_prefix;
  }
  Object.assign(config, { stats_flush_interval: '5s', stats_eviction_interval: '60s' });
}

test.each(BOUNDED)(
  'with stats_scope Envoy %s takes so many of them, and does not count the others',
  async (version) => {
    await using example = await Example.start('metrics', { version, file: STATS_LOGGER, change: bound });
    for (let i = 0; i < 5; i++) {
      await example.send('reviews', { headers: [METADATA, struct.header({ WORKLOAD_NAME: `peer-${i}` })] });
    }
    await expectCounts(example.envoy, 'source_workload', { 'peer-0': 1, 'peer-1': 1 });
  },
);

test('a pasted stats_tags.yaml is a bootstrap by itself', async () => {
  expect((await validate('envoy/stats_tags.yaml')).valid).toBe(true);
});
