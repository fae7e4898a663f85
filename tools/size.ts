// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { MODULE, ROOT } from '../testkit/envoy/binary.ts';
import { Host } from '../testkit/host/host.ts';
import { NODE } from '../testkit/host/node.ts';
import { METADATA } from '../testkit/http.ts';
import { struct } from '../testkit/struct.ts';
import { columns } from '../testkit/tables.ts';
import { readModule } from '../testkit/wasm.ts';

/**
 * `make size`: how many bytes each room of the module takes, beside what it may take, and how much memory a VM has. The
 * compiler puts small functions into those that call them: a room is charged for what it calls often.
 */

/** The budget of each room in bytes. A feature that needs more says so here, and why in CHANGELOG.md. */
export const BUDGETS: Record<string, number> = {
  'streams, http, tcp': 8_000,
  traffic: 3_500,
  peers: 5_000,
  own: 6_500,
  config: 8_000,
  discovery: 6_000,
  metrics: 500,
  wire: 16_500,
  host: 1_500,
  memory: 5_000,
  'texts, tables, the rest': 22_000,
};

export interface Part {
  room: string;
  bytes: number;
  budget: number;
}

/** The rooms of the module as it is released, by the names of a second build with the same options. */
export function sizes(): Part[] {
  const folder = mkdtempSync(join(tmpdir(), 'size-'));
  const found: Record<string, number> = Object.fromEntries(Object.keys(BUDGETS).map((room) => [room, 0]));
  try {
    const outFile = join(folder, 'named.wasm');
    const options = ['--target', 'release', '--debug', '--outFile', relative(ROOT, outFile)];
    execFileSync(join(ROOT, 'tools/asc'), options, { cwd: ROOT });
    for (const { name, codeAt, end } of readModule(readFileSync(outFile)).functions) {
      const room = /^assembly\/(\w+)\//.exec(name)?.[1];
      // What is called from outside, and the module's start, have no name of this form.
      if (room) found[room in found ? room : 'streams, http, tcp'] += end - codeAt;
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
  const functions = Object.values(found).reduce((sum, bytes) => sum + bytes, 0);
  found['texts, tables, the rest'] = readFileSync(MODULE).length - functions;
  return Object.entries(found).map(([room, bytes]) => ({ room, bytes, budget: BUDGETS[room] }));
}

/** Memory of a VM with so many peers of 600 bytes of Struct each in its cache, and so many open streams; in bytes. */
function memory(peers: number, streams: number): number {
  const host = new Host({ 'xds.node': NODE });
  const root = host.configure(JSON.stringify({ max_peer_cache_size: peers })) as number;
  for (let i = 0; i < peers; i++) {
    const peer = struct.header({ NAME: `peer-${i}`, TEXT: 'x'.repeat(570) });
    host.stream(root).onRequest([METADATA, peer]).onResponse().end();
  }
  for (let i = 0; i < streams; i++) host.stream(root).onRequest();
  host.pass(1);
  const kept = host.metrics['metadata_exchange.cache_entries'];
  if (kept !== peers) throw new Error(`${kept} of ${peers} peers are in the cache`);
  return host.memorySize();
}

if (process.argv[1] === import.meta.filename) {
  const parts = sizes();
  const total = parts.reduce((sum, { bytes }) => sum + bytes, 0);
  const rows = parts.map(({ room, bytes, budget }) => [room, String(bytes), String(budget)]);
  console.log(columns([['room', 'bytes', 'budget'], ...rows, ['all', String(total), '']], 'lrr'));
  const inMegabytes = (bytes: number) => `${(bytes / 2 ** 20).toFixed(1)} MiB`;
  const cases: [string, number, number][] = [
    ['no cache', 0, 0],
    ['500 peers, the default', 500, 0],
    ['4,096 peers, the most', 4096, 0],
    ['no cache, 131,072 open streams, the most', 0, 131_072],
  ];
  const vms = cases.map(([what, peers, streams]) => [what, inMegabytes(memory(peers, streams))]);
  console.log(`\n${columns([['memory of a VM', ''], ...vms], 'lr')}`);
  const over = parts.filter(({ bytes, budget }) => bytes > budget);
  for (const { room, bytes, budget } of over) console.error(`${room} takes ${bytes} bytes, its budget is ${budget}`);
  process.exitCode = over.length > 0 ? 1 : 0;
}
