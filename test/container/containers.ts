// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

/** What tests ask about an Envoy in a container. The image may have no shell: nothing is run inside. */

/** Runs a `docker` command; the answer is what it wrote, the errors' stream too. */
export async function docker(...args: string[]): Promise<string> {
  const { stdout, stderr } = await promisify(execFile)('docker', args, { maxBuffer: 64 << 20 });
  return stdout + stderr;
}

/** The access log's line of a request, by its path; waits until it is there. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON object
export async function accessLog(container: string, path: string): Promise<any> {
  for (const end = Date.now() + 20_000; ; await sleep(100)) {
    const log = await docker('logs', container);
    const line = log.match(new RegExp(`^\\{.*"path":"${path}".*\\}$`, 'm'));
    if (line) return JSON.parse(line[0]);
    if (Date.now() > end) throw new Error(`${path} is not in the access log of ${container}:\n${log.slice(-4000)}`);
  }
}

/** The numbers of the users that run a container's processes, as the engine's host sees them. */
export async function usersOf(container: string): Promise<number[]> {
  const [, ...lines] = (await docker('top', container, '-o', 'uid,pid')).trim().split('\n');
  return lines.map((line) => Number(line.trim().split(/\s+/)[0]));
}
