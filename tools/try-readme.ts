// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { execFileSync, spawnSync } from 'node:child_process';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { parseArgs, stripVTControlCharacters } from 'node:util';

/**
 * `make try-readme`: types README's commands in a fresh Debian, exactly as they stand, and compares what they print
 * with what README says. The Debian is made by debootstrap, and is gone afterwards. Needs root, and the network.
 *
 * A block of `sh` is typed; the block of `text` below it is what must be seen: each of its lines, in this order, where
 * `…` stands for anything, a number with a unit for any such number, and spaces for any spaces. A block below
 * `<!-- not typed by tools/try-readme.ts: … -->` is left out, which is said.
 */

const ROOT = join(import.meta.dirname, '..');
const { values: flags } = parseArgs({
  options: {
    suite: { type: 'string', default: 'trixie' },
    keep: { type: 'boolean', default: false },
    help: { type: 'boolean', default: false },
  },
});

if (flags.help) {
  console.log(
    'tsx tools/try-readme.ts [--suite trixie] [--keep]\n\n  --suite  Debian by its name\n  --keep   leave the folder',
  );
  process.exit();
}

interface Block {
  line: number;
  commands: string;
  /** What must be seen. */
  expected: string[];
  /** Why it is not typed. */
  leftOut?: string;
}

/** The blocks of commands in a page, with what the page says that they print. */
function blocksOf(page: string): Block[] {
  const found: Block[] = [];
  const block =
    /(?:<!-- not typed by tools\/try-readme\.ts: (.*) -->\n)?^```sh\n([\s\S]*?)^```\n(?:\n```text\n([\s\S]*?)^```\n)?/gm;
  for (const match of page.matchAll(block)) {
    const [, leftOut, commands, text = ''] = match;
    const line = page.slice(0, match.index).split('\n').length;
    found.push({ line, commands, expected: text.split('\n').filter((each) => each.trim()), leftOut });
  }
  return found;
}

/** What is measured is another number each time: how many, which part, how long, how much. */
const MEASURED: [RegExp, string][] = [
  [/\d[\d.]*(\/s|%| MB| B\/s)/g, '\\d[\\d.]*$1'],
  [/\d[\d.]* m?s\b/g, '\\d[\\d.]* m?s\\b'],
  [/ +/g, ' +'],
  [/…/g, '.*'],
];

/** Whether a line of output has what a line of the page says. */
function shows(seen: string, expected: string): boolean {
  const literal = expected.trim().replaceAll(/[\\^$*+?()[\]{}|]/g, '\\$&');
  return new RegExp(MEASURED.reduce((pattern, [from, to]) => pattern.replaceAll(from, to), literal)).test(seen);
}

/** The first expected line that the output does not have after the ones before it. */
function missing(output: string, expected: string[]): string | undefined {
  const lines = stripVTControlCharacters(output).split('\n');
  let at = 0;
  return expected.find((each) => {
    while (at < lines.length && !shows(lines[at], each)) at++;
    return at++ >= lines.length;
  });
}

function run(command: string, ...args: string[]): void {
  execFileSync(command, args, { stdio: ['ignore', 'ignore', 'inherit'] });
}

const answerOf = (command: string, ...args: string[]) => {
  const { status, stdout } = spawnSync(command, args, { encoding: 'utf8', cwd: '/' });
  return status === 0 ? stdout.trim() : '';
};

/** This machine's way to the network: where package managers look, and whose certificates they trust. */
function network(root: string): Record<string, string> {
  const environment: Record<string, string> = {};
  const keep = (name: string, value: string) => {
    // Certificates get a place of their own: the package ca-certificates makes the usual bundle anew.
    const copy = join('/network', value);
    if (value.startsWith('/')) copyInto(root, value, copy);
    environment[name] = value.startsWith('/') ? copy : value;
  };
  for (const [name, value] of Object.entries(process.env)) {
    const isFile = value?.startsWith('/') && existsSync(value) && statSync(value).isFile();
    if (value && (isFile ? /CA|CERT/ : /_PROXY$/i).test(name)) keep(name, value);
  }
  for (const file of ['/etc/resolv.conf', '/etc/hosts', '/etc/pip.conf']) if (existsSync(file)) copyInto(root, file);
  for (const name of ['registry', 'cafile']) {
    const value = answerOf('npm', 'config', 'get', name);
    if (value && value !== 'null') keep(`NPM_CONFIG_${name.toUpperCase()}`, value);
  }
  return environment;
}

function copyInto(root: string, file: string, as = file): void {
  mkdirSync(join(root, dirname(as)), { recursive: true });
  rmSync(join(root, as), { force: true });
  copyFileSync(file, join(root, as));
}

/** Types all blocks into one shell, as a reader does, and returns what each of them printed. */
function type(root: string, blocks: Block[], environment: Record<string, string>): string[] {
  const mark = (i: number) => `@@@ block ${i} @@@`;
  const script = blocks.map(({ commands }, i) => `printf '\\n%s\\n' '${mark(i)}'\n${commands}`).join('\n');
  writeFileSync(join(root, 'readme.sh'), `cd /project\n${script}\nexit 0\n`);
  // Namespaces of its own for processes and mounts: whatever is started or mounted ends with it.
  const inside = 'mount --rbind /dev "$1/dev" && mount -t proc proc "$1/proc" && exec chroot "$1" bash /readme.sh 2>&1';
  const { stdout } = spawnSync(
    'unshare',
    ['--mount', '--pid', '--fork', '--kill-child', 'bash', '-c', inside, 'bash', root],
    {
      encoding: 'utf8',
      maxBuffer: 1 << 28,
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...environment, HOME: '/root', LANG: 'C.UTF-8', PATH: '/usr/sbin:/usr/bin:/sbin:/bin', TERM: 'dumb' },
    },
  );
  return blocks.map((_, i) => stdout.split(mark(i))[1]?.split(mark(i + 1))[0] ?? '');
}

if (process.getuid?.() !== 0) {
  console.error('make try-readme needs root: debootstrap makes a Debian in a folder');
  process.exit(1);
}
if (!answerOf('sh', '-c', 'command -v debootstrap')) {
  console.log('==> apt-get install debootstrap');
  run('apt-get', 'install', '-y', '-qq', '--no-install-recommends', 'debootstrap');
}

const blocks = blocksOf(readFileSync(join(ROOT, 'README.md'), 'utf8'));
for (const { line, leftOut } of blocks) if (leftOut) console.log(`==> README.md:${line}: not typed: ${leftOut}`);
const typed = blocks.filter(({ leftOut }) => !leftOut);

const root = mkdtempSync(join(tmpdir(), 'try-readme-'));
let failures = 0;
try {
  console.log(`==> debootstrap ${flags.suite} ${root}`);
  run('debootstrap', '--variant=minbase', flags.suite, root);
  mkdirSync(join(root, 'project'));
  execFileSync('bash', ['-c', 'git -C "$1" archive HEAD | tar -x -C "$2"', 'bash', ROOT, join(root, 'project')]);
  console.log(`==> typing ${typed.length} blocks`);
  const outputs = type(root, typed, network(root));
  for (const [i, { line, commands, expected }] of typed.entries()) {
    const problem = missing(outputs[i], expected);
    const first = commands.split('\n')[0];
    if (problem === undefined) {
      console.log(`ok      README.md:${line}: ${first} (${expected.length} lines as README says)`);
    } else {
      failures++;
      console.log(`FAILED  README.md:${line}: ${first}\nnot seen: ${problem}\nseen:\n${outputs[i].slice(-6000)}`);
    }
  }
} finally {
  if (!flags.keep) rmSync(root, { recursive: true, force: true });
}
process.exitCode = failures > 0 ? 1 : 0;
