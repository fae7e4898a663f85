// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { App } from '../../testkit/http.ts';
import { metadataExchange } from '../support/cli.ts';
import type { Example } from '../support/consumers.ts';
import { startIstioMetrics, startModuleMetrics } from '../support/istio_metrics.ts';

/** `metadata-exchange map` with real Envoys, and with pages that they would write. */

/** Edges of `--json`, one line each. */
function lines(stdout: string): string[] {
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the command
  return JSON.parse(stdout).edges.map(({ source, destination, requests, errors, seen_by }: any) =>
    [source.name, '→', destination.name, requests, errors, ...seen_by].join(' '),
  );
}

/** Waits until Envoy's page has this many requests in its histograms. */
async function counted(example: Example, count: number): Promise<void> {
  await example.envoy.until(`${count} are counted`, async () => {
    const page = await example.envoy.admin('/stats/prometheus?filter=istio_request_duration');
    const counts = Array.from(page.matchAll(/_count\{.*\} (\d+)/g), ([, each]) => Number(each));
    return counts.reduce((sum, each) => sum + each, 0) === count;
  });
}

describe('real Envoys', () => {
  test('all since they started: each edge once, with its errors', async () => {
    await using example = await startIstioMetrics();
    for (const path of ['/', '/', '/', '/broken']) await example.send('productpage', { path });
    await example.send('loadtest', {});
    await example.send('reviews', {});
    await counted(example, 11);
    const { code, stdout, stderr } = await metadataExchange(['map', '--total', '--json', example.envoy.adminAddress()]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(lines(stdout)).toEqual([
      'productpage-v1 → reviews-v1 4 1 source destination',
      'loadtest-v1 → reviews-v1 1 0 source destination',
      'unknown → reviews-v1 1 0 destination',
    ]);
    for (const { p50, p99 } of JSON.parse(stdout).edges) expect(p99).toBeGreaterThanOrEqual(p50);
  });

  test('some seconds: a rate, of those seconds alone', async () => {
    await using example = await startIstioMetrics();
    for (let i = 0; i < 10; i++) await example.send('loadtest', {});
    await counted(example, 20);
    const running = metadataExchange(['map', '--seconds', '4', '--json', example.envoy.adminAddress()]);
    let ended = false;
    running.then(() => {
      ended = true;
    });
    let sent = 0;
    for (; !ended; sent++) {
      await example.send('productpage', {});
      await sleep(100);
    }
    const { stdout } = await running;
    const { seconds, edges } = JSON.parse(stdout);
    expect(seconds).toBeGreaterThan(3.9);
    expect(seconds).toBeLessThan(8);
    const [productpage, loadtest] = edges;
    expect(loadtest).toMatchObject({ source: { name: 'loadtest-v1' }, requests: 0, rate: 0, p50: null });
    expect(productpage.requests).toBeGreaterThan(10);
    expect(productpage.requests).toBeLessThan(sent);
    expect(productpage.rate).toBeCloseTo(productpage.requests / seconds);
    expect(productpage.p50).toBeGreaterThan(0);
  });
});

const ENDS = 'reporter="source",source_workload="gateway",destination_workload="productpage"';
const PAGE = `# TYPE istio_requests_total counter
istio_requests_total{${ENDS},response_code="200"} 8
istio_requests_total{${ENDS},response_code="503"} 2
`;

const serving = (body: string, status = 200) => App.start(() => ({ status, body }));
const at = ({ port }: App) => `127.0.0.1:${port}`;

describe('the module’s own metrics', () => {
  test('are the same map', async () => {
    await using example = await startModuleMetrics({ hasTags: true });
    for (let i = 0; i < 4; i++) await example.send('productpage', {});
    await example.send('loadtest', {});
    await example.send('reviews', {});
    await counted(example, 11);
    const { code, stdout } = await metadataExchange(['map', '--total', '--json', example.envoy.adminAddress()]);
    expect(code).toBe(0);
    expect(lines(stdout)).toEqual([
      'productpage-v1 → reviews-v1 4 0 source destination',
      'loadtest-v1 → reviews-v1 1 0 source destination',
      'unknown → reviews-v1 1 0 destination',
    ]);
  });

  test('of an Envoy without stats_tags: it is said what is missing', async () => {
    await using example = await startModuleMetrics({ hasTags: false });
    await example.send('productpage', {});
    await example.envoy.until('it is counted', async () => {
      return (await example.envoy.admin('/stats/prometheus?filter=istio_requests_total')).includes('reporter');
    });
    const { code, stderr } = await metadataExchange(['map', '--total', example.envoy.adminAddress()]);
    expect(code).toBe(1);
    expect(stderr).toContain('labels stand in the metrics’ names: its bootstrap needs Istio’s stats_tags');
  });
});

describe('pages', () => {
  test('as a table, without colours in a pipe', async () => {
    await using app = await serving(PAGE);
    const { stdout } = await metadataExchange(['map', '--total', at(app)], '', { FORCE_COLOR: '1' });
    expect(stdout.split('\n')).toEqual([
      'who calls   whom          protocol   requests   errors   p50   p99   told by',
      'gateway     productpage   unknown          10      20%     -     -   source',
      '',
    ]);
  });

  test('as a picture', async () => {
    await using app = await serving(PAGE);
    const { stdout } = await metadataExchange(['map', '--total', '--mermaid', at(app)]);
    expect(stdout).toBe(
      'flowchart LR\n  n0["gateway"]\n  n1["productpage"]\n  n0 -->|"10, 20#37; errors, p99 -"| n1\n',
    );
  });

  test('of TCP: connections and bytes each way, beside requests', async () => {
    const tcp = 'reporter="source",source_workload="ratings",destination_workload="ratings-db",request_protocol="tcp"';
    const counters = { connections_opened: 7, connections_closed: 4, received_bytes: 1200, sent_bytes: 3_400_000 };
    const lines = Object.entries(counters).map(([name, value]) => `istio_tcp_${name}_total{${tcp}} ${value}\n`);
    await using app = await serving(PAGE + lines.join(''));
    expect((await metadataExchange(['map', '--total', at(app)])).stdout.split('\n')).toEqual([
      'who calls   whom          protocol   requests   errors   p50   p99   connections    there     back   told by',
      'gateway     productpage   unknown          10      20%     -     -             -        -        -   source',
      'ratings     ratings-db    tcp               -        -     -     -   3 open of 7   1.2 kB   3.4 MB   source',
      '',
    ]);
    const { stdout } = await metadataExchange(['map', '--total', '--mermaid', at(app)]);
    expect(stdout).toContain('n2 -->|"3 open of 7, 1.2 kB there, 3.4 MB back"| n3');
    const { edges } = JSON.parse((await metadataExchange(['map', '--seconds=1', '--json', at(app)])).stdout);
    expect(edges[0].connections).toBeNull();
    expect(edges[1].connections).toEqual({ opened: 0, open: 3, received: 0, sent: 0 });
  });

  test('of several addresses, of a file, and of the standard input are one map', async () => {
    await using one = await serving(PAGE);
    await using other = await serving(PAGE);
    const folder = mkdtempSync(join(tmpdir(), 'cli-'));
    try {
      const file = join(folder, 'envoys.txt');
      writeFileSync(file, `# the second\n\n  ${at(other)}  # and no more\n`);
      const { stdout } = await metadataExchange(['map', '--total', '--json', at(one), '--file', file]);
      expect(lines(stdout)).toEqual(['gateway → productpage 20 4 source']);
      const { stdout: read } = await metadataExchange(['map', '--total', '--json', '--file', '-'], `${at(one)}\n`);
      expect(lines(read)).toEqual(['gateway → productpage 10 2 source']);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('are asked for what is needed, and a whole address is asked as it is', async () => {
    await using app = await serving(PAGE);
    await metadataExchange(['map', '--total', at(app), `http://${at(app)}/metrics?x=1`]);
    expect(app.seen.map(({ path }) => path).sort()).toEqual([
      '/metrics?x=1',
      '/stats/prometheus?filter=istio_requests_total|istio_request_duration_milliseconds|istio_tcp_',
    ]);
  });

  test('that somebody does not give: the map of the others, one line for each, and the exit code 1', async () => {
    await using app = await serving(PAGE);
    await using broken = await serving('no healthy upstream', 503);
    await using garbage = await serving('istio_requests_total{ 5\n');
    const gone = await serving('');
    const goneAt = at(gone);
    await gone[Symbol.asyncDispose]();
    const args = ['map', '--total', '--json', at(app), at(broken), at(garbage), goneAt];
    const { code, stdout, stderr } = await metadataExchange(args);
    expect(code).toBe(1);
    expect(lines(stdout)).toEqual(['gateway → productpage 10 2 source']);
    expect(stderr.trim().split('\n').sort()).toEqual(
      [
        `${at(broken)}: answered 503: no healthy upstream`,
        `${at(garbage)}: line 1 is not a sample of Prometheus' text format`,
        `${goneAt}: ECONNREFUSED`,
      ].sort(),
    );
  });

  test('without Istio’s metrics: nobody called anybody', async () => {
    await using app = await serving('envoy_server_live{} 1\n');
    const { code, stdout, stderr } = await metadataExchange(['map', '--total', at(app)]);
    expect({ code, stdout }).toEqual({ code: 0, stdout: '' });
    expect(stderr).toBe('Nobody called anybody: there is no istio_requests_total.\n');
  });

  test('with hostile names leave the terminal alone', async () => {
    await using app = await serving(PAGE.replaceAll('gateway', '\u001b[2J\\n\u202egateway'));
    const { stdout } = await metadataExchange(['map', '--total', at(app)]);
    expect(stdout).toContain('\\u{1b}[2J\\u{a}\\u{202e}gateway ');
  });
});
