// SPDX-License-Identifier: Apache-2.0
import { Random } from '../testkit/random.ts';
import type { LoadStand, Traffic } from './load_stand.ts';
import { type Comparison, compare } from './statistics.ts';

const WARM_UP = 3;
/**
 * In a round each contender has so many turns, not in a row but among those of the others. What disturbs a turn makes
 * it slower, never faster: the fastest counts.
 */
const TURNS = 3;

/**
 * What a request costs at each stand. All stands have their turns in every round, in another order each time. `say`
 * hears of each round.
 */
export async function measure(
  stands: LoadStand[],
  traffic: Traffic,
  rounds: number,
  requests: number,
  say: (round: number) => void,
): Promise<Comparison> {
  const random = new Random(1);
  const measured = stands.map(({ contender: { name, label } }) => ({ name, label, rounds: [] as number[] }));
  for (let round = -WARM_UP; round < rounds; round++) {
    say(round);
    const turns = stands.map(() => [] as number[]);
    for (let turn = 0; turn < TURNS; turn++) {
      for (const i of random.shuffled([...stands.keys()])) turns[i].push(await stands[i].cost(traffic, requests));
    }
    if (round < 0) continue;
    for (const [i, { rounds }] of measured.entries()) rounds.push(Math.min(...turns[i]));
  }
  return compare(measured);
}
