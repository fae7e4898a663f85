// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ROOT } from '../testkit/envoy/binary.ts';
import { metadataExchange, proxy, wasm } from '../testkit/envoy/config.ts';
import { Envoy } from '../testkit/envoy/process.ts';
import { send } from '../testkit/http.ts';
import { memoryOf } from '../testkit/process_memory.ts';
import { type Named, WorkloadServer } from '../testkit/xds/server.ts';
import { cpuTime } from './cpu.ts';
import { load } from './load.ts';
import { median } from './statistics.ts';

/**
 * Workload discovery with many workloads: what each takes in memory, once for a proxy with two workers; what the main
 * thread does for one that comes or changes; how long workers' event loops take meanwhile, beside a time without any
 * change in the same Envoy; and what a lookup costs beside the read of a header.
 */
export interface DiscoveryRow {
  workloads: number;
  /** Bytes of memory for each workload, in the whole process. */
  memory: number;
  /** Microseconds of the main thread's CPU time for each workload of the first load, and for each that changes later. */
  loaded: number;
  changed: number;
  /** What 99.9 % of the workers' loops take at the most, in microseconds: while nothing comes, the list, 1,000 a second. */
  quietLoop: number;
  loadLoop: number;
  changesLoop: number;
  /** Nanoseconds of a lookup that finds somebody, of one that does not, and of the read of a header. */
  found: number;
  unknown: number;
  header: number;
}

export const SIZES = [1_000, 10_000, 100_000];
const WORKERS = 2;
const CLUSTER = 'workload-discovery';
/** Resources in one response: a server that sends everything in one has the main thread busy at a stretch. */
const PER_RESPONSE = 1_000;
const CHANGES_A_SECOND = 1_000;
/** Envoy adds up its histograms in intervals of this length: what is read at the end of a phase is its last interval. */
const FLUSH_MS = 5_000;
const ROUNDS = 5;

/** A workload as a large cluster has them: its address tells its number. */
function pod(i: number, revision = 'v1'): Named {
  const app = `app-${i % 5000}`;
  const namespace = `ns-${i % 200}`;
  const name = `${app}-${revision}-5f6d8c9b7-${i.toString(16).padStart(5, '0')}`;
  return {
    uid: `Kubernetes//Pod/${namespace}/${name}`,
    name,
    namespace,
    addresses: [`10.${i >> 16}.${(i >> 8) & 255}.${i & 255}`],
    serviceAccount: `sa-${app}`,
    node: `node-${i % 3000}.internal`,
    canonicalName: app,
    canonicalRevision: revision,
    workloadName: `${app}-${revision}`,
    clusterId: 'Kubernetes',
    locality: { region: 'eu-west-1', zone: 'eu-west-1b' },
  };
}

/** A proxy that knows nobody yet, with a listener for requests and one whose filter measures lookups. */
async function start(server: WorkloadServer): Promise<Envoy> {
  const lists = { downstream_discovery: [{ workload_discovery: {} }] };
  const lookups = wasm('lookups', undefined, join(ROOT, 'build/bench/lookups.wasm'));
  const routes = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];
  const manager = { access_log: [] };
  const config = proxy({
    listeners: [
      { name: 'in', filters: [metadataExchange(lists)], routes, manager },
      { name: 'lookups', filters: [lookups], routes, manager },
    ],
    clusters: { [CLUSTER]: { port: server.port, http2: true } },
  });
  const bootstrap = { ...config, enable_dispatcher_stats: true };
  return await Envoy.start(bootstrap, { name: 'discovery', workers: WORKERS });
}

/** The largest of the workers' loop durations, in microseconds, of the last interval, up to a percentile of 99.9. */
async function loops(envoy: Envoy): Promise<number> {
  const page = await envoy.admin('/stats?filter=worker_.*dispatcher.loop_duration_us');
  const found = Array.from(page.matchAll(/P99\.9\(([\d.]+|nan),/g), ([, interval]) => Number(interval));
  const known = found.filter((each) => !Number.isNaN(each));
  if (known.length === 0) throw new Error(`Envoy says nothing of its workers’ loops:\n${page}`);
  return Math.max(...known);
}

/** Sends requests to the workers for a phase, and says how long their loops took in it. */
async function phase(envoy: Envoy, during: () => Promise<unknown> = async () => undefined): Promise<number> {
  const port = await envoy.port('in');
  let isOver = false;
  const traffic = async () => {
    while (!isOver) await load({ port, paths: ['/'], headers: [], count: 4000, connections: 8 });
  };
  const requests = traffic();
  await during();
  await sleep(2 * FLUSH_MS + 500);
  const found = await loops(envoy);
  isOver = true;
  await requests;
  return found;
}

const mainThread = (envoy: Envoy) => cpuTime(`/proc/${envoy.pid}/task/${envoy.pid}`);

async function known(envoy: Envoy, count: number): Promise<void> {
  const name = 'wasmcustom.metadata_exchange.discovery_workloads';
  await envoy.until(`${count} workloads are known`, async () => (await envoy.stat(name)) === count);
}

/** Changes many workloads a second for some seconds. */
async function change(server: WorkloadServer, count: number, seconds: number): Promise<number> {
  const batch = CHANGES_A_SECOND / 10;
  let changed = 0;
  for (let tenth = 0; tenth < seconds * 10; tenth++) {
    const first = (tenth * batch) % count;
    server.set(...Array.from({ length: batch }, (_, i) => pod((first + i) % count, `v${2 + (tenth % 7)}`)));
    changed += batch;
    await sleep(100);
  }
  return changed;
}

/** What so many workloads cost. */
export async function discovery(count: number): Promise<DiscoveryRow> {
  await using server = await WorkloadServer.start({ perResponse: PER_RESPONSE });
  const envoy = await start(server);
  try {
    await envoy.until('the control plane has a stream', () => server.open.length === 1);
    const quietLoop = await phase(envoy);
    const pods = Array.from({ length: count }, (_, i) => pod(i));
    const memoryBefore = memoryOf(envoy.pid).anonymous;
    const timeBefore = mainThread(envoy);
    let loaded = 0;
    let memory = 0;
    const loadLoop = await phase(envoy, async () => {
      server.set(...pods);
      await known(envoy, count);
      loaded = (mainThread(envoy) - timeBefore) / count / 1000;
      memory = (memoryOf(envoy.pid).anonymous - memoryBefore) / count;
    });
    let changed = 0;
    const changesLoop = await phase(envoy, async () => {
      const before = mainThread(envoy);
      const changes = await change(server, count, 10);
      changed = (mainThread(envoy) - before) / changes / 1000;
    });
    const lookups: Record<string, number>[] = [];
    for (let i = 0; i < ROUNDS + 2; i++) {
      const { headers } = await send(await envoy.port('lookups'));
      const number = (name: string) => Number(headers.all(name)[0]);
      lookups.push({ found: number('x-found'), unknown: number('x-unknown'), header: number('x-header') });
    }
    const each = (name: string) => median(lookups.slice(2).map((round) => round[name]));
    const [found, unknown, header] = [each('found'), each('unknown'), each('header')];
    return { workloads: count, memory, loaded, changed, quietLoop, loadLoop, changesLoop, found, unknown, header };
  } finally {
    await envoy.stop();
  }
}
