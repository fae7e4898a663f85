// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** A program that `make test-istio` builds: crane from tools/go, all others from test/istio/go. */
export function program(name: string): string {
  return join(ROOT, name === 'crane' ? '.cache/go' : '.cache/istio', name);
}

export interface Result {
  ok: boolean;
  /** What it wrote to standard output. */
  output: Buffer;
  /** What it wrote to the errors' stream. */
  errors: string;
}

export interface RunOptions {
  input?: string;
  env?: Record<string, string>;
}

/** Runs a program to its end. */
export async function run(command: string, args: string[], { input, env }: RunOptions = {}): Promise<Result> {
  const child = spawn(command, args, { cwd: ROOT, env: { ...process.env, ...env } });
  const output: Buffer[] = [];
  let errors = '';
  child.stdout.on('data', (chunk) => void output.push(chunk));
  child.stderr.on('data', (chunk) => {
    errors += chunk;
  });
  // A program that ends early does not read it.
  child.stdin.on('error', () => undefined);
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { ok: code === 0, output: Buffer.concat(output), errors };
}

/** A program that runs until it is stopped. */
export class Daemon implements AsyncDisposable {
  private readonly exit: Promise<unknown>;

  private constructor(
    readonly name: string,
    private readonly child: ChildProcess,
    private readonly folder: string,
  ) {
    this.exit = once(child, 'exit');
    process.once('exit', this.kill);
  }

  /** Nothing here has anything to finish, and an agent would wait for connections to drain. */
  private readonly kill = (): void => {
    try {
      process.kill(-this.pid, 'SIGKILL');
    } catch {
      // It has ended by itself.
    }
  };

  static start(
    name: string,
    command: string,
    args: string[],
    options: { input?: string; cwd?: string; env?: Record<string, string> } = {},
  ): Daemon {
    // Its output is a file, as Envoys write access logs to /dev/stdout, which cannot be opened where it is a socket.
    const folder = mkdtempSync(join(tmpdir(), `${name}-`));
    const log = openSync(join(folder, 'log'), 'a');
    const child = spawn(command, args, {
      cwd: options.cwd ?? ROOT,
      env: { ...process.env, ...options.env },
      stdio: ['pipe', log, log],
      // A process group of its own: an agent's Envoy must go with it.
      detached: true,
    });
    closeSync(log);
    child.stdin?.end(options.input);
    return new Daemon(name, child, folder);
  }

  get pid(): number {
    return this.child.pid as number;
  }

  /** All that it wrote so far. */
  log(): string {
    return readFileSync(join(this.folder, 'log'), 'utf8');
  }

  /** Waits until something holds, and says what it was; throws with the end of the log if it does not in time. */
  async until<T>(what: string, holds: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
    for (const end = Date.now() + 60_000; ; await sleep(50)) {
      const result = await holds();
      if (result) return result;
      const ended = this.child.exitCode !== null || this.child.signalCode !== null;
      if (ended || Date.now() > end) {
        const reason = ended ? 'it ended' : 'it took too long';
        throw new Error(`${this.name}: waiting until ${what}: ${reason}\n${this.log().slice(-6000)}`);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    process.off('exit', this.kill);
    this.kill();
    await this.exit;
    rmSync(this.folder, { recursive: true, force: true });
  }
}
