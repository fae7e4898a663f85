// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** `metadata-exchange serve` as a process, at a free port. */
export class Serve implements AsyncDisposable {
  private constructor(
    private readonly process: ChildProcess,
    readonly url: string,
  ) {}

  /** Starts it, and waits for its address; throws with what it says if there is none. */
  static async start(...args: string[]): Promise<Serve> {
    const bin = join(ROOT, 'cli/metadata-exchange.js');
    const child = spawn(process.execPath, [bin, 'serve', '--port=0', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    let output = '';
    for (const stream of [child.stdout, child.stderr]) {
      stream.setEncoding('utf8').on('data', (chunk) => {
        output += chunk;
      });
    }
    const ended = once(child, 'close');
    for (;;) {
      const [, url] = /(http:\/\/127\.0\.0\.1:\d+\/)/.exec(output) ?? [];
      if (url) return new Serve(child, url);
      const next = await Promise.race([once(child.stdout, 'data'), ended.then(() => undefined)]);
      if (!next) throw new Error(output);
    }
  }

  /** Ends it as Ctrl-C does; its exit code. */
  async stop(): Promise<number | null> {
    if (this.process.exitCode === null) {
      this.process.kill('SIGINT');
      await once(this.process, 'close');
    }
    return this.process.exitCode;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
