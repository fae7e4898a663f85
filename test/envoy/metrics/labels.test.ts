// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import {
  expectCounts,
  OLDEST_AND_NEWEST,
  type Series,
  series,
  startCounting,
  workload,
} from '../../support/traffic.ts';

/** What stands in labels: what a peer says of itself, and what it makes up stays in the label that it is for. */

const saying = (says: object) => ({ headers: [METADATA, struct.header(says)] });

/** The series of one request from such a peer, and that no other metric came of it. */
async function seriesOf(version: string | undefined, says: object): Promise<Series['labels']> {
  const { envoy, port } = await startCounting({ version });
  await using _ = envoy;
  await send(port, saying(says));
  await expectCounts(envoy, 'reporter', { destination: 1 });
  const page = await envoy.admin('/stats/prometheus');
  const names = Array.from(page.matchAll(/^# TYPE (\S*istio\S*) /gm), ([, name]) => name).sort();
  expect(names, 'no metric with a name that somebody else chose').toEqual([
    'istio_request_bytes',
    'istio_request_duration_milliseconds',
    'istio_requests_total',
    'istio_response_bytes',
  ]);
  expect(page.includes('\ufffd'), 'a page that is no UTF-8 is refused by Prometheus as a whole').toBe(false);
  return (await series(envoy))[0].labels;
}

describe.each(OLDEST_AND_NEWEST)('labels of what a peer says, Envoy %s', (_, version) => {
  test('a peer that has no Istio labels is known by `app` and `version`, or by its name', async () => {
    const plain = await seriesOf(version, { WORKLOAD_NAME: 'web-1', LABELS: { app: 'web', version: '7' } });
    expect([plain.source_canonical_service, plain.source_canonical_revision]).toEqual(['web', '7']);
    const bare = await seriesOf(version, { WORKLOAD_NAME: 'web-1' });
    expect([bare.source_canonical_service, bare.source_canonical_revision]).toEqual(['web-1', 'latest']);
    expect([bare.source_app, bare.source_version]).toEqual(['unknown', 'unknown']);
  });

  test('labels of our own, of whatever field of the peer', async () => {
    const labels = { team: 'LABELS.team', zone: 'LOCALITY.zone' };
    const config = { metrics: { labels } };
    const { envoy, port } = await startCounting({ version, config, tags: ['team', 'zone'] });
    await using _ = envoy;
    await send(port, saying({ LABELS: { team: 'books' }, LOCALITY: { zone: 'eu-1' } }));
    await send(port, saying({ LABELS: { team: 'books' } }));
    await send(port, saying({ LABELS: { team: 'films' } }));
    await send(port, {});
    await expectCounts(envoy, 'team zone', {
      'books eu-1': 1,
      'books unknown': 1,
      'films unknown': 1,
      'unknown unknown': 1,
    });
  });

  test('labels whose names end as others do, in any order', async () => {
    const labels = { my_team: 'LABELS.mine', team: 'LABELS.team', app: 'LABELS.own', am: 'LABELS.am' };
    const config = { metrics: { labels } };
    const { envoy, port } = await startCounting({ version, config, tags: Object.keys(labels) });
    await using _ = envoy;
    await send(port, saying({ LABELS: { mine: 'm', team: 't', own: 'o', am: 'a', app: 'books' } }));
    await expectCounts(envoy, 'my_team team app am source_app', { 'm t o a books': 1 });
  });

  test('pods of one workload share a series', async () => {
    const { envoy, port } = await startCounting({ version });
    await using _ = envoy;
    for (let i = 0; i < 20; i++) await send(port, saying(workload('productpage', { NAME: `pod-${i}`, IP: i })));
    await expectCounts(envoy, 'source_workload', { 'productpage-v1': 20 });
    expect(await series(envoy)).toHaveLength(1);
  });

  test('without the rules of stats_tags all of it stands in the name', async () => {
    const { envoy, port } = await startCounting({ version, bare: true });
    await using _ = envoy;
    await send(port, saying(workload('productpage')));
    await envoy.until('it is counted', async () => (await envoy.admin('/stats')).includes('istio_requests_total: 1'));
    const page = await envoy.admin('/stats');
    expect(page).toContain('wasmcustom.reporter=.=destination;.;source_workload=.=productpage-v1;.;');
    expect((await series(envoy)).length).toBe(0);
  });
});

describe.each(OLDEST_AND_NEWEST)('a hostile peer stays in its label, Envoy %s', (_, version) => {
  const hostile: [string, string, string?][] = [
    ['the end of a label', 'a;.;b', 'a_._b'],
    ['another label', 'a;.;reporter=.=evil;.;', 'a_._reporter_.=evil_._'],
    ['another label, begun by its own beginning', 'destination_workload=.=evil', 'destination_workload_.=evil'],
    ['a beginning that ends in the middle', '.=evil', '.=evil'],
    ['what Prometheus must escape', 'a"b\\c"} 7', 'a"b\\c"} 7'],
    ['names of Envoy’s own metrics', 'listener_manager.worker_1.cluster.evil._rq_503'],
    ['slashes, colons and spaces', 'spiffe://a/b c::d'],
    ['letters of the whole world', 'größe-書評-🍕'],
    ['dots at its end, which Envoy drops', 'a..', 'a'],
    ['nothing but dots', '....', ''],
    ['a name of a metric', 'istio_requests_total'],
  ];
  test.each(hostile)('%s', async (_, value, shown) => {
    const labels = await seriesOf(version, { WORKLOAD_NAME: value, NAMESPACE: value, LABELS: { app: 'a' } });
    const expected = shown ?? value;
    expect([labels.source_workload, labels.source_workload_namespace]).toEqual([expected, expected]);
    expect([labels.reporter, labels.destination_workload, labels.source_app]).toEqual([
      'destination',
      'reviews-v1',
      'a',
    ]);
  });

  test('very long values, in every field, are cut off between two letters', async () => {
    const long = 'é'.repeat(300);
    const says = { WORKLOAD_NAME: long, NAMESPACE: `x${long}`, CLUSTER_ID: '書'.repeat(100), LABELS: { app: long } };
    const labels = await seriesOf(version, says);
    expect(labels.source_workload).toBe('é'.repeat(126));
    expect(labels.source_workload_namespace).toBe(`x${'é'.repeat(126)}`);
    expect(labels.source_cluster).toBe('書'.repeat(84));
    expect(labels.source_app).toBe('é'.repeat(126));
    expect(labels.reporter).toBe('destination');
  });

  test('what a client writes into its request is no label', async () => {
    const { envoy, port } = await startCounting({ version });
    await using _ = envoy;
    await send(port, { host: 'evil.example', path: '/evil', headers: ['user-agent', 'evil'] });
    await expectCounts(envoy, 'reporter', { destination: 1 });
    expect(JSON.stringify(await series(envoy))).not.toContain('evil');
  });
});
