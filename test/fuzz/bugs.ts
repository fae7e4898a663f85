// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { readFlags, text } from '../../testkit/flags.ts';

/**
 * `make fuzz-bugs`: is the fuzzer any good? Each patch under bugs/ plants a bug that somebody could make. One at a time
 * they are applied to a copy of the tree, which is built and fuzzed; the work tree is not touched.
 */
const { only } = readFlags({
  call: 'tsx test/fuzz/bugs.ts',
  about: 'Plants the bugs of test/fuzz/bugs in a copy of the tree, one at a time: the fuzzer must find each.',
  flags: { only: text('tries this bug alone: the name of its patch') },
}).flags;

const BUGS = join(import.meta.dirname, 'bugs');
const BIN = join(ROOT, 'node_modules/.bin');
/** Inputs to try with: most bugs are found at once. */
const ATTEMPTS = [2_000, 20_000, 200_000];
/** A bug may be a loop that does not end: then it is found too. */
const PATIENCE = 180_000;

const run = promisify(execFile);

interface Outcome {
  name: string;
  what: string;
  found?: string;
}

async function plant(name: string): Promise<Outcome> {
  const patch = join(BUGS, `${name}.patch`);
  const outcome: Outcome = { name, what: readFileSync(patch, 'utf8').split('\n')[0] };
  const copy = mkdtempSync(join(tmpdir(), 'fuzz-bugs-'));
  try {
    for (const each of [
      'assembly',
      'test',
      'testkit',
      'tools',
      'docs',
      'proto',
      'asconfig.json',
      'package.json',
      'tsconfig.json',
    ]) {
      cpSync(join(ROOT, each), join(copy, each), { recursive: true });
    }
    symlinkSync(join(ROOT, 'node_modules'), join(copy, 'node_modules'));
    await run('git', ['apply', patch], { cwd: copy });
    const codecs = ['test/unit/codecs.ts', '--config', 'test/unit/asconfig.json', '--target', 'tests'];
    for (const options of [['--target', 'release'], codecs]) await run(join(copy, 'tools/asc'), options, { cwd: copy });
    for (const inputs of ATTEMPTS) {
      outcome.found = await attempt(copy, inputs);
      if (outcome.found) break;
    }
    return outcome;
  } finally {
    rmSync(copy, { recursive: true });
  }
}

/** Fuzzes a tree; what was found, if anything was. */
async function attempt(tree: string, inputs: number): Promise<string | undefined> {
  const flags = [`--inputs=${inputs}`, '--no-coverage'];
  // The module is the one of the copy.
  const env = { ...process.env, MODULE: undefined };
  try {
    await run(join(BIN, 'tsx'), ['test/fuzz/fuzz.ts', ...flags], { cwd: tree, env, timeout: PATIENCE });
    return undefined;
  } catch (error) {
    const { stderr, killed } = error as { stderr: string; killed: boolean };
    if (killed) return 'it does not end';
    const [, target, message] = /^(base64|struct|config|streams|discovery|prefaces): (.*)$/m.exec(stderr) ?? [];
    const count = /INPUTS=(\d+)/.exec(stderr)?.[1];
    if (!target || !count) throw new Error(`the fuzzer did not run:\n${stderr}`);
    return `${target}, input ${count}: ${message.slice(0, 70)}`;
  }
}

const names = readdirSync(BUGS)
  .filter((file) => file.endsWith('.patch'))
  .map((file) => file.replace('.patch', ''))
  .filter((name) => !only || name === only);
if (names.length === 0) throw new Error(`test/fuzz/bugs has no ${only}.patch`);

const outcomes: Outcome[] = [];
const waiting = [...names];
/** Two at a time. */
async function work(): Promise<void> {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const outcome = await plant(name);
    outcomes.push(outcome);
    console.log(`${outcome.found ? 'found    ' : 'NOT FOUND'}  ${name.padEnd(22)}  ${outcome.what}`);
    if (outcome.found) console.log(`${' '.repeat(35)}${outcome.found}`);
  }
}
await Promise.all([work(), work()]);

const found = outcomes.filter((outcome) => outcome.found).length;
console.log(`${found} of ${names.length} planted bugs found`);
process.exitCode = found === names.length ? 0 : 1;
