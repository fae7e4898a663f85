// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** What a command ended with. */
export interface Ended {
  code: number | null;
  stdout: string;
  stderr: string;
}

/** Runs the bin of this package as a user does, with this on its standard input. */
export async function metadataExchange(args: string[], input = '', env: NodeJS.ProcessEnv = {}): Promise<Ended> {
  const bin = join(ROOT, 'cli/metadata-exchange.js');
  const child = spawn(process.execPath, [bin, ...args], { env: { ...process.env, ...env } });
  const ended: Ended = { code: null, stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    ended.stdout += chunk;
  });
  child.stderr.setEncoding('utf8').on('data', (chunk) => {
    ended.stderr += chunk;
  });
  child.stdin.on('error', () => {}); // It may end without reading.
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  return { ...ended, code };
}
