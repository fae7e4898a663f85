// SPDX-License-Identifier: Apache-2.0

/**
 * What is made of the rounds. Contenders are compared only with what was measured in the same round: whatever else the
 * machine did then, it did to both.
 */

/** The contenders that others are compared with: no filter, this filter, and this filter in a second Envoy. */
export const NONE = 'none';
export const OURS = 'ours';
export const AGAIN = 'again';

/** A contender's cost in each round, in microseconds of CPU a request. */
export interface Measured {
  name: string;
  label: string;
  rounds: number[];
}

export interface Cost {
  name: string;
  label: string;
  /** Medians, in microseconds of CPU a request: in all, and what is added to an Envoy without a filter. */
  total: number;
  added: number;
  /** Between these lies half of what was added in single rounds. */
  low: number;
  high: number;
  /** What was added, beside what this filter added in the same rounds. Not there for who has no filter. */
  ratio?: number;
}

export interface Comparison {
  costs: Cost[];
  /**
   * How far the same module in a second Envoy is from this filter, as a share, in the calmer half of the rounds. A
   * smaller difference says nothing.
   */
  spread: number;
}

/** Compares contenders that were measured in the same rounds: NONE, OURS and AGAIN are among them. */
export function compare(all: Measured[]): Comparison {
  const roundsOf = (name: string) => {
    const found = all.find((each) => each.name === name);
    if (!found) throw new Error(`${name} was not measured in these rounds`);
    return found.rounds;
  };
  const [bare, ours, again] = [NONE, OURS, AGAIN].map(roundsOf);
  const unit = median(differences(ours, bare));
  const costs = all.map(({ name, label, rounds }) => {
    const added = differences(rounds, bare);
    // The difference to this filter is taken round by round, and not that of two differences: it is the calmer number.
    const ratio = name === NONE ? undefined : 1 + median(differences(rounds, ours)) / unit;
    const [low, high] = [quantile(added, 0.25), quantile(added, 0.75)];
    return { name, label, total: median(rounds), added: median(added), low, high, ratio };
  });
  const apart = differences(again, ours);
  const spread = Math.max(Math.abs(quantile(apart, 0.25)), Math.abs(quantile(apart, 0.75))) / unit;
  return { costs, spread };
}

/** Whether a ratio is as near to 1 as that of the same module is. */
export function isEqual(ratio: number, { spread }: Comparison): boolean {
  return Math.abs(ratio - 1) <= spread;
}

function differences(of: number[], to: number[]): number[] {
  return of.map((cost, round) => cost - to[round]);
}

/** The middle one. */
export function median(values: number[]): number {
  return quantile(values, 0.5);
}

/** The value that this share of the others is below; between two of them in proportion. */
export function quantile(values: number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * share;
  const [below, above] = [sorted[Math.floor(at)], sorted[Math.ceil(at)]];
  return below + (above - below) * (at - Math.floor(at));
}
