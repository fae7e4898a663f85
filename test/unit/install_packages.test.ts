// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** tools/install-packages.sh with commands of ours in front of the machine's: nothing is installed here. */

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'packages-'));
  command('id', 'echo 0');
  // Packages are named like the commands that they bring. What it was asked for is written down.
  command('apt-get', `echo "$*" >>${folder}/asked; for each; do case $each in new-*) ${bring} ;; esac; done`);
  command('dpkg-query', 'exit 1');
});
afterEach(() => rmSync(folder, { recursive: true }));

const bring = 'printf "#!/bin/sh\\n" >"$(dirname "$0")/$each"; chmod +x "$(dirname "$0")/$each"';

function command(name: string, script: string): void {
  writeFileSync(join(folder, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
}

function install(needs: string[], env: Record<string, string> = {}) {
  const PATH = `${folder}:${process.env.PATH}`;
  const options = { encoding: 'utf8', env: { ...process.env, INSTALL: '', ...env, PATH } } as const;
  const { status, stdout, stderr } = spawnSync(join(ROOT, 'tools/install-packages.sh'), needs, options);
  const asked = existsSync(join(folder, 'asked')) ? readFileSync(join(folder, 'asked'), 'utf8') : '';
  return { status, stdout, stderr, asked };
}

test('what is here is not spoken of', () => {
  expect(install(['sh', 'id'])).toEqual({ status: 0, stdout: '', stderr: '', asked: '' });
});

test('INSTALL=0 installs nothing, says what is missing, and fails', () => {
  const { status, stderr, asked } = install(['sh', 'new-one', 'new-two'], { INSTALL: '0' });
  expect(status).toBe(1);
  expect(stderr).toBe(
    "Missing here, and needed: new-one new-two (Debian's packages: new-one new-two). Install them.\n",
  );
  expect(asked).toBe('');
});

test('who is not root is told what is missing', () => {
  command('id', 'echo 1000');
  const { status, stderr, asked } = install(['new-one']);
  expect(status).toBe(1);
  expect(stderr).toContain('new-one');
  expect(asked).toBe('');
});

test('what may stay missing is no failure', () => {
  expect(install(['sh', '--', 'new-one'], { INSTALL: '0' }).status).toBe(0);
});

const release = existsSync('/etc/os-release') ? readFileSync('/etc/os-release', 'utf8') : '';
const isDebian = /^ID="?(debian|ubuntu)"?$/m.test(release);

test.runIf(isDebian)('root gets the packages, and one line says first which', () => {
  const { status, stdout, asked } = install(['sh', 'new-one', '--', 'new-two']);
  expect(stdout).toBe('==> system packages, to be installed now by apt-get: new-one new-two (INSTALL=0 forbids it)\n');
  expect(asked).toMatch(/install .* new-one new-two\n$/);
  expect(status).toBe(0);
});

test.runIf(isDebian)('what is missing still, and needed, is a failure', () => {
  const { status, stderr } = install(['no-such-thing']);
  expect(status).toBe(1);
  expect(stderr).toContain('Missing here, and needed: no-such-thing');
});
