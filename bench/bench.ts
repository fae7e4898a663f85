// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus } from 'node:os';
import { join } from 'node:path';
import { pinnedVersion, ROOT } from '../testkit/envoy/binary.ts';
import { number, readFlags, text, toggle } from '../testkit/flags.ts';
import { CASES } from './cases.ts';
import { type Contender, contenders, OURS } from './contenders.ts';
import { BOOTS, footprints } from './footprint.ts';
import { inbound, LoadStand, outbound } from './load_stand.ts';
import { type Cost, measureInGroups } from './measure.ts';
import { type Results, report } from './report.ts';
import { ACTIVE, withActive } from './streams.ts';

/**
 * `make bench`: what the exchange costs on a real Envoy, beside other ways to do the same job. What comes out is in
 * build/bench: results.json, and what report.ts makes of it.
 */
const { flags } = readFlags({
  call: 'tsx bench/bench.ts',
  about: 'Measures what the exchange costs on a real Envoy, beside other ways to do the same job.',
  flags: {
    rounds: number(29, 'how many rounds: more are calmer'),
    requests: number(800, 'how many requests of each contender in each round'),
    cases: text('only these, such as inbound,outbound; streams and footprint are cases, too'),
    docs: toggle('writes the tables and the chart of the documentation anew'),
  },
});
const { rounds: ROUNDS, requests: REQUESTS } = flags;
/** V8 runs a module as it was loaded, and compiles again, better, what it has run often enough: this often will do. */
const WARM_UP = 60_000;
const WANTED = flags.cases?.split(',');
const FOLDER = join(ROOT, 'build/bench');

const isTerminal = process.stdout.isTTY;
let started = 0;

/** Says what is being measured; on a terminal with the round, over the same line. */
function progress(what: string, rounds: number): (round: number) => void {
  started = Date.now();
  if (!isTerminal) console.log(`==> ${what}`);
  return (round) => {
    const state = round < 0 ? 'warming up' : `round ${round + 1} of ${rounds}`;
    if (isTerminal) process.stdout.write(`\r\x1b[K==> ${what}: ${state}`);
  };
}

function done(): void {
  const seconds = ((Date.now() - started) / 1000).toFixed(0);
  console.log(isTerminal ? `, ${seconds} s` : `    ${seconds} s`);
}

async function measureCases(all: Contender[]): Promise<Record<string, Cost[]>> {
  const costs: Record<string, Cost[]> = {};
  const stands: LoadStand[] = [];
  try {
    const warm = progress('warming up', all.length);
    for (const [i, contender] of all.entries()) {
      warm(i);
      const stand = await LoadStand.start(contender);
      stands.push(stand);
      for (const traffic of [inbound(600), outbound(600)]) await stand.cost(traffic, WARM_UP);
    }
    done();
    for (const { name, title, traffic, contenders: names } of CASES) {
      if (WANTED && !WANTED.includes(name)) continue;
      const taking = stands.filter(({ contender }) => !names || names.includes(contender.name));
      costs[name] = await measureInGroups(taking, traffic, ROUNDS, REQUESTS, progress(title, ROUNDS));
      done();
    }
  } finally {
    for (const stand of stands) await stand[Symbol.asyncDispose]();
  }
  return costs;
}

async function main(): Promise<void> {
  mkdirSync(FOLDER, { recursive: true });
  const all = await contenders();
  const ours = all.find(({ name }) => name === OURS) as Contender;
  const results: Results = {
    machine: `${cpus()[0].model}, ${cpus().length} cores, ${arch()}`,
    envoy: pinnedVersion(),
    commit: execFileSync('git', ['describe', '--always', '--dirty'], { cwd: ROOT, encoding: 'utf8' }).trim(),
    date: new Date().toISOString().slice(0, 10),
    rounds: ROUNDS,
    requests: REQUESTS,
    cases: await measureCases(all),
    active: [],
    footprints: [],
  };
  if (!WANTED || WANTED.includes('streams')) {
    for (const streams of ACTIVE) {
      const say = progress(`inbound, with ${streams} other streams under way`, ROUNDS);
      results.active.push({ streams, cost: await withActive(ours, streams, ROUNDS, REQUESTS, say) });
      done();
    }
  }
  if (!WANTED || WANTED.includes('footprint')) {
    const modules = all.filter(({ name, wasm }) => wasm && !['floor', 'lists', 'bridge'].includes(name));
    results.footprints = await footprints(modules, progress('size, start and memory', BOOTS));
    done();
  }
  writeFileSync(join(FOLDER, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  report(results, flags.docs);
}

await main();
