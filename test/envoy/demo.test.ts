// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { send } from '../../testkit/http.ts';
import { metadataExchange } from '../support/cli.ts';

/** `make demo`, as a process: what it prints must be so, and it must fail where the exchange does not work. */

const EDGES = [
  'bookinfo-gateway → productpage-v1',
  'details-v1 → books-api-v1',
  'productpage-v1 → details-v1',
  'productpage-v1 → reviews-v1',
  'productpage-v1 → reviews-v2',
  'productpage-v1 → reviews-v3',
  'ratings-v1 → ratings-db-v1',
  'reviews-v2 → ratings-v1',
  'reviews-v3 → ratings-v1',
  'stock-report → details-v1',
];

/** A demo that runs: what it has printed, and how it ended. */
function start(args: string[], env: NodeJS.ProcessEnv = {}) {
  const command = ['--import', 'tsx', join(ROOT, 'tools/demo.ts'), ...args];
  const child = spawn(process.execPath, command, { cwd: ROOT, env: { ...process.env, ...env } });
  const demo = { child, output: '', ended: once(child, 'close').then(([code]) => code as number | null) };
  for (const stream of [child.stdout, child.stderr]) {
    stream.setEncoding('utf8').on('data', (chunk: string) => {
      demo.output += chunk;
    });
  }
  return demo;
}

/** Waits for a text in the output, or for the end. */
async function printed(demo: ReturnType<typeof start>, text: string): Promise<void> {
  while (!demo.output.includes(text)) {
    const isOver = await Promise.race([demo.ended.then(() => true), once(demo.child.stdout, 'data').then(() => false)]);
    if (isOver) throw new Error(demo.output);
  }
}

/** The edges of the table in the output. */
function edgesIn(output: string): string[] {
  const rows = output.matchAll(
    /^ {4}(\S+) +(\S+) +(?:http +[\d.]+\/s +[\d.]+%|tcp +- +- .*[\d.]+\/s) +.* (?:source|destination)$/gm,
  );
  return Array.from(rows, ([, from, to]) => `${from} → ${to}`);
}

test('the map has all edges, and goes on with the command line until it is told to end', async () => {
  const demo = start(['--seconds=2', '--keep=1']);
  try {
    await printed(demo, 'bookinfo-gateway   127.0.0.1:');
    expect(edgesIn(demo.output)).toEqual(EDGES);
    // Nothing of what is for a terminal.
    expect(demo.output).not.toContain('\x1b');
    expect(demo.output).not.toMatch(/^ *NO /m);
    expect(demo.output).toMatch(/"WORKLOAD_NAME": "reviews-v[23]"/);

    const [, port] = /curl -s http:\/\/127\.0\.0\.1:(\d+)/.exec(demo.output) ?? [];
    expect(await send(Number(port), { path: '/productpage' })).toMatchObject({ status: 200 });
    const [, map] = /the live map is at (http:\/\/127\.0\.0\.1:\d+\/)/.exec(demo.output) ?? [];
    expect(demo.output.split(map)).toHaveLength(3);
    expect(await (await fetch(map)).text()).toContain('<h1>Who calls whom</h1>');
    const [, addresses] = /npx metadata-exchange map (.*)/.exec(demo.output) ?? [];
    const { code, stdout } = await metadataExchange(['map', '--seconds=2', '--json', ...addresses.split(' ')]);
    expect(code).toBe(0);
    // biome-ignore lint/suspicious/noExplicitAny: JSON of the command
    const edges: any[] = JSON.parse(stdout).edges;
    expect(edges.map(({ source, destination }) => `${source.name} → ${destination.name}`)).toEqual(EDGES);
    for (const edge of edges) expect(edge.connections?.opened ?? edge.rate, edge.source.name).toBeGreaterThan(0);
  } finally {
    demo.child.kill('SIGTERM');
  }
  expect(await demo.ended).toBe(0);
});

test('who reads it may stop early: it ends, quietly', async () => {
  const demo = start(['--seconds=1']);
  await printed(demo, '==> starting Bookinfo');
  demo.child.stdout.destroy();
  const before = demo.output;
  expect(await demo.ended).toBe(0);
  expect(demo.output).toBe(before);
});

test('with a module that exchanges something else it fails, and says what is missing', async () => {
  const demo = start(['--seconds=1'], { MODULE: 'build/bench/floor.wasm' });
  expect(await demo.ended).toBe(1);
  expect(edgesIn(demo.output)).toEqual([]);
  for (const edge of EDGES) expect(demo.output).toContain(`  - ${edge} is not there`);
  expect(demo.output).toContain('books-api-v1 saw x-istio-peer-metadata in a request');
});
