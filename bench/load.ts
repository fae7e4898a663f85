// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { onLoadCore } from './cpu.ts';

/**
 * Requests from h2load (https://nghttp2.org, Debian's nghttp2-client): an exact number of them, over HTTP/2 as proxies
 * speak with each other. One connection with many streams leaves little of the time to sockets, which no filter can
 * help and which vary more than what is measured here.
 */
const STREAMS = 20;

export interface Requests {
  port: number;
  /** Sent in turn. */
  paths: string[];
  headers: [name: string, value: string][];
  count: number;
  /** One unless told. */
  connections?: number;
}

/** Sends requests and waits for the answers; throws if one of them is not 2xx. */
export async function load({ port, paths, headers, count, connections = 1 }: Requests): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), 'bench-'));
  try {
    const urls = join(folder, 'urls');
    writeFileSync(urls, paths.map((path) => `http://127.0.0.1:${port}${path}\n`).join(''));
    const fields = headers.flatMap(([name, value]) => ['-H', `${name}: ${value}`]);
    const words = ['-n', String(count), '-c', String(connections), '-m', String(STREAMS), ...fields, '-i', urls];
    const [command, ...args] = [...onLoadCore, 'h2load', ...words];
    const { stdout } = await promisify(execFile)(command, args, { timeout: 60_000 });
    if (!stdout.includes(`status codes: ${count} 2xx`)) throw new Error(`not every request was answered:\n${stdout}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
