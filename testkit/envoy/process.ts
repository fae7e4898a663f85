// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { envoyBinary, ROOT } from './binary.ts';

export interface EnvoyOptions {
  /** Shown in error messages. */
  name?: string;
  /** Worker threads; 1 unless told. */
  workers?: number;
  /** `--component-log-level`, such as `wasm:trace`. */
  componentLogLevel?: string;
  /** One of the versions that `make envoys` downloads; the usual Envoy unless told. */
  version?: string;
  /** How long an old listener's connections may go on after an update: `--drain-time-s`; 600 unless told. */
  drainSeconds?: number;
  /** Old connections are asked to end at once, and not one after the other in that time: where it is short. */
  drainAtOnce?: boolean;
  /** What relative paths in the configuration start from; the project's root unless told. */
  folder?: string;
  /** Put before the command: what runs it elsewhere, such as in a network namespace. */
  runner?: string[];
  /**
   * A running Envoy that this one takes over from, its sockets included: a hot restart. It ends when it has drained.
   */
  successorOf?: Envoy;
}

/** The file with an Envoy's base id, in its folder. */
const BASE_ID = 'base-id';

/** A bootstrap configuration: envoy.config.bootstrap.v3.Bootstrap as JSON. */
// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
export type Bootstrap = Record<string, any>;

/** A real Envoy process. Its listeners and its admin page may ask for port 0: any free one. */
export class Envoy implements AsyncDisposable {
  private output = '';
  private exit: Promise<unknown>;

  private constructor(
    readonly name: string,
    private readonly process: ChildProcess,
    private readonly folder: string,
    private readonly root: string,
    /** How many hot restarts came before. */
    private readonly epoch: number,
  ) {
    for (const stream of [process.stdout, process.stderr]) {
      // Whole lines only: the two must not cut each other's in halves.
      let rest = '';
      stream?.setEncoding('utf8').on('data', (chunk: string) => {
        const text = rest + chunk;
        const end = text.lastIndexOf('\n') + 1;
        this.output += text.slice(0, end);
        rest = text.slice(end);
      });
      stream?.on('end', () => {
        this.output += rest;
      });
    }
    this.exit = once(process, 'exit');
  }

  /** Starts an Envoy and waits until it serves; throws with its log if it does not. */
  static async start(config: Bootstrap, options: EnvoyOptions = {}): Promise<Envoy> {
    const folder = mkdtempSync(join(tmpdir(), 'envoy-'));
    writeFileSync(join(folder, 'envoy.json'), JSON.stringify({ admin: { address: anyPort() }, ...config }));
    const args = ['-c', join(folder, 'envoy.json'), '--admin-address-path', join(folder, 'admin')];
    // A base id of its own, and not --disable-hot-restart: so it dies with us, however we end.
    const before = options.successorOf;
    if (before) args.push('--base-id', before.baseId(), '--restart-epoch', String(before.epoch + 1));
    else args.push('--use-dynamic-base-id', '--base-id-path', join(folder, BASE_ID));
    args.push('--concurrency', String(options.workers ?? 1), '--log-level', 'warning');
    args.push('--file-flush-interval-msec', '20');
    if (options.componentLogLevel) args.push('--component-log-level', options.componentLogLevel);
    if (options.drainSeconds !== undefined) {
      args.push('--drain-time-s', String(options.drainSeconds));
      args.push('--parent-shutdown-time-s', String(options.drainSeconds + 1));
    }
    if (options.drainAtOnce) args.push('--drain-strategy', 'immediate');
    const root = options.folder ?? ROOT;
    const [command, ...rest] = [...(options.runner ?? []), envoyBinary(options.version), ...args];
    const process = spawn(command, rest, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'] });
    const envoy = new Envoy(options.name ?? 'envoy', process, folder, root, before ? before.epoch + 1 : 0);
    if (before) writeFileSync(join(folder, BASE_ID), before.baseId());
    try {
      await envoy.until('it is live', async () => {
        if (process.exitCode !== null || process.signalCode !== null) throw new Error('it ended');
        if (!existsSync(join(folder, 'admin'))) return false;
        return await envoy.admin('/ready').then(
          (page) => page.startsWith('LIVE'),
          () => false,
        );
      });
    } catch (error) {
      await envoy.stop();
      throw error;
    }
    return envoy;
  }

  /** The process's number. */
  get pid(): number {
    return this.process.pid as number;
  }

  /** Whether the process has not ended. */
  get running(): boolean {
    return this.process.exitCode === null && this.process.signalCode === null;
  }

  /** Host and port of the admin page, or the path of its socket. */
  adminAddress(): string {
    return readFileSync(join(this.folder, 'admin'), 'utf8');
  }

  /** A page of the admin interface. */
  admin(path: string, method = 'GET'): Promise<string> {
    const address = this.adminAddress();
    const [host, port] = address.split(':');
    const at = port ? { host, port } : { socketPath: resolve(this.root, address) };
    return new Promise((resolve, reject) => {
      const request = http.request({ ...at, path, method, agent: false }, async (response) => {
        try {
          let page = '';
          for await (const chunk of response.setEncoding('utf8')) page += chunk;
          resolve(page);
        } catch (error) {
          reject(error);
        }
      });
      request.on('error', reject).end();
    });
  }

  /** What an Envoy and its successors share. */
  private baseId(): string {
    return readFileSync(join(this.folder, BASE_ID), 'utf8').trim();
  }

  /** The port that a listener got. */
  async port(listener: string): Promise<number> {
    const page = JSON.parse(await this.admin('/listeners?format=json'));
    const status = page.listener_statuses?.find((each: { name: string }) => each.name === listener);
    if (!status) throw new Error(`${this.name} has no listener ${listener}`);
    return status.local_address.socket_address.port_value;
  }

  /** A counter or gauge; 0 if Envoy has none of this name. */
  async stat(name: string): Promise<number> {
    const pattern = `^${name.replaceAll(/[.|]/g, '\\$&')}$`;
    const page = await this.admin(`/stats?filter=${encodeURIComponent(pattern)}&format=json`);
    return JSON.parse(page).stats.find((each: { name?: string }) => each.name === name)?.value ?? 0;
  }

  /** All that Envoy wrote so far: its log, and access logs that go to the standard output. */
  log(): string {
    return this.output;
  }

  /** Waits until something holds; throws with the end of the log if it does not within 30 seconds. */
  async until(what: string, holds: () => boolean | undefined | Promise<boolean | undefined>): Promise<void> {
    for (const end = Date.now() + 30_000; ; ) {
      let reason = '';
      try {
        if (await holds()) return;
        if (Date.now() > end) reason = 'it took too long';
      } catch (error) {
        reason = String(error);
      }
      if (reason) throw new Error(`${this.name}: waiting until ${what}: ${reason}\n${this.output.slice(-4000)}`);
      await sleep(20);
    }
  }

  /** Stops the process and waits for its end. */
  async stop(): Promise<void> {
    this.process.kill('SIGKILL');
    await this.exit;
    // What it shared with a successor; who is killed leaves it behind.
    if (existsSync(join(this.folder, BASE_ID)))
      rmSync(`/dev/shm/envoy_shared_memory_${this.baseId()}0`, { force: true });
    rmSync(this.folder, { recursive: true, force: true });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** An address of this machine with any free port. */
export function anyPort() {
  return localPort(0);
}

/** An address of this machine. */
export function localPort(port: number, address = '127.0.0.1') {
  return { socket_address: { address, port_value: port } };
}

/** Whether an Envoy takes a configuration, given inline or as a file of the project, and what it says. */
export async function validate(config: Bootstrap | string, version?: string): Promise<{ valid: boolean; log: string }> {
  const source = typeof config === 'string' ? ['-c', config] : ['--config-yaml', JSON.stringify(config)];
  const args = ['--mode', 'validate', ...source, '--log-level', 'warning'];
  try {
    const { stdout, stderr } = await promisify(execFile)(envoyBinary(version), args, { cwd: ROOT });
    return { valid: true, log: stdout + stderr };
  } catch (error) {
    const { stdout, stderr } = error as { stdout: string; stderr: string };
    return { valid: false, log: stdout + stderr };
  }
}
