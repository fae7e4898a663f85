// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Named } from '../../../testkit/xds/server.ts';
import { CLIENT, filter, KEPT, listening, OLDEST_AND_NEWEST, SERVER } from '../../support/discovery.ts';
import { DiscoveryStand } from '../../support/discovery_stand.ts';

/** Pods come, go and change: the first request after the proxy acknowledged it, and a second, knows. */

describe.concurrent.each(OLDEST_AND_NEWEST)('pods, on Envoy %s', (_, version) => {
  let stand: DiscoveryStand;
  const pod = (name: string, more: object = {}): Named => ({ ...CLIENT, uid: name, name, addresses: [], ...more });

  beforeAll(async () => {
    stand = await DiscoveryStand.start({ version, workers: 2 });
    await stand.untilKnown();
  });
  afterAll(() => stand[Symbol.asyncDispose]());

  /** Lets the control plane change something, and waits as long as it takes at the most. */
  async function acknowledged(change: () => void): Promise<void> {
    change();
    await stand.until('the change is acknowledged', () => stand.server.settled);
    await sleep(KEPT);
  }

  const whoIs = async (from: string) => (await stand.names({ from }))[0];

  test('one comes, is relabelled, and goes', async () => {
    const from = '127.0.1.1';
    expect(await whoIs(from)).toBeUndefined();
    await acknowledged(() => stand.server.set(pod('a', { addresses: [from] })));
    expect(await whoIs(from)).toBe('a');
    await acknowledged(() => stand.server.set(pod('a', { addresses: [from], canonicalRevision: 'v2' })));
    const { log } = await stand.ask({ from });
    expect(log.downstream.struct).toMatchObject({ LABELS: { version: 'v2' } });
    await acknowledged(() => stand.server.remove('a'));
    expect(await whoIs(from)).toBeUndefined();
  });

  test('one moves to another address: the old one is nobody’s', async () => {
    await acknowledged(() => stand.server.set(pod('b', { addresses: ['127.0.2.1', '127.0.2.2'] })));
    expect([await whoIs('127.0.2.1'), await whoIs('127.0.2.2')]).toEqual(['b', 'b']);
    await acknowledged(() => stand.server.set(pod('b', { addresses: ['127.0.2.2', '127.0.2.3'] })));
    expect([await whoIs('127.0.2.1'), await whoIs('127.0.2.2'), await whoIs('127.0.2.3')]).toEqual([
      undefined,
      'b',
      'b',
    ]);
  });

  test('an address goes to another pod: the end of the old one does not take it away', async () => {
    const from = '127.0.3.1';
    await acknowledged(() => stand.server.set(pod('old', { addresses: [from] })));
    await acknowledged(() => stand.server.set(pod('new', { addresses: [from] })));
    expect(await whoIs(from)).toBe('new');
    await acknowledged(() => stand.server.remove('old'));
    expect(await whoIs(from)).toBe('new');
  });

  test('one in the network of its node is not taken for the node', async () => {
    const from = '127.0.4.1';
    await acknowledged(() => stand.server.set(pod('on-node', { addresses: [from], networkMode: 'HOST_NETWORK' })));
    expect(await whoIs(from)).toBeUndefined();
  });

  test('one of another network has the same address: nobody mistakes it', async () => {
    const from = '127.0.5.1';
    await acknowledged(() => stand.server.set(pod('elsewhere', { addresses: [from], network: 'other' })));
    expect(await whoIs(from)).toBeUndefined();
    await acknowledged(() => stand.server.set(pod('here', { addresses: [from] })));
    expect(await whoIs(from)).toBe('here');
    const headers = ['x-forwarded-network', 'other'];
    expect((await stand.names({ from, headers }))[0], 'that came through a gateway').toBeUndefined();
  });

  test('one written as IPv4 in IPv6 is the same as in IPv4', async () => {
    const from = '127.0.6.1';
    await acknowledged(() => stand.server.set(pod('mapped', { addresses: [`::ffff:${from}`] })));
    expect(await whoIs(from)).toBe('mapped');
  });

  test('the server is replaced, and both are known all the time', async () => {
    await acknowledged(() => stand.server.set({ ...SERVER, name: 'ratings-v1-1' }));
    expect(await stand.names()).toEqual([CLIENT.name, 'ratings-v1-1']);
  });
});

test.concurrent('only those of the proxy’s own network are found, where it has one', async () => {
  const [from, elsewhere] = ['127.0.7.1', '127.0.7.2'];
  await using stand = await DiscoveryStand.start({
    node: { metadata: { NETWORK: 'east' } },
    listeners: [listening('main', filter({ downstream_discovery: [{ workload_discovery: {} }] }))],
    workloads: [
      { ...CLIENT, uid: 'a', name: 'a', addresses: [from], network: 'east' },
      { ...CLIENT, uid: 'b', name: 'b', addresses: [elsewhere], network: 'west' },
    ],
  });
  await stand.until('a is known', async () => (await stand.names({ from }))[0] === 'a');
  expect(await stand.names({ from, headers: ['x-forwarded-network', 'east'] })).toEqual(['a', undefined]);
  expect(await stand.names({ from, headers: ['x-forwarded-network', 'west'] })).toEqual([undefined, undefined]);
  expect(await stand.names({ from: elsewhere })).toEqual([undefined, undefined]);
});
