// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Random } from '../../../testkit/random.ts';
import { type ResourceFields, resource, type WorkloadFields } from '../../../testkit/xds/messages.ts';
import { Player } from '../../support/discovery_player.ts';
import { pod } from '../../support/hosted_discovery.ts';

/**
 * A mesh that lives for thousands of steps: workloads come, change, move, are malformed and go, streams break and
 * configurations end, and what is known of an address is at each moment what a Map says (test/fuzz/oracle/discovery.ts).
 */

/** SEED=n tries others. */
const SEED = Number(process.env.SEED || 1);
const STEPS = 20_000;
const NETWORK = 'east';

const ADDRESSES = [
  ...Array.from({ length: 20 }, (_, i) => `10.0.0.${i}`),
  ...Array.from({ length: 6 }, (_, i) => `::ffff:10.0.0.${i}`),
  ...Array.from({ length: 10 }, (_, i) => `2001:db8::${i}`),
];
const NAMES = Array.from({ length: 30 }, (_, i) => `pod-${i}`);

const withPort = (address: string) => (address.includes(':') ? `[${address}]:80` : `${address}:80`);

/** A workload that the control plane may say something of, in this revision. */
function anyPod(random: Random, revision: number): WorkloadFields & { uid: string } {
  const count = random.pick([0, 1, 1, 1, 2, 3]);
  const addresses = Array.from({ length: count }, () => random.pick(ADDRESSES));
  return pod(random.pick(NAMES), addresses, {
    canonicalRevision: String(revision),
    network: random.oneIn(6) ? random.pick(['', 'west']) : NETWORK,
    ...(random.oneIn(10) && { networkMode: 'HOST_NETWORK' }),
    ...(random.oneIn(3) && { clusterId: 'Kubernetes' }),
  });
}

/** The same with a fault. */
function spoiled(random: Random, sound: ResourceFields): ResourceFields {
  const body = sound.body ?? Buffer.alloc(0);
  const kind = random.below(5);
  if (kind === 0) return { ...sound, body: body.subarray(0, -1) };
  if (kind === 1) return { ...sound, typeUrl: 'type.googleapis.com/istio.workload.Address' };
  if (kind === 2) return { ...sound, body: Buffer.concat([body, Buffer.from('1a03010203', 'hex')]) };
  if (kind === 3) return { ...sound, body: Buffer.concat([body, Buffer.from('0a01ff', 'hex')]) };
  return { name: sound.name, version: sound.version };
}

test(`${STEPS} steps of a mesh`, () => {
  const random = new Random(SEED);
  const player = new Player(NETWORK);
  const { istiod } = player;
  istiod.answers = true;
  istiod.batch = 7;
  let revision = 0;
  const anyName = () => pod(random.pick(NAMES), []).uid;

  /** The control plane's world changes. */
  const change = () => {
    const many = random.oneIn(10) ? 20 : 1 + random.below(3);
    if (random.oneIn(4)) istiod.removeAll(Array.from({ length: many }, anyName));
    else {
      const resources = Array.from({ length: many }, () => resource(anyPod(random, ++revision), `v${revision}`));
      istiod.serveResources(resources.map((each) => (random.oneIn(12) ? spoiled(random, each) : each)));
    }
  };
  const changes = () => {
    for (let i = random.below(6); i > 0; i--) change();
  };

  for (let step = 0; step < STEPS; step++) {
    try {
      const kind = random.below(100);
      if (kind < 60) change();
      else if (kind < 75) player.pass(1);
      else if (kind === 75) player.reconnect(changes);
      else if (kind === 76) player.takeOver(changes);
      else if (kind === 77) player.settle();
      else if (kind === 78) istiod.ignoresVersions = !istiod.ignoresVersions;
      else {
        const side = random.pick(['client', 'server', 'behind'] as const);
        for (let i = 0; i < 3; i++) player.ask(withPort(random.pick(ADDRESSES)), side);
      }
      if (step % 100 === 0) {
        player.compareCounts();
        for (const address of ADDRESSES) player.ask(withPort(address), 'client');
        for (const { calls } of player.proxy.process.vms) calls.length = 0;
      }
    } catch (error) {
      if (error instanceof Error) error.message = `with SEED=${SEED}, at step ${step}: ${error.message}`;
      throw error;
    }
  }
  const { taken, removed, refused, found, streams } = player.counts;
  expect(Math.min(taken, found), 'enough happened').toBeGreaterThan(STEPS / 10);
  expect(Math.min(removed, refused, streams)).toBeGreaterThan(STEPS / 100);
});
