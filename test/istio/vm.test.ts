// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { spiffe } from '../../testkit/envoy/certificates.ts';
import { metric, VmStand } from './vm_stand.ts';

/** An Envoy without Istio's agent, which shows istiod a token that is replaced now and then. */

test('as shipped it knows pods on both sides, and proves who it is by its token', async () => {
  await using stand = await VmStand.start();
  await using envoy = await stand.startKnowing();
  const [{ node, identity }] = await stand.cluster.watchers();
  expect([node, identity]).toEqual(['vm-1.default', spiffe('default', 'vm')]);
  expect(await stand.ask(envoy)).toEqual(stand.both);
});

test('a token that was replaced is the one that it shows', async () => {
  await using stand = await VmStand.start();
  await using envoy = await stand.startKnowing();
  await stand.cluster.killIstiod();
  stand.writeToken('second');
  await stand.cluster.startIstiod();
  await stand.cluster.setTokens({ second: 'default:vm' });
  await stand.untilWatched(envoy);
});

test('a token that comes later, or a good one after a bad one, is enough', async () => {
  await using stand = await VmStand.start();
  await stand.cluster.setTokens({ good: 'default:vm' });
  await using envoy = await stand.startEnvoy();
  await envoy.until('it fails', async () => (await metric(envoy, 'discovery_failures')) > 0);
  stand.writeToken('bad');
  await sleep(1_500);
  expect(await stand.cluster.watchers()).toEqual([]);
  stand.writeToken('good');
  await stand.untilWatched(envoy);
});

test('what its node says counts: an address in its metadata, and the service account', async () => {
  await using stand = await VmStand.start();
  const { node } = stand.config;
  node.id = 'sidecar~vm-1~vm-1.default~default.svc.cluster.local';
  node.metadata.INSTANCE_IPS = '10.128.0.7';
  {
    await using envoy = await stand.startKnowing();
    expect(await stand.ask(envoy)).toEqual(stand.both);
  }
  node.metadata.SERVICE_ACCOUNT = 'another';
  await using envoy = await stand.startEnvoy();
  await envoy.until('it fails', async () => (await metric(envoy, 'discovery_failures')) > 0);
  expect(stand.cluster.log()).toMatch(/no identities .* matched default\/another/);
});

/** Where istiod reads which network its pods are in. */
const network = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'istio-system', labels: { 'topology.istio.io/network': 'network-1' } },
};

test('in a mesh with networks it must say in which one it is; what another one’s gateway brings is nobody', async () => {
  await using stand = await VmStand.start();
  const { cluster, config, both } = stand;
  await cluster.put(network);
  {
    await using envoy = await stand.startKnowing();
    expect(await stand.ask(envoy)).toEqual([null, null]);
  }
  config.node.metadata.NETWORK = 'network-1';
  await using envoy = await stand.startKnowing();
  expect(await stand.ask(envoy)).toEqual(both);
  expect(await stand.ask(envoy, ['x-forwarded-network', 'network-2'])).toEqual([both[0], null]);
  expect(await stand.ask(envoy, ['x-forwarded-network', 'network-1'])).toEqual(both);
});

test('connections that istiod ends, as it does every half an hour: nobody is unknown for a moment', async () => {
  await using stand = await VmStand.start({ age: '6s' });
  await using envoy = await stand.startKnowing();
  const watched: number[] = [];
  for (const end = Date.now() + 45_000; Date.now() < end; await sleep(50)) {
    expect(await stand.ask(envoy)).toEqual(stand.both);
    watched.push((await stand.cluster.watchers()).length);
  }
  expect(await metric(envoy, 'discovery_streams')).toBeGreaterThan(2);
  expect(Math.max(...watched), 'streams at one time').toBe(1);
  expect(await metric(envoy, 'discovery_workloads')).toBe(2);
  expect(await metric(envoy, 'discovery_updates'), 'nothing is sent twice').toBe(2);
  // It was in order each time, and no reason to warn.
  expect(envoy.log()).not.toMatch(/workload discovery: no stream/);
  const pod = { ...stand.visitor, spec: { ...stand.visitor.spec, serviceAccountName: 'bookinfo-renamed' } };
  await stand.untilWatched(envoy);
  await stand.cluster.put(pod);
  await envoy.until('the change is known', async () => {
    return (await stand.ask(envoy))[1] === spiffe('default', 'bookinfo-renamed');
  });
});

test('an istiod that answers no more, as behind a cut line, is noticed by the keepalive', async () => {
  await using stand = await VmStand.start();
  await using envoy = await stand.startKnowing();
  const before = Date.now();
  stand.cluster.freezeIstiod();
  for (; (await metric(envoy, 'discovery_connected')) === 1; await sleep(200)) {
    expect(Date.now() - before, 'milliseconds').toBeLessThan(30_000 + 5_000 + 5_000);
  }
  expect(await stand.ask(envoy)).toEqual(stand.both);
  await stand.cluster.killIstiod();
  await stand.cluster.startIstiod();
  await stand.untilWatched(envoy);
});
