// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { AGAIN, compare, isEqual, type Measured, median, NONE, OURS, quantile } from '../../bench/statistics.ts';

/** Rounds of a machine that gets slower and faster: what each round costs without a filter. */
const BARE = [10, 12, 30, 11, 10, 14, 10];

/** A contender that adds so many microseconds in each round. */
function adding(name: string, ...added: number[]): Measured {
  return { name, label: name, rounds: BARE.map((bare, round) => bare + added[round % added.length]) };
}

const NO_FILTER = adding(NONE, 0);
const FILTER = adding(OURS, 10);

/** What is said of a contender. */
function costOf(name: string, all: Measured[]) {
  return compare(all).costs.find((cost) => cost.name === name);
}

test('what a contender adds is told from what the machine did in that round', () => {
  const cost = costOf('rust', [NO_FILTER, FILTER, adding(AGAIN, 10), adding('rust', 15)]);
  expect(cost).toEqual({ name: 'rust', label: 'rust', total: 26, added: 15, low: 15, high: 15, ratio: 1.5 });
});

test('contenders are compared round by round, and not by their medians', () => {
  const bare = { ...NO_FILTER, rounds: [0, 0, 0, 0, 0] };
  const ours = { ...FILTER, rounds: [10, 20, 60, 30, 40] };
  // Dearer by 1 in most rounds, though its median is below.
  const rust = { ...FILTER, name: 'rust', rounds: [11, 21, 61, 60, 10] };
  expect(median(rust.rounds)).toBeLessThan(median(ours.rounds));
  expect(costOf('rust', [bare, ours, { ...ours, name: AGAIN }, rust])?.ratio).toBeCloseTo(1 + 1 / 30);
});

test('the Envoy without a filter has no ratio', () => {
  expect(costOf(NONE, [NO_FILTER, FILTER, adding(AGAIN, 10)])?.ratio).toBeUndefined();
});

test('what is no further from this filter than its own second copy is equal', () => {
  // A second copy that is up to a tenth dearer, or cheaper, in the calmer half of the rounds.
  const comparison = compare([NO_FILTER, FILTER, adding(AGAIN, 11, 9, 10.5, 9.5, 11, 9, 30)]);
  expect(comparison.spread).toBeCloseTo(0.1);
  expect([0.89, 0.91, 1, 1.09, 1.11].map((ratio) => isEqual(ratio, comparison))).toEqual([
    false,
    true,
    true,
    true,
    false,
  ]);
});

test('a second copy that is always dearer makes the yardstick as long', () => {
  expect(compare([NO_FILTER, FILTER, adding(AGAIN, 13)]).spread).toBeCloseTo(0.3);
});

test('nobody is compared without the yardstick in the same rounds', () => {
  expect(() => compare([NO_FILTER, FILTER])).toThrow('again was not measured in these rounds');
});

test('quantiles', () => {
  expect(median([3, 1, 2])).toBe(2);
  expect(median([4, 1, 2, 3])).toBe(2.5);
  expect([0, 0.25, 0.75, 1].map((share) => quantile([5, 1, 2, 3, 4], share))).toEqual([1, 2, 4, 5]);
});
