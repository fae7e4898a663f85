// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { spiffe } from '../../testkit/envoy/certificates.ts';
import type { Envoy } from '../../testkit/envoy/process.ts';
import { send } from '../../testkit/http.ts';
import { Random } from '../../testkit/random.ts';
import type { Resource } from './mesh.ts';
import { deployed, moved } from './pods.ts';
import { metric, VmStand } from './vm_stand.ts';

/**
 * Pods that come, go, change and take each other's addresses at random, with an istiod that is killed now and then: after
 * each round every address is who has it by then, and nobody else. SEED repeats a run.
 */

const ROUNDS = 12;
const CHANGES = 12;
const ADDRESSES = Array.from({ length: 40 }, (_, i) => `127.99.1.${i + 1}`);
const APPS = Array.from({ length: 60 }, (_, i) => `app-${i}`);
/** How long workers keep an answer. */
const KEPT = 1_000;

/** The pods that there are, by app and by address. */
class Pods {
  readonly byApp = new Map<string, Resource>();
  readonly byAddress = new Map<string, Resource>();

  constructor(
    private readonly stand: VmStand,
    private readonly random: Random,
  ) {}

  /** Does something to a pod. */
  async change(): Promise<void> {
    const app = this.random.pick(APPS);
    const pod = this.byApp.get(app);
    const free = ADDRESSES.filter((each) => !this.byAddress.has(each));
    if (!pod) {
      if (free.length > 0) await this.put(deployed(app, 'v1', this.random.pick(free)));
      return;
    }
    const what = this.random.pick(['remove', 'rename', 'move', 'swap', 'swap']);
    if (what === 'remove') await this.remove(pod);
    else if (what === 'rename') await this.put(renamed(pod, `account-${this.random.below(100)}`));
    else if (what === 'move' && free.length > 0) await this.put(moved(pod, this.random.pick(free)));
    else if (what === 'swap') await this.swap(pod, this.random.pick([...this.byApp.values()]));
  }

  private async put(...pods: Resource[]): Promise<void> {
    for (const { metadata } of pods) this.byAddress.delete(this.byApp.get(metadata.labels.app)?.status.podIP);
    for (const pod of pods) {
      this.byApp.set(pod.metadata.labels.app, pod);
      this.byAddress.set(pod.status.podIP, pod);
    }
    await this.stand.cluster.put(...pods);
  }

  private async remove(pod: Resource): Promise<void> {
    this.byApp.delete(pod.metadata.labels.app);
    this.byAddress.delete(pod.status.podIP);
    await this.stand.cluster.remove(pod);
  }

  private async swap(pod: Resource, other: Resource): Promise<void> {
    if (other !== pod) await this.put(moved(pod, other.status.podIP), moved(other, pod.status.podIP));
  }
}

function renamed(pod: Resource, serviceAccountName: string): Resource {
  return { ...pod, spec: { ...pod.spec, serviceAccountName } };
}

/** Who each address is, by requests from all of them. */
async function identities(envoy: Envoy, round: number): Promise<Record<string, string | null>> {
  const port = await envoy.port('inbound');
  const path = (address: string) => `/${round}/${address}`;
  for (const address of ADDRESSES) await send(port, { path: path(address), from: address });
  const lines = () => envoy.log().match(new RegExp(`^\\{.*"path":"/${round}/.*\\}$`, 'gm')) ?? [];
  await envoy.until('all are logged', () => lines().length === ADDRESSES.length);
  const all = new Map(lines().map((line) => [JSON.parse(line).path, JSON.parse(line).client_identity]));
  return Object.fromEntries(ADDRESSES.map((address) => [address, all.get(path(address))]));
}

test('whatever happens to pods and to istiod, each address is who has it', async () => {
  const seed = Number(process.env.SEED ?? Date.now());
  const random = new Random(seed);
  await using stand = await VmStand.start();
  await using envoy = await stand.startKnowing();
  const { cluster } = stand;
  const pods = new Pods(stand, random);
  for (let round = 0; round < ROUNDS; round++) {
    const isDown = round % 4 === 3;
    if (isDown) await cluster.killIstiod();
    for (let i = 0; i < CHANGES; i++) await pods.change();
    if (isDown) await cluster.startIstiod();
    // Longer than istiod waits before it tells of a change.
    await sleep(300);
    await stand.untilWatched(envoy);
    await sleep(KEPT);
    const expected = ADDRESSES.map((address) => {
      const account = pods.byAddress.get(address)?.spec.serviceAccountName;
      return [address, account ? spiffe('default', account) : null];
    });
    expect(await identities(envoy, round), `seed ${seed}, round ${round}`).toEqual(Object.fromEntries(expected));
  }
  // visitor and ratings are there, too.
  const count = pods.byApp.size + 2;
  await envoy.until('it counts them', async () => (await metric(envoy, 'discovery_workloads')) === count);
  expect(await metric(envoy, 'discovery_refused')).toBe(0);
});
