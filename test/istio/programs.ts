// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from '../../tools/envoy/binary.ts';

/** The programs that `make test-istio` builds from test/istio/go and tools/go. */
const FOLDERS = { crane: '.cache/go' } as Record<string, string>;

export function program(name: string): string {
  return join(ROOT, FOLDERS[name] ?? '.cache/istio', name);
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
    private readonly process: ChildProcess,
    private readonly folder: string,
  ) {
    this.exit = once(process, 'exit');
  }

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
    });
    closeSync(log);
    child.stdin?.end(options.input);
    return new Daemon(name, child, folder);
  }

  get pid(): number {
    return this.process.pid as number;
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
      const ended = this.process.exitCode !== null || this.process.signalCode !== null;
      if (ended || Date.now() > end) {
        const reason = ended ? 'it ended' : 'it took too long';
        throw new Error(`${this.name}: waiting until ${what}: ${reason}\n${this.log().slice(-6000)}`);
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.process.kill('SIGTERM');
    // An agent waits for connections to drain, longer than we would.
    const timer = setTimeout(() => this.process.kill('SIGKILL'), 3000);
    await this.exit;
    clearTimeout(timer);
    rmSync(this.folder, { recursive: true, force: true });
  }
}
