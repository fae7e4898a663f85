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
    await build(image, reason, ENVOY);
  }
  return image;
}

/** An image of Prometheus: the one of this name, or, where it cannot be pulled, Debian's package as an image. */
export async function prometheusImage(image: string): Promise<string> {
  if (await isPresent(image)) return image;
  const reason = await pull(image);
  if (!reason) return image;
  // It is another version, and has another name.
  const own = 'metadata-exchange-tests/prometheus:debian';
  if (!(await isPresent(own))) await build(own, reason, PROMETHEUS);
  return own;
}

/** A program in an image of our own, in the place that it has in the official one. */
interface Program {
  binary(): string;
  place: string;
  /** Its user: name and number. */
  user: [string, number];
  /** A folder of its own, and who may write there. */
  folder: [string, number];
  settings: string[];
}

const ENVOY: Program = {
  binary: envoyBinary,
  place: 'usr/local/bin/envoy',
  user: ['envoy', 101],
  folder: ['etc/envoy', 0o755],
  // No entry point: the official one runs `envoy ARGUMENTS` as that, too.
  settings: ['ENV PATH=/usr/local/bin', 'CMD ["envoy", "-c", "/etc/envoy/envoy.yaml"]'],
};

const PROMETHEUS: Program = {
  binary: () => '/usr/bin/prometheus',
  place: 'bin/prometheus',
  user: ['nobody', 65534],
  folder: ['prometheus', 0o1777],
  settings: ['WORKDIR /prometheus', 'ENTRYPOINT ["/bin/prometheus"]'],
};

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

async function build(image: string, reason: string, program: Program): Promise<void> {
  const unlock = await lock();
  const folder = mkdtempSync(join(tmpdir(), 'image-'));
  try {
    if (await isPresent(image)) return;
    const binary = program.binary();
    await layOut(folder, binary, program);
    await importImage(folder, image, program);
    console.log(`built ${image} from ${binary}, because the official image cannot be pulled (${reason})`);
  } finally {
    rmSync(folder, { recursive: true, force: true });
    unlock();
  }
}

/** What is in the image: the program at the official image's place, what it needs to be loaded, and its user. */
async function layOut(folder: string, binary: string, program: Program): Promise<void> {
  const [user, id] = program.user;
  copy(binary, join(folder, program.place));
  for (const library of await libraries(binary)) copy(library, join(folder, library));
  const folders: [string, number][] = [['etc', 0o755], ['tmp', 0o1777], program.folder];
  for (const [path, mode] of folders) {
    mkdirSync(join(folder, path), { recursive: true });
    chmodSync(join(folder, path), mode);
  }
  writeFileSync(join(folder, 'etc/passwd'), `root:x:0:0::/:/sbin/nologin\n${user}:x:${id}:${id}::/:/sbin/nologin\n`);
  writeFileSync(join(folder, 'etc/group'), `root:x:0:\n${user}:x:${id}:\n`);
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

/** An image of one layer. */
async function importImage(folder: string, image: string, { user: [, id], settings }: Program): Promise<void> {
  const archive = `${folder}.tar`;
  const changes = [`USER ${id}:${id}`, ...settings].flatMap((each) => ['--change', each]);
  try {
    await run('tar', ['-C', folder, '--owner=0', '--group=0', '--numeric-owner', '-cf', archive, '.']);
    await run('docker', ['import', ...changes, archive, image]);
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
