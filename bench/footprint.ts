// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { memoryOf } from '../testkit/process_memory.ts';
import { type Contender, WITHOUT } from './contenders.ts';
import { processTime } from './cpu.ts';
import { load } from './load.ts';
import { distinct, LoadStand } from './load_stand.ts';
import { median } from './statistics.ts';

/**
 * What a filter takes before it serves anything, and what it keeps. Each figure is the difference between Envoys that
 * have many workers and one, less the same difference without a filter: so Envoy's own boot, and what V8 has once for
 * all VMs, fall out.
 */
export interface Footprint {
  name: string;
  label: string;
  /** Bytes of the module. */
  size?: number;
  /** Milliseconds of CPU that each further VM takes to be instantiated and configured, for three listeners. */
  startMs: number;
  /** Bytes of memory that each further worker takes that knows 500 peers. */
  memory: number;
}

const WORKERS = 9;
export const BOOTS = 5;
const PEERS = 500;
/** So many that each worker has some: the kernel spreads them. */
const CONNECTIONS = 12 * WORKERS;

interface Boot {
  cpuMs: number;
  memory: number;
}

async function boot(contender: Contender, workers: number): Promise<Boot> {
  await using stand = await LoadStand.start(contender, { workers });
  // VMs are made on their own threads, some of them after Envoy says that it is live.
  await sleep(500);
  const cpuMs = processTime(stand.envoy.pid) / 1e6;
  const { paths, headers } = distinct(PEERS);
  await load({ port: stand.port('mutated'), paths, headers, count: PEERS * CONNECTIONS, connections: CONNECTIONS });
  return { cpuMs, memory: memoryOf(stand.envoy.pid).anonymous };
}

/** Footprints of contenders that are modules. `say` hears of each round. */
export async function footprints(contenders: Contender[], say: (round: number) => void): Promise<Footprint[]> {
  const all = [WITHOUT, ...contenders];
  const boots = all.map(() => [] as Boot[]);
  for (let round = 0; round < BOOTS; round++) {
    say(round);
    for (const [i, contender] of all.entries()) {
      const [one, many] = [await boot(contender, 1), await boot(contender, WORKERS)];
      const each = (of: (boot: Boot) => number) => (of(many) - of(one)) / (WORKERS - 1);
      boots[i].push({ cpuMs: each(({ cpuMs }) => cpuMs), memory: each(({ memory }) => memory) });
    }
  }
  const [bare, ...medians] = boots.map((all) => ({
    cpuMs: median(all.map(({ cpuMs }) => cpuMs)),
    memory: median(all.map(({ memory }) => memory)),
  }));
  return contenders.map(({ name, label, wasm }, i) => ({
    name,
    label,
    size: wasm ? statSync(wasm).size : undefined,
    startMs: medians[i].cpuMs - bare.cpuMs,
    memory: medians[i].memory - bare.memory,
  }));
}
