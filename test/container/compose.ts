// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import getPort from 'get-port';
import { onTestFinished } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** Compose files as users start them. */

const run = promisify(execFile);

/** The compose that answers: the plugin of newer Docker clients, or the program that is older. */
async function findCompose(): Promise<string[]> {
  for (const [command, ...args] of [['docker', 'compose'], ['docker-compose']]) {
    const answers = await run(command, [...args, 'version']).catch(() => undefined);
    if (answers) return [command, ...args];
  }
  throw new Error('neither `docker compose` nor `docker-compose` answers: run `tools/install-packages.sh compose`');
}

/** A compose file as shipped, as a project of its own. What it started is gone when the test ends. */
export class Project {
  private constructor(
    private readonly compose: string[],
    private readonly env: NodeJS.ProcessEnv,
  ) {}

  /** The file with these variables, of which nothing is started yet. */
  static async of(file: string, variables: Record<string, string>): Promise<Project> {
    const name = `metadata-exchange-${process.pid}-${await getPort()}`;
    const compose = [...(await findCompose()), '-p', name, '-f', file];
    return new Project(compose, { ...process.env, ...variables });
  }

  /** Runs a command of compose; the answer is what it wrote. */
  async run(...args: string[]): Promise<string> {
    const [command, ...before] = this.compose;
    const { stdout } = await run(command, [...before, ...args], { cwd: ROOT, env: this.env, timeout: 60_000 });
    return stdout.trim();
  }

  /** Starts these services, or all. */
  async up(...services: string[]): Promise<void> {
    // Not `await using`: this is done after a timeout, too.
    onTestFinished(async () => void (await this.run('down', '-v', '--remove-orphans', '--timeout', '1')), 60_000);
    await this.run('up', '--detach', ...services);
  }

  /** The container of a service. */
  container(service: string): Promise<string> {
    return this.run('ps', '-q', service);
  }
}

/** Waits for the first 200: until all are ready there is no answer, or a 503. */
export async function untilReady(url: string): Promise<void> {
  for (const end = Date.now() + 60_000; ; await sleep(100)) {
    // Docker accepts connections before the program does, and drops them in ways that fetch does not always notice.
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    if (response?.ok) return;
    if (Date.now() > end) throw new Error(`no 200 from ${url} within a minute, but ${response?.status ?? 'nothing'}`);
  }
}
