// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmodSync, chownSync, copyFileSync, mkdirSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import getPort from 'get-port';
import type { Certificate } from '../../testkit/envoy/certificates.ts';

/** Real databases, as Debian packages them, and their own clients. `make test` installs them. */

/** Who runs PostgreSQL where the tests are root's: it refuses root. */
const NOBODY = { uid: 65534, gid: 65534 };
const isRoot = process.getuid?.() === 0;
const identity = isRoot ? NOBODY : {};

const run = promisify(execFile);

/** Runs a command to its end: what it wrote. Throws with what it complained of. */
export async function command(name: string, args: string[], env: Record<string, string> = {}): Promise<string> {
  const { stdout } = await run(name, args, { env: { ...process.env, ...env }, maxBuffer: 2 ** 28 });
  return stdout;
}

/** A server, its port, and the folder that goes with it. */
class Database implements AsyncDisposable {
  constructor(
    private readonly process: ChildProcess,
    private readonly folder: string,
    readonly port: number,
  ) {}

  /** Waits until a command succeeds. */
  async untilReady(ready: () => Promise<unknown>): Promise<this> {
    for (const end = Date.now() + 30_000; ; await sleep(100)) {
      try {
        await ready();
        return this;
      } catch (error) {
        if (Date.now() > end || this.process.exitCode !== null) throw error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const isOver = this.process.exitCode !== null ? undefined : once(this.process, 'exit');
    this.process.kill('SIGINT');
    await isOver;
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/** A folder that the server may write to. */
function folderFor(name: string): string {
  const folder = mkdtempSync(join(tmpdir(), `${name}-`));
  if (isRoot) chownSync(folder, NOBODY.uid, NOBODY.gid);
  return folder;
}

/** PostgreSQL, which also speaks TLS, with this certificate. */
export async function startPostgres(certificate: Certificate): Promise<Database> {
  const folder = folderFor('postgres');
  const [version] = readdirSync('/usr/lib/postgresql').sort((a, b) => Number(b) - Number(a));
  const program = (name: string) => join('/usr/lib/postgresql', version, 'bin', name);
  const data = join(folder, 'data');
  await run(
    program('initdb'),
    ['-D', data, '-U', 'postgres', '-A', 'trust', '--no-locale', '-E', 'UTF8', '--no-sync'],
    {
      ...identity,
      cwd: folder,
    },
  );
  // It takes no key that others may read.
  const own = { chain: join(folder, 'server.crt'), key: join(folder, 'server.key') };
  for (const each of ['chain', 'key'] as const) {
    copyFileSync(certificate[each], own[each]);
    chmodSync(own[each], 0o600);
    if (isRoot) chownSync(own[each], NOBODY.uid, NOBODY.gid);
  }
  const port = await getPort();
  const tls = ['-c', 'ssl=on', '-c', `ssl_cert_file=${own.chain}`, '-c', `ssl_key_file=${own.key}`];
  const args = ['-D', data, '-k', folder, '-h', '127.0.0.1', '-p', String(port), '-F', ...tls];
  const server = spawn(program('postgres'), args, { ...identity, cwd: folder, stdio: 'ignore' });
  const ready = () => psql(port, 'select 1');
  return new Database(server, folder, port).untilReady(ready);
}

/** What psql prints for a statement: rows, with columns between bars. */
export function psql(port: number, statement: string, parameters: Record<string, string> = {}): Promise<string> {
  const all: Record<string, string> = { host: '127.0.0.1', port: String(port), user: 'postgres', ...parameters };
  const words = Object.entries(all).map(([name, value]) => `${name}=${value}`);
  return command('psql', ['-X', '-q', '-t', '-A', '-v', 'ON_ERROR_STOP=1', words.join(' '), '-c', statement]);
}

/** Redis. */
export async function startRedis(): Promise<Database> {
  const folder = folderFor('redis');
  mkdirSync(join(folder, 'data'));
  const port = await getPort();
  const args = ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--dir', join(folder, 'data')];
  const server = spawn('redis-server', args, { stdio: 'ignore' });
  return new Database(server, folder, port).untilReady(() => redis(port, 'ping'));
}

/** What redis-cli prints for a command. */
export async function redis(port: number, ...words: string[]): Promise<string> {
  return (await command('redis-cli', ['-h', '127.0.0.1', '-p', String(port), '-e', ...words])).trim();
}
