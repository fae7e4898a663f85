// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import getPort from 'get-port';

/** One series of an answer: its labels, and its values, oldest first. */
export interface Answered {
  metric: Record<string, string>;
  values: number[];
}

/** A real Prometheus server: Debian's package. */
export class Prometheus implements AsyncDisposable {
  private constructor(
    private readonly process: ChildProcess,
    private readonly folder: string,
    readonly url: string,
  ) {}

  /** A server that asks these addresses, which are Envoys' admin pages, each second. */
  static start(...targets: string[]): Promise<Prometheus> {
    const scraped = { job_name: 'envoy', metrics_path: '/stats/prometheus', static_configs: [{ targets }] };
    return Prometheus.startWith({ global: { scrape_interval: '1s' }, scrape_configs: [scraped] });
  }

  /** A server with a configuration; throws with its log if it does not start. */
  static async startWith(config: object): Promise<Prometheus> {
    const folder = mkdtempSync(join(tmpdir(), 'prometheus-'));
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

  /** What a query gives now. */
  async query(query: string): Promise<Answered[]> {
    const { result } = await this.ask('query', { query });
    return (result as { metric: Record<string, string>; value: [number, string] }[]).map(({ metric, value }) => ({
      metric,
      values: [Number(value[1])],
    }));
  }

  /** What a panel with a query shows of the last seconds. */
  async queryRange(query: string, seconds: number): Promise<Answered[]> {
    const end = Date.now() / 1000;
    const { result } = await this.ask('query_range', { query, start: `${end - seconds}`, end: `${end}`, step: '1' });
    return (result as { metric: Record<string, string>; values: [number, string][] }[]).map(({ metric, values }) => ({
      metric,
      values: values.map(([, value]) => Number(value)),
    }));
  }

  private async ask(path: string, parameters: Record<string, string>) {
    const body = new URLSearchParams(parameters);
    const response = await fetch(`${this.url}/api/v1/${path}`, { method: 'POST', body });
    const { status, data, error } = await response.json();
    if (status !== 'success') throw new Error(`Prometheus refuses ${parameters.query}: ${error}`);
    return data;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.process.pid !== undefined && this.process.exitCode === null) {
      this.process.kill('SIGKILL');
      await once(this.process, 'exit');
    }
    rmSync(this.folder, { recursive: true });
  }
}
