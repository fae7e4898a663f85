// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { arch, cpus } from 'node:os';
import { join } from 'node:path';
import { pinnedVersion, ROOT } from '../testkit/envoy/binary.ts';
import { number, readFlags, text, toggle } from '../testkit/flags.ts';
import { CASES } from './cases.ts';
import { connections, LIVE, live } from './connections.ts';
import { ALWAYS, type Contender, contenders } from './contenders.ts';
import { discovery, SIZES } from './discovery.ts';
import { BOOTS, footprints } from './footprint.ts';
import { inbound, LoadStand, outbound } from './load_stand.ts';
import { measure } from './measure.ts';
import { type MeasuredCase, type Results, report } from './report.ts';
import { portOf, startServer } from './server.ts';
import { ACTIVE, withActive } from './streams.ts';

/**
 * `make bench`: what the exchange costs on a real Envoy, beside other ways to do the same job. All contenders of a case
 * have their turn in each of its rounds. What comes out is in build/bench: results.json, and what report.ts makes of
 * it.
 */
const { flags } = readFlags({
  call: 'tsx bench/bench.ts',
  about: 'Measures what the exchange costs on a real Envoy, beside other ways to do the same job.',
  flags: {
    rounds: number(29, 'how many rounds: more are calmer'),
    requests: number(800, 'how many requests of each contender in each round'),
    cases: text('only these, such as inbound,outbound'),
    moduleBeside: text('measures this module, too, in every case: the one before a change, for instance'),
    docs: toggle('writes the tables and the chart of the documentation anew'),
  },
});
const { rounds: ROUNDS, requests: REQUESTS } = flags;
/** V8 runs a module as it was loaded, and compiles again, better, what it has run often enough: this often will do. */
const WARM_UP = 60_000;
const FOLDER = join(ROOT, 'build/bench');
const ALL_CASES = [...CASES.map(({ name }) => name), 'streams', 'connections', 'footprint', 'discovery'];
const WANTED = flags.cases?.split(',') ?? ALL_CASES;

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

async function measureCases(all: Contender[]): Promise<MeasuredCase[]> {
  const cases = CASES.filter(({ name }) => WANTED.includes(name));
  const takesPart = ({ name, isNamed }: Contender, names?: string[]) =>
    names ? [...ALWAYS, ...names].includes(name) : !isNamed;
  const stands: LoadStand[] = [];
  const measured: MeasuredCase[] = [];
  const behind = cases.some(({ traffic }) => traffic.listener === 'through') ? await startServer() : undefined;
  try {
    const server = behind && (await portOf(behind));
    const needed = all.filter((contender) => cases.some((each) => takesPart(contender, each.contenders)));
    const warm = progress('warming up', needed.length);
    for (const [i, contender] of needed.entries()) {
      warm(i);
      const stand = await LoadStand.start(contender, { server });
      stands.push(stand);
      const through = cases.filter(
        (each) => each.traffic.listener === 'through' && takesPart(contender, each.contenders),
      );
      for (const traffic of [inbound(600), outbound(600), ...through.map(({ traffic }) => traffic)]) {
        await stand.cost(traffic, WARM_UP);
      }
    }
    done();
    for (const { name, title, traffic, contenders: names } of cases) {
      const taking = stands.filter(({ contender }) => takesPart(contender, names));
      const say = progress(title, ROUNDS);
      measured.push({ name, title, ...(await measure(taking, traffic, ROUNDS, REQUESTS, say)) });
      done();
    }
  } finally {
    for (const stand of stands) await stand[Symbol.asyncDispose]();
    await behind?.stop();
  }
  return measured;
}

/** What a request costs while others wait for their answers. */
async function measureStreams(all: Contender[]): Promise<MeasuredCase[]> {
  const measured: MeasuredCase[] = [];
  const taking = all.filter(({ name }) => ALWAYS.includes(name));
  for (const streams of ACTIVE) {
    const title = `inbound, with ${streams} other streams under way`;
    const say = progress(title, ROUNDS);
    const comparison = await withActive(taking, streams, ROUNDS, REQUESTS, say);
    measured.push({ name: `streams-${streams}`, title, ...comparison });
    done();
  }
  return measured;
}

async function main(): Promise<void> {
  const unknown = WANTED.filter((name) => !ALL_CASES.includes(name));
  if (unknown.length > 0) throw new Error(`there is no case ${unknown.join(', ')}: there are ${ALL_CASES.join(', ')}`);
  if (flags.docs && (flags.cases || flags.moduleBeside))
    throw new Error('the documentation shows all cases and no other module: --docs goes with neither flag');
  mkdirSync(FOLDER, { recursive: true });
  const all = await contenders(flags.moduleBeside);
  const results: Results = {
    machine: `${cpus()[0].model}, ${cpus().length} cores, ${arch()}`,
    envoy: pinnedVersion(),
    commit: execFileSync('git', ['describe', '--always', '--dirty'], { cwd: ROOT, encoding: 'utf8' }).trim(),
    date: new Date().toISOString().slice(0, 10),
    rounds: ROUNDS,
    requests: REQUESTS,
    cases: await measureCases(all),
    footprints: [],
    discovery: [],
    megabytes: [],
  };
  if (WANTED.includes('streams')) results.cases.push(...(await measureStreams(all)));
  if (WANTED.includes('connections')) {
    const say = progress('connections', ROUNDS);
    const { connection, megabytes } = await connections(ROUNDS, say);
    results.cases.push({ name: 'connections', title: 'TCP: a connection', unit: 'connection', ...connection });
    results.megabytes = megabytes;
    done();
    const wait = progress(`${LIVE.toLocaleString('en')} open connections`, 1);
    wait(0);
    results.live = await live();
    done();
  }
  if (WANTED.includes('footprint')) {
    const modules = all.filter(
      ({ name, wasm, isNamed }) => wasm && !isNamed && !['floor', 'again', 'lists', 'bridge'].includes(name),
    );
    results.footprints = await footprints(modules, progress('size, start and memory', BOOTS));
    done();
  }
  for (const count of WANTED.includes('discovery') ? SIZES : []) {
    const say = progress(`discovery, ${count} workloads`, 1);
    say(0);
    results.discovery.push(await discovery(count));
    done();
  }
  writeFileSync(join(FOLDER, 'results.json'), `${JSON.stringify(results, null, 2)}\n`);
  report(results, flags.docs);
}

await main();
