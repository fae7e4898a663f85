// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import getPort from 'get-port';
import { expect, test } from 'vitest';
import { metadataExchange } from '../support/cli.ts';
import { startIstioMetrics } from '../support/istio_metrics.ts';

/** `metadata-exchange map --prometheus` with a real Prometheus server (Debian's package) that scrapes a real Envoy. */

class Prometheus implements AsyncDisposable {
  private constructor(
    private readonly process: ChildProcess,
    private readonly folder: string,
    readonly url: string,
  ) {}

  /** A server that asks these addresses each second; throws with its log if it does not start. */
  static async start(...targets: string[]): Promise<Prometheus> {
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
    const scraped = { job_name: 'envoy', metrics_path: '/stats/prometheus', static_configs: [{ targets }] };
    const config = { global: { scrape_interval: '1s' }, scrape_configs: [scraped] };
    writeFileSync(join(folder, 'prometheus.yml'), JSON.stringify(config));
    const address = `127.0.0.1:${await getPort()}`;
    const args = [`--config.file=${folder}/prometheus.yml`, `--storage.tsdb.path=${folder}/data`];
    const child = spawn('prometheus', [...args, `--web.listen-address=${address}`], {
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    let log = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.on('data', (chunk) => {
        log += chunk;
      });
    }
    child.on('error', (error) => {
      log += `${error}: Debian's package prometheus is needed: \`make test\` installs it`;
    });
    const server = new Prometheus(child, folder, `http://${address}`);
    for (const end = Date.now() + 30_000; ; await sleep(100)) {
      const response = await fetch(`${server.url}/-/ready`).catch(() => undefined);
      if (response?.ok) return server;
      if (Date.now() < end && child.pid !== undefined && child.exitCode === null) continue;
      await server[Symbol.asyncDispose]();
      throw new Error(`Prometheus did not start: ${log.slice(-2000)}`);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.pid !== undefined && this.process.exitCode === null) {
      this.process.kill('SIGKILL');
      await once(this.process, 'exit');
    }
    rmSync(this.folder, { recursive: true });
  }
}

test('a Prometheus server knows the same map: rates, errors, percentiles, and totals', async () => {
  await using example = await startIstioMetrics();
  // A series that was born between two scrapes grows, for Prometheus, only from then on.
  for (const path of ['/', '/broken']) await example.send('productpage', { path });
  await using prometheus = await Prometheus.start(example.envoy.adminAddress());
  const start = Date.now();
  for (let i = 0; Date.now() < start + 12_000; i++) {
    await example.send('productpage', { path: i % 4 === 0 ? '/broken' : '/' });
    await sleep(50);
  }

  const { code, stdout, stderr } = await metadataExchange([
    ...['map', '--prometheus', prometheus.url, '--seconds', '8', '--json'],
  ]);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  const [edge, ...others] = JSON.parse(stdout).edges;
  expect(others).toEqual([]);
  expect(edge).toMatchObject({
    source: { kind: 'workload', name: 'productpage-v1', namespace: 'default' },
    destination: { kind: 'workload', name: 'reviews-v1', namespace: 'default' },
    protocol: 'http',
    reporter: 'source',
    seen_by: ['source', 'destination'],
  });
  expect(edge.rate).toBeGreaterThan(5);
  expect(edge.rate).toBeLessThan(25);
  expect(edge.errors / edge.requests).toBeCloseTo(0.25, 1);
  expect(edge.p50).toBeGreaterThan(0);
  expect(edge.p99).toBeGreaterThanOrEqual(edge.p50);

  await sleep(2500);
  const total = await metadataExchange(['map', '--prometheus', prometheus.url, '--total', '--json']);
  const asked = await metadataExchange(['map', '--total', '--json', example.envoy.adminAddress()]);
  expect(JSON.parse(total.stdout)).toEqual(JSON.parse(asked.stdout));
});

test('a Prometheus server that is not there, and one that is something else', async () => {
  const nobody = `127.0.0.1:${await getPort()}`;
  const gone = await metadataExchange(['map', '--prometheus', nobody]);
  expect(gone).toEqual({ code: 1, stdout: '', stderr: `${nobody}: ECONNREFUSED\n` });
  await using example = await startIstioMetrics();
  const { code, stderr } = await metadataExchange(['map', '--prometheus', example.envoy.adminAddress()]);
  expect(code).toBe(1);
  expect(stderr).toContain(`${example.envoy.adminAddress()}: answered 404`);
});
