// SPDX-License-Identifier: Apache-2.0
import { beforeAll, expect, test } from 'vitest';
import { instrumentedBuilds, releasedBuilds } from './build.ts';
import { cover, fuzz, readCorpus, UNREACHABLE } from './run.ts';
import type { InstrumentedBuilds } from './target.ts';

/** A short run: `make fuzz` is the long one. SEED=n tries others. */
const INPUTS = 20_000;
const seed = Number(process.env.SEED || 1);

test('no input traps the module, and it says of each what another reader says', () => {
  const results = fuzz(releasedBuilds(), { inputs: INPUTS, seed });
  expect(results.reduce((sum, { inputs }) => sum + inputs, 0)).toBe(INPUTS);
  for (const { target, inputs, accepted } of results) expect(accepted / inputs, target).toBeGreaterThan(0.2);
});

let builds: InstrumentedBuilds;
beforeAll(() => {
  builds = instrumentedBuilds();
});

test('the corpus, and a few inputs too large for it, reach every branch of assembly/wire that any input can reach', () => {
  const { missed, reached, known, excused } = cover(builds, { inputs: 4000, seed: 1 });
  expect(missed).toEqual([]);
  expect(reached + excused).toBe(known);
  expect(excused, 'each reason excuses something').toBeGreaterThanOrEqual(UNREACHABLE.length);
});

test('the corpus is small', () => {
  const sizes = ['base64', 'struct', 'config', 'streams', 'discovery', 'prefaces'].map((name) => readCorpus(name));
  expect(sizes.flat().length).toBeLessThanOrEqual(600);
  expect(sizes.flat().reduce((sum, input) => sum + input.length, 0)).toBeLessThan(550_000);
});
