// SPDX-License-Identifier: Apache-2.0
import { relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { MODULE, ROOT } from '../testkit/envoy/binary.ts';
import { bridge, metadataExchange, proxy } from '../testkit/envoy/config.ts';
import { Envoy } from '../testkit/envoy/process.ts';
import { number, readFlags, toggle } from '../testkit/flags.ts';
import { type Memory, memoryOf, slope } from '../testkit/process_memory.ts';
import { struct } from '../testkit/struct.ts';
import { columns } from '../testkit/tables.ts';
import { Load } from './soak/load.ts';
import { startUpstream } from './soak/upstream.ts';

/**
 * `make soak`: a real Envoy with two workers gets a million requests, each from another peer and some of them hostile.
 * Every answer is looked at, and what the proxy learned. Fails if one is wrong, if the module traps, or if memory
 * grows.
 */
const {
  requests: REQUESTS,
  seed: SEED,
  bridge: BRIDGE,
  metrics: METRICS,
} = readFlags({
  call: 'tsx tools/soak.ts',
  about: 'A real Envoy gets requests from ever new peers, some hostile. Fails if an answer is wrong, or memory grows.',
  flags: {
    requests: number(1_000_000, 'how many requests'),
    seed: number(1, 'another number is another mixture of requests', 0),
    bridge: toggle('the Lua bridge runs beside the filter'),
    metrics: toggle('the filter counts requests by peer'),
  },
}).flags;
/** Envoy's and V8's own caches fill up in the beginning: growth counts from here on. */
const WARM_UP = 200_000;
const STEP = 25_000;
/** Bytes for 100,000 requests. */
const MOST_GROWTH = 1 << 20;
const MINUTES = 15;

const OWN = { LABELS: { app: 'own-app' }, NAME: 'own' };
const PEERS = 'wasm.envoy.wasm.metadata_exchange';
const LEARNED = `%FILTER_STATE(${PEERS}.downstream_id:PLAIN)%|%CEL(filter_state['${PEERS}.downstream'].NAME)%`;

interface Sample extends Memory {
  requests: number;
  seconds: number;
  /** What Envoy's own allocator gave out: without V8's memory. */
  allocated: number;
}

const megabytes = (bytes: number) => (bytes / (1 << 20)).toFixed(2);
const count = (n: number) => n.toLocaleString('en');

function startEnvoy(upstream: number): Promise<Envoy> {
  const toApp = { route: { cluster: 'app', timeout: '60s' } };
  const held = ['/reset', '/break', '/hold', '/half'].map((path) => ({ match: { path }, ...toApp }));
  const config = proxy({
    node: { id: 'own-node', metadata: { 'istio.io/metadata': OWN } },
    listeners: [
      {
        name: 'listener',
        direction: 'INBOUND',
        filters: [
          metadataExchange(METRICS ? { metrics: { labels: { pod: 'NAME' } } } : undefined),
          ...(BRIDGE ? [bridge()] : []),
        ],
        routes: [...held, { match: { prefix: '/' }, direct_response: { status: 200 } }].map((route) => ({
          ...route,
          response_headers_to_add: [{ header: { key: 'x-learned', value: LEARNED } }],
        })),
        // A million lines of access log are not what is looked at here.
        manager: { access_log: [] },
      },
    ],
    clusters: { app: { port: upstream } },
  });
  return Envoy.start(config, { workers: 2 });
}

async function sampleOf(envoy: Envoy, requests: number, started: number): Promise<Sample> {
  const allocated = await envoy.stat('server.memory_allocated');
  return { requests, seconds: (Date.now() - started) / 1000, allocated, ...memoryOf(envoy.pid) };
}

/** Waits for all answers, and reads the memory again and again on the way. */
async function watch(envoy: Envoy, load: Load): Promise<{ samples: Sample[]; problem?: string }> {
  const started = Date.now();
  const samples = [await sampleOf(envoy, 0, started)];
  let over = false;
  load.finished.then(() => {
    over = true;
  });
  let moved = { done: 0, at: Date.now() };
  while (!over) {
    await Promise.race([load.finished, sleep(200)]);
    if (load.done > moved.done) moved = { done: load.done, at: Date.now() };
    if (!envoy.running) return { samples, problem: 'Envoy ended' };
    if (Date.now() - moved.at > 30_000) return { samples, problem: 'no answer for 30 seconds' };
    if (Date.now() - started > MINUTES * 60_000) return { samples, problem: `not done within ${MINUTES} minutes` };
    if (process.stdout.isTTY) process.stdout.write(`\r\x1b[K${line(await sampleOf(envoy, load.done, started))}`);
    if (load.done - samples.at(-1)!.requests < STEP && !over) continue;
    const sample = await sampleOf(envoy, load.done, started);
    samples.push(sample);
    if (!process.stdout.isTTY) console.log(line(sample));
  }
  if (process.stdout.isTTY) process.stdout.write('\r\x1b[K');
  return { samples };
}

function line(sample: Sample): string {
  const done = `${count(sample.requests)} of ${count(REQUESTS)} requests`;
  const rate = count(Math.round(sample.requests / Math.max(sample.seconds, 0.001)));
  return `    ${done}, ${rate} a second, ${megabytes(sample.anonymous)} MB of memory`;
}

/** Memory over requests, with a bar for what is more than the least. */
function chart(samples: Sample[]): void {
  const least = Math.min(...samples.map((each) => each.anonymous));
  const most = Math.max(...samples.map((each) => each.anonymous));
  const bar = (bytes: number) => `|${'#'.repeat(Math.round(((bytes - least) / Math.max(most - least, 1)) * 40))}`;
  const rows = samples.map(({ requests, resident, anonymous, allocated }) => [
    count(requests),
    ...[resident, anonymous, allocated].map(megabytes),
    bar(anonymous),
  ]);
  console.log(columns([['requests', 'resident, MB', 'anonymous, MB', 'Envoy’s allocator, MB', ''], ...rows], 'rrrrl'));
}

/** What is to be said of memory, and whether it is a reason to fail. */
function growth(samples: Sample[]): { text: string; isTooMuch: boolean } {
  const warm = samples.filter((each) => each.requests >= WARM_UP);
  const first = `the first ${count(WARM_UP)} requests`;
  if (warm.length < 8)
    return { text: `memory is judged by what comes after ${first}: these were too few`, isTooMuch: false };
  const of = (what: keyof Memory) => slope(warm.map((each) => ({ x: each.requests / 100_000, y: each[what] })));
  const [anonymous, resident] = [of('anonymous'), of('resident')];
  const text =
    `after ${first} memory grew by ${megabytes(anonymous)} MB for each 100,000 more ` +
    `(resident: ${megabytes(resident)} MB); less than ${megabytes(MOST_GROWTH)} MB is asked for`;
  return { text, isTooMuch: Math.max(anonymous, resident) >= MOST_GROWTH };
}

async function vmsOf(envoy: Envoy): Promise<string> {
  const of = (name: string) => envoy.stat(`wasm.envoy.wasm.runtime.v8.${name}`);
  return `${await of('active')} active, ${await of('created')} made`;
}

/** What the filter counted by peer, and what is wrong with that. */
async function counted(envoy: Envoy): Promise<string | undefined> {
  const ours = (name: string) => envoy.stat(`wasmcustom.metadata_exchange.traffic_${name}`);
  // Our own metrics are written once a second.
  await sleep(1500);
  const page = await envoy.admin('/stats?filter=istio_requests_total');
  const numbers = Array.from(page.matchAll(/: (\d+)$/gm), ([, value]) => Number(value));
  const all = numbers.reduce((sum, each) => sum + each, 0);
  const series = `${count(numbers.length)} series; ${count(await ours('unnamed'))} had a peer past \`max_series\``;
  console.log(`==> ${count(all)} requests are counted, in ${series}`);
  return all === REQUESTS ? undefined : `${count(all)} requests were counted, and not ${count(REQUESTS)}`;
}

async function main(): Promise<string[]> {
  const upstream = await startUpstream();
  try {
    await using envoy = await startEnvoy(upstream.port);
    const vms = await vmsOf(envoy);
    const version = JSON.parse(await envoy.admin('/server_info')).version.split('/')[1];
    const filters = relative(ROOT, MODULE) + (METRICS ? ' with metrics' : '') + (BRIDGE ? ' and the Lua bridge' : '');
    console.log(`==> ${count(REQUESTS)} requests to Envoy ${version}, two workers, ${filters}, seed ${SEED}`);
    const own = { metadata: struct.header(OWN), id: 'own-node' };
    const load = new Load({ port: await envoy.port('listener'), requests: REQUESTS, seed: SEED, own });
    const { samples, problem } = await watch(envoy, load);
    load.stop();

    const problems = problem ? [problem] : [];
    chart(samples);
    const kinds = [...load.kinds].sort(([, a], [, b]) => b - a);
    console.log(columns([['requests', 'kind'], ...kinds.map(([kind, times]) => [count(times), kind])], 'rl'));
    const grown = growth(samples);
    console.log(`==> ${grown.text}`);
    if (grown.isTooMuch) problems.push('memory grows');
    if (load.failed > 0) problems.push(`${load.failed} answers were wrong, such as:\n  ${load.failures.join('\n  ')}`);
    const logged = envoy.log().split('\n');
    const warnings = logged.filter((each) => each && !each.includes('no configured limit to the number of allowed'));
    if (warnings.length) problems.push(`Envoy logged warnings:\n  ${warnings.slice(0, 20).join('\n  ')}`);
    const miscounted = METRICS && envoy.running ? await counted(envoy) : undefined;
    if (miscounted) problems.push(miscounted);
    // A VM that trapped is not active any more, and one that was started in its place is counted as made.
    const after = envoy.running ? await vmsOf(envoy) : 'none';
    if (after !== vms) problems.push(`VMs: there were ${vms}, and there are ${after}`);
    return problems;
  } finally {
    upstream.close();
  }
}

const problems = await main();
for (const each of problems) console.log(`PROBLEM: ${each}`);
console.log(problems.length ? '==> The soak failed.' : '==> Every answer was right, and nothing trapped.');
process.exitCode = problems.length ? 1 : 0;
