// SPDX-License-Identifier: Apache-2.0
import { FLOOR, NONE } from './contenders.ts';
import type { LoadStand, Traffic } from './load_stand.ts';

/**
 * Rounds in which every contender has its turn, in another order each time: whatever else the machine does strikes all
 * of them. What counts is the difference to the Envoy without a filter in the same round, and of all rounds the median.
 */

export interface Cost {
  name: string;
  label: string;
  /** Medians, in microseconds of CPU a request: in all, and what the filter adds. */
  total: number;
  added: number;
  /** What it added, beside what the straight floor did in the same rounds. */
  ofFloor?: number;
  /** Between these lies half of what it added in single rounds. */
  low: number;
  high: number;
}

const WARM_UP = 3;
/** What disturbs a run makes it slower, never faster: of so many in a row the fastest counts. */
const TRIES = 3;

/** What a request costs at each stand. `say` hears of each round. */
export async function measure(
  stands: LoadStand[],
  traffic: Traffic,
  rounds: number,
  requests: number,
  say: (round: number) => void,
): Promise<Cost[]> {
  const costs = stands.map(() => [] as number[]);
  for (let round = -WARM_UP; round < rounds; round++) {
    say(round);
    for (let turn = 0; turn < stands.length; turn++) {
      const i = (turn + round + stands.length * WARM_UP) % stands.length;
      const tries: number[] = [];
      while (tries.length < TRIES) tries.push(await stands[i].cost(traffic, requests));
      if (round >= 0) costs[i].push(Math.min(...tries));
    }
  }
  const bare = costs[stands.findIndex(({ contender }) => contender === NONE)];
  const addedBy = costs.map((each) => each.map((cost, round) => cost - bare[round]).sort((a, b) => a - b));
  const floor = addedBy[stands.findIndex(({ contender }) => contender.name === FLOOR)];
  return stands.map(({ contender: { name, label } }, i) => {
    const added = addedBy[i];
    const at = (share: number) => added[Math.floor((added.length - 1) * share)];
    const ofFloor = floor && name !== NONE.name ? median(added) / median(floor) : undefined;
    return { name, label, total: median(costs[i]), added: median(added), ofFloor, low: at(0.25), high: at(0.75) };
  });
}

/** How many are measured in one round, beside those that all are compared with. */
const GROUP = 2;

/**
 * The same for more stands than take turns well: an Envoy that waits for long has to be fetched back into the caches.
 * They are measured a few at a time, each time beside the Envoy without a filter and the floor.
 */
export async function measureInGroups(
  stands: LoadStand[],
  traffic: Traffic,
  rounds: number,
  requests: number,
  say: (round: number) => void,
): Promise<Cost[]> {
  const isReference = ({ contender: { name } }: LoadStand) => name === NONE.name || name === FLOOR;
  const [references, others] = [stands.filter(isReference), stands.filter((each) => !isReference(each))];
  const costs: Cost[] = [];
  for (let at = 0; at < others.length; at += GROUP) {
    const group = [...references, ...others.slice(at, at + GROUP)];
    const measured = await measure(group, traffic, rounds, requests, say);
    costs.push(...(at === 0 ? measured : measured.slice(references.length)));
  }
  return costs;
}

/** The middle one. */
export function median(values: number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
