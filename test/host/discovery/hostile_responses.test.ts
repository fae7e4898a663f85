// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Random } from '../../../testkit/random.ts';
import { mutated } from '../../fuzz/target.ts';
import { ADDRESSES, anyResponse, NETWORK, withPort } from '../../fuzz/targets/discovery_programs.ts';
import { Player } from '../../support/discovery_player.ts';

/**
 * Bytes that hardly are a response any more: none traps, what is sound in them counts, and the rest is refused. `make fuzz
 * TARGET=discovery` has a million more, between broken streams and forged records.
 */

/** SEED=n tries others. */
const SEED = Number(process.env.SEED || 1);
const INPUTS = 100_000;
/** After so many all is compared, and forgotten. */
const ROUND = 250;

test(`${INPUTS} hostile responses are each judged as another reader judges them`, () => {
  const random = new Random(SEED);
  const player = new Player(NETWORK);
  const sound = Array.from({ length: 400 }, () => anyResponse(random));
  for (let i = 0; i < INPUTS; i++) {
    const input = Buffer.from(mutated(random, random.pick(sound), sound));
    try {
      player.push(input);
      if (i % ROUND > 0) continue;
      player.compareCounts();
      for (const address of ADDRESSES) player.ask(withPort(address), 'client');
      player.empty();
    } catch (error) {
      if (error instanceof Error) error.message = `with SEED=${SEED}, ${input.toString('hex')}: ${error.message}`;
      throw error;
    }
  }
  const { taken, refused } = player.counts;
  expect(Math.min(taken, refused), 'half of it is sound, half is not').toBeGreaterThan(INPUTS / 5);
  expect(player.main.memorySize(), 'and it takes no memory').toBeLessThan(4 * 1024 * 1024);
});
