// SPDX-License-Identifier: Apache-2.0

import { colliding } from '../testkit/colliding.ts';
import { number, readFlags } from '../testkit/flags.ts';
import { Host } from '../testkit/host/host.ts';
import { NODE } from '../testkit/host/node.ts';
import { ID, METADATA } from '../testkit/http.ts';
import { struct } from '../testkit/struct.ts';
import { columns } from '../testkit/tables.ts';

/**
 * `make flood`: what a request costs whose peer was heard before, one whose peer is new, and one of somebody who floods
 * the cache with contents that all have the same hash (a build with a hash that always says the same). The built module
 * under the host in Node, whose own cost is in each figure, as Envoy's is in a real one; what a stream without metadata
 * takes shows how much. Rounds are interleaved; medians are shown.
 */

const { rounds: ROUNDS, streams: STREAMS } = readFlags({
  call: 'tsx bench/flood.ts',
  about: 'What a flood of new peers costs, and one whose contents all have the same hash.',
  flags: { rounds: number(11, 'how many rounds'), streams: number(20_000, 'how many streams in each round') },
}).flags;
const INBOUND = { 'xds.node': NODE, 'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };

/** A usual Struct, of about 600 bytes as a header, another one for each number. */
function header(i: number): string {
  const LABELS = Object.fromEntries(Array.from({ length: 12 }, (_, k) => [`label-${k}`, `value-${k}-${i}`]));
  return struct.header({ NAME: `productpage-v1-${i}`, NAMESPACE: 'default', WORKLOAD_NAME: 'productpage-v1', LABELS });
}

const headers = Array.from({ length: STREAMS * 2 }, (_, i) => header(i));

/** Microseconds a stream. */
function measure(host: Host, root: number, pick: (i: number) => string | undefined): number {
  const start = process.hrtime.bigint();
  for (let i = 0; i < STREAMS; i++) {
    const value = pick(i);
    const pairs: [string, string][] = value ? [[METADATA, value]] : [];
    host
      .stream(root)
      .onRequest(...pairs, [ID, 'peer'])
      .end();
    host.calls.length = 0;
  }
  return Number(process.hrtime.bigint() - start) / STREAMS / 1000;
}

const sound = new Host(INBOUND);
const flooded = new Host(INBOUND, colliding());
const [soundRoot, floodedRoot] = [sound.configure() as number, flooded.configure() as number];
let next = 0;
const fresh = () => headers[next++ % headers.length];
const cases: [name: string, run: () => number, results: number[]][] = [
  ['no metadata header (the host)', () => measure(sound, soundRoot, () => undefined), []],
  ['a peer heard before', () => measure(sound, soundRoot, () => headers[0]), []],
  ['a new peer each time', () => measure(sound, soundRoot, fresh), []],
  ['a new peer each time, all hashes the same', () => measure(flooded, floodedRoot, fresh), []],
];
console.log(`==> ${ROUNDS} rounds of ${STREAMS} streams each, a header of ${headers[0].length} bytes`);
for (let round = 0; round <= ROUNDS; round++) {
  // The first round is for V8 to warm up.
  for (const [, run, results] of cases) {
    const result = run();
    if (round > 0) results.push(result);
  }
}
const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1];
const heard = median(cases[1][2]);
const rows = cases.map(([name, , results]) => [name, median(results).toFixed(2), (median(results) / heard).toFixed(2)]);
console.log(columns([['stream', 'µs', '× a peer heard before'], ...rows], 'lrr'));
