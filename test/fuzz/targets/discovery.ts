// SPDX-License-Identifier: Apache-2.0
import type { Random } from '../../../testkit/random.ts';
import { Player } from '../../support/discovery_player.ts';
import { type Builds, mostMemory, type Target } from '../target.ts';
import {
  ADDRESSES,
  type DiscoveryProgram,
  generateDiscovery,
  NETWORK,
  padding,
  withPort,
} from './discovery_programs.ts';

/**
 * Responses of a control plane, sound and hostile, streams that break, configurations that end, records that somebody
 * else wrote: what is sound is found by its addresses, what is not is refused, and what is gone is nobody.
 */
export class Discovery implements Target {
  readonly name = 'discovery';
  private player: Player;

  constructor(private readonly builds: Builds) {
    this.player = new Player(NETWORK, builds.module);
  }

  renew(): void {
    this.player = new Player(NETWORK, this.builds.module);
  }

  counters() {
    const { main, worker } = this.player;
    // One counts for both: what only the other reached is added.
    return [main, worker].map((host) => ({ of: 'module' as const, global: (name: string) => host.global(name) }));
  }

  generate(random: Random): Uint8Array {
    return Buffer.from(JSON.stringify(generateDiscovery(random)));
  }

  check(input: Uint8Array): boolean {
    const { player } = this;
    const { steps } = JSON.parse(Buffer.from(input).toString()) as DiscoveryProgram;
    player.empty();
    const found = player.counts.found;
    for (const step of steps) {
      if ('push' in step) {
        const bytes = Buffer.from(step.push, 'hex');
        player.push(step.pad ? Buffer.concat([padding(step.pad), bytes]) : bytes);
      } else if ('pass' in step) player.pass(step.pass);
      else if ('reconnect' in step) player.reconnect();
      else if ('takeOver' in step) player.takeOver();
      else if ('usurp' in step) player.usurp();
      else if ('node' in step) player.introduce(Buffer.from(step.node, 'hex'));
      else if ('ask' in step) player.ask(step.ask, step.side);
      else
        player.forge(
          step.record,
          (record) => forged(record, step.size, step.bytes),
          ADDRESSES.map((each) => withPort(each)),
        );
    }
    player.compareCounts();
    for (const address of ADDRESSES) player.ask(withPort(address), 'server');
    if (player.worker.memorySize() > mostMemory(0)) throw new Error('what came and went took memory');
    return player.counts.found > found;
  }
}

/** A record of another size, with other bytes in places. */
function forged(record: Buffer, size: number | undefined, bytes: [number, number][]): Buffer {
  const result = Buffer.alloc(size ?? record.length, record);
  for (const [at, value] of bytes) if (result.length > 0) result[at % result.length] = value;
  return result;
}
