// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, realpathSync, rmSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import { envoyBinary, pinnedVersion } from '../../testkit/envoy/binary.ts';

// testcontainers' own cleaner is one more image, which cannot be pulled everywhere. Our tests clean up themselves.
process.env.TESTCONTAINERS_RYUK_DISABLED = 'true';

const run = promisify(execFile);
const PULL_MS = 30_000;

/**
 * The image that containers run: the one that ENVOY_IMAGE names, or the official one of the pinned version. It is
 * pulled if it is not there. Where the official one cannot be pulled, one is built from the Envoy that all other tests
 * run, under the same name.
 */
export async function envoyImage(): Promise<string> {
  const named = process.env.ENVOY_IMAGE;
  const image = named || `envoyproxy/envoy:v${await version()}`;
  if (await isPresent(image)) return image;
  const reason = await pull(image);
  if (!reason) {
    console.log(`pulled ${image}`);
  } else if (named) {
    throw new Error(`ENVOY_IMAGE is ${image}, which is neither here nor can it be pulled: ${reason}`);
  } else {
    await build(image, reason);
  }
  return image;
}

/** The pinned version; that of the Envoy that ENVOY names, if it names one: an image must be what its tag says. */
async function version(): Promise<string> {
  if (!process.env.ENVOY) return pinnedVersion();
  const { stdout } = await run(envoyBinary(), ['--version']);
  return /\/(\d+\.\d+\.\d+)/.exec(stdout)![1];
}

async function isPresent(image: string): Promise<boolean> {
  return run('docker', ['image', 'inspect', image]).then(
    () => true,
    () => false,
  );
}

/** Pulls an image; the answer is why it cannot be. */
async function pull(image: string): Promise<string | undefined> {
  return run('docker', ['pull', '--quiet', image], { timeout: PULL_MS }).then(
    () => undefined,
    (error) => (error.killed ? `no answer in ${PULL_MS / 1000} s` : error.stderr.trim().split('\n').pop()),
  );
}

async function build(image: string, reason: string): Promise<void> {
  const unlock = await lock();
  const folder = mkdtempSync(join(tmpdir(), 'envoy-image-'));
  try {
    if (await isPresent(image)) return;
    const binary = envoyBinary();
    await layOut(folder, binary);
    await importImage(folder, image);
    console.log(`built ${image} from ${binary}, because the official image cannot be pulled (${reason})`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    unlock();
  }
}

/** What is in the image: Envoy at the official image's place, what it needs to be loaded, and its user. */
async function layOut(folder: string, binary: string): Promise<void> {
  copy(binary, join(folder, 'usr/local/bin/envoy'));
  for (const library of await libraries(binary)) copy(library, join(folder, library));
  mkdirSync(join(folder, 'etc/envoy'), { recursive: true });
  writeFileSync(join(folder, 'etc/passwd'), 'root:x:0:0::/:/sbin/nologin\nenvoy:x:101:101::/:/sbin/nologin\n');
  writeFileSync(join(folder, 'etc/group'), 'root:x:0:\nenvoy:x:101:\n');
  mkdirSync(join(folder, 'tmp'));
  chmodSync(join(folder, 'tmp'), 0o1777);
  chmodSync(folder, 0o755);
}

/** The shared libraries of a program, and the loader, which finds them where they are on this machine. */
async function libraries(binary: string): Promise<string[]> {
  const { stdout } = await run('ldd', [binary]).catch(() => {
    throw new Error(`an image can be built on Linux only, with ldd and a dynamically linked ${binary}`);
  });
  return [...stdout.matchAll(/(\/\S+) \(0x/g)].map((match) => match[1]);
}

function copy(from: string, to: string): void {
  mkdirSync(dirname(to), { recursive: true });
  copyFileSync(realpathSync(from), to);
  chmodSync(to, 0o755);
}

/** An image of one layer. It has no entry point: the official one runs `envoy ARGUMENTS` as that, too. */
async function importImage(folder: string, image: string): Promise<void> {
  const archive = `${folder}.tar`;
  const settings = ['USER 101:101', 'ENV PATH=/usr/local/bin', 'CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]'];
  try {
    await run('tar', ['-C', folder, '--owner=0', '--group=0', '--numeric-owner', '-cf', archive, '.']);
    await run('docker', ['import', ...settings.flatMap((each) => ['--change', each]), archive, image]);
  } finally {
    rmSync(archive, { force: true });
  }
}

/**
 * Waits until no other test file builds. The lock is a socket without a file (Linux has these), so it cannot outlive
 * the process that holds it.
 */
async function lock(): Promise<() => void> {
  for (;;) {
    const server = createServer();
    const isOurs = await new Promise((resolve) => {
      server.once('error', () => resolve(false));
      server.listen('\0metadata-exchange-image', () => resolve(true));
    });
    if (isOurs) return () => void server.close();
    await sleep(100);
  }
}
