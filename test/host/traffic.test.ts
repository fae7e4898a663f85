// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { METADATA } from '../../testkit/http.ts';
import { Random } from '../../testkit/random.ts';
import { struct } from '../../testkit/struct.ts';
import { direction, INBOUND, OUTBOUND } from '../support/module_stand.ts';

/**
 * The names of Istio's request metrics, read by the rules that are shipped for Envoy: whatever a peer says, each label has
 * what the peer said for it, and no metric has a name that a peer chose.
 */

const TAGS: { tag_name: string; regex: string }[] = parse(readFileSync(join(ROOT, 'envoy/stats_tags.yaml'), 'utf8'))
  .stats_config.stats_tags;
const LABELS = { app: 'LABELS.a', team: 'LABELS.b', my_team: 'LABELS.c' };
const RULES = [...TAGS, ...Object.keys(LABELS).map((name) => ({ tag_name: name, regex: `(${name}=\\.=(.*?);\\.;)` }))];

/** What Envoy makes of a metric's name: its labels, and what is left of it. */
function read(name: string): { labels: Record<string, string>; rest: string } {
  const labels: Record<string, string> = {};
  let rest = name;
  for (const { tag_name, regex } of RULES) {
    const found = new RegExp(regex, 's').exec(name);
    if (!found) continue;
    labels[tag_name] = found[2];
    rest = rest.replace(found[1], () => '');
  }
  return { labels, rest };
}

const PIECES = [
  ...[';', '.', '=', '=.=', ';.;', '.;', '=.', ';.', '"', '\\', ' ', 'a', 'é', '書', '🍕'],
  ...['reporter', 'source_app=.=', 'my_team=.=x;.;', 'istio_requests_total', 'x'.repeat(100)],
];
const hostile = (random: Random) => Array.from({ length: random.below(8) }, () => random.pick(PIECES)).join('');

/** The value of a label that a peer said something for. */
function shown(text: string): string {
  if (text === '') return 'unknown';
  let bytes = Buffer.from(text).subarray(0, 253);
  // Cut off between two letters.
  while (bytes.toString().includes('\ufffd')) bytes = bytes.subarray(0, -1);
  return bytes.toString().replaceAll(';', '_').replaceAll('=.', '_.');
}

const number = (value: number) => {
  const bytes = Buffer.alloc(8);
  bytes.writeBigUInt64LE(BigInt(value));
  return bytes;
};

test.each([
  ['server', INBOUND, 'source'],
  ['client', OUTBOUND, 'destination'],
] as const)('2,000 hostile peers of a %s', (_, side, peer) => {
  const host = new Host({ 'xds.node': NODE, 'xds.listener_direction': direction(side) });
  const root = host.configure(JSON.stringify({ metrics: { max_series: 10_000, labels: LABELS } })) as number;
  const random = new Random(15);
  for (let i = 0; i < 2000; i++) {
    const [workload, namespace, cluster, app, a, b, c] = Array.from({ length: 7 }, () => hostile(random));
    const says = {
      WORKLOAD_NAME: workload,
      NAMESPACE: namespace,
      CLUSTER_ID: cluster,
      LABELS: { app, version: `v${i}`, a, b, c },
    };
    const header = [METADATA, struct.header(says)] as [string, string];
    const before = Object.keys(host.metrics).length;
    const stream = host.stream(root).with({ 'response.code': number(200), 'response.flags': number(0) });
    stream.onRequest(...(side === INBOUND ? [header] : [])).onResponse(...(side === INBOUND ? [] : [header]));
    stream.onLog().end();
    const made = Object.keys(host.metrics).slice(before).map(read);
    expect(made.map(({ rest }) => rest)).toEqual([
      'istio_requests_total',
      'istio_request_duration_milliseconds',
      'istio_request_bytes',
      'istio_response_bytes',
    ]);
    for (const { labels } of made) {
      expect(labels).toMatchObject({
        [`${peer}_workload`]: shown(workload),
        [`${peer}_workload_namespace`]: shown(namespace),
        [`${peer}_cluster`]: shown(cluster),
        [`${peer}_app`]: shown(app),
        [`${peer}_version`]: `v${i}`,
        app: shown(a),
        team: shown(b),
        my_team: shown(c),
        response_code: '200',
        response_flags: '-',
      });
      expect(Object.keys(labels)).toHaveLength(RULES.length);
    }
  }
});
