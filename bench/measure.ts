// SPDX-License-Identifier: Apache-2.0
import { Random } from '../testkit/random.ts';
import type { LoadStand, Traffic } from './load_stand.ts';
import { type Comparison, compare } from './statistics.ts';

const WARM_UP = 3;
/**
 * What disturbs a run makes it slower, never faster: of so many in a row the fastest counts. The first of them also
 * fetches an Envoy back into the caches that waited while the others had their turns.
 */
const TRIES = 3;

/**
 * What a request costs at each stand. All stands have a turn in every round, in another order each time. `say` hears of
 * each round.
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
    for (const i of random.shuffled([...stands.keys()])) {
      const tries: number[] = [];
      while (tries.length < TRIES) tries.push(await stands[i].cost(traffic, requests));
      if (round >= 0) measured[i].rounds.push(Math.min(...tries));
    }
  }
  return compare(measured);
}
