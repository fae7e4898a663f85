// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type ResourceFields, resource, response } from '../../../testkit/xds/messages.ts';
import { Discovery, pod } from '../../support/hosted_discovery.ts';

/** Messages of any size: they are read in windows of 64 KiB, and what stands across two of them is read whole. */

const WINDOW = 65_536;
const address = (i: number) => `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`;

/** A workload whose resource takes about so many bytes: the rest is a field that nobody reads. */
function padded(name: string, at: string, size: number): ResourceFields {
  const { length } = resource(pod(name, [at])).body ?? [];
  return resource(pod(name, [at], { hostname: 'h'.repeat(Math.max(0, size - (length ?? 0))) }));
}

describe('a resource that stands across two windows', () => {
  test('is read whole, wherever the window ends in it', () => {
    const discovery = new Discovery();
    const second = response({ resources: [resource(pod('second', ['10.0.0.2']))] }).length;
    // The window ends at each byte from before the second resource to behind it.
    for (let before = WINDOW - second - 8; before <= WINDOW + 8; before++) {
      const first = [padded('first', '10.0.0.1', 60_000), padded('first', '10.0.0.1', 1000)];
      const missing = before - response({ resources: first, typeUrl: '' }).length;
      first[1] = padded('first', '10.0.0.1', 1000 + missing);
      expect(response({ resources: first, typeUrl: '' }).length - before).toBeLessThan(3);
      const resources = [...first, resource(pod('second', ['10.0.0.2'])), resource(pod('third', ['10.0.0.3']))];
      const removed = [
        'Kubernetes//Pod/default/first',
        'Kubernetes//Pod/default/second',
        'Kubernetes//Pod/default/third',
      ];
      discovery.istiod.push({ resources });
      if (discovery.istiod.last.errorDetail) expect.fail(`${before}: ${discovery.istiod.last.errorDetail.message}`);
      const known = discovery.settle().metric('discovery_addresses');
      if (known !== 3) expect.fail(`${before}: ${known} addresses`);
      discovery.istiod.push({ removed });
      expect(discovery.settle().metric('discovery_addresses')).toBe(0);
    }
    expect(discovery.plugin.main?.host.largestRead).toBe(WINDOW);
  });

  test('and so is a name that is removed, and the nonce', () => {
    const discovery = new Discovery();
    for (let before = WINDOW - 60; before <= WINDOW + 4; before++) {
      discovery.istiod.serve(pod('gone', ['10.0.0.1']));
      // A name that nobody knows brings the next one to where the window ends.
      const removed = ['x'.repeat(before - 60), 'Kubernetes//Pod/default/gone'];
      discovery.istiod.push({ removed });
      const { errorDetail, responseNonce } = discovery.istiod.last;
      if (errorDetail) expect.fail(`${before}: ${errorDetail.message}`);
      expect(responseNonce).toBe(`nonce-${(before - WINDOW + 60) * 2 + 3}`);
      const known = discovery.settle().metric('discovery_addresses');
      if (known !== 0) expect.fail(`${before}: ${known} addresses`);
    }
  });

  test('many times, in a message of ten windows', () => {
    const discovery = new Discovery();
    const count = 3000;
    discovery.istiod.batch = count;
    discovery.istiod.serve(...Array.from({ length: count }, (_, i) => pod(`pod-${i}`, [address(i)])));
    for (let i = 0; i < count; i++) {
      if (discovery.client(`${address(i)}:80`)?.NAME !== `pod-${i}`) expect.fail(`pod-${i} is unknown`);
    }
    expect(discovery.istiod.last).not.toHaveProperty('errorDetail');
  });
});

describe('a resource that is larger than a window', () => {
  test.each([60_000, 65_000, 65_400])('but for %i bytes is taken', (size) => {
    const discovery = new Discovery();
    discovery.istiod.push({ resources: [padded('large', '10.0.0.1', size)] });
    expect(discovery.names('10.0.0.1')).toEqual(['large']);
  });

  test.each([65_600, 131_000, 131_072, 1_000_000])('with %i bytes is refused, and its neighbours are taken', (size) => {
    const discovery = new Discovery();
    const resources = [
      padded('before', '10.0.0.1', 100),
      padded('large', '10.0.0.2', size),
      padded('after', '10.0.0.3', 100),
    ];
    discovery.istiod.push({ resources });
    expect(discovery.names('10.0.0.1', '10.0.0.2', '10.0.0.3')).toEqual(['before', undefined, 'after']);
    expect(discovery.istiod.last.errorDetail?.message).toContain('64 KiB');
    expect(discovery.settle().metric('discovery_refused')).toBe(1);
  });

  test('at any place, and of any size near a window’s, never takes a neighbour with it', () => {
    const discovery = new Discovery();
    for (let size = WINDOW - 140; size <= WINDOW + 20; size += 3) {
      const resources = [padded('before', '10.0.0.1', 100 + (size % 7)), padded('large', '10.0.0.2', size)];
      discovery.istiod.push({ resources: [...resources, padded('after', '10.0.0.3', 100)] });
      const isTaken = !discovery.istiod.last.errorDetail;
      expect(discovery.names('10.0.0.1', '10.0.0.2', '10.0.0.3')).toEqual([
        'before',
        isTaken ? 'large' : undefined,
        'after',
      ]);
      discovery.istiod.push({ removed: ['before', 'large', 'after'].map((name) => `Kubernetes//Pod/default/${name}`) });
      discovery.settle();
    }
  });
});

describe('a mesh of 100,000 workloads in one message', () => {
  const COUNT = 100_000;

  test('is known, and what a VM reads at once is a window', () => {
    const discovery = new Discovery();
    const { host } = discovery.plugin.main ?? discovery.worker;
    const before = host.memorySize();
    discovery.istiod.batch = COUNT;
    const more = { serviceAccount: 'account', canonicalName: 'app', hostname: 'h'.repeat(200) };
    discovery.istiod.serveAll(Array.from({ length: COUNT }, (_, i) => pod(`pod-${i}`, [address(i)], more)));
    for (let i = 0; i < COUNT; i += 997) expect(discovery.client(`${address(i)}:80`)?.NAME).toBe(`pod-${i}`);
    expect(discovery.settle().metric('discovery_workloads')).toBe(COUNT);
    expect(discovery.metric('discovery_refused')).toBe(0);
    expect(host.largestRead).toBe(WINDOW);
    // 40 bytes for each address, in the one VM that keeps the stream; the records are in shared data.
    expect(host.memorySize() - before, 'of the VM on the main thread').toBeLessThan(COUNT * 60);
    expect(discovery.worker.host.memorySize() - before, 'of a worker').toBeLessThan(500_000);
    const { shared } = discovery.proxy.process;
    expect(shared.size / COUNT, 'bytes of shared data for each workload').toBeLessThan(130);
    expect(shared.keys.length).toBeLessThan(65_536 + 10);
    // All go, and what they took is there for others.
    discovery.istiod.removeAll([...discovery.istiod.resources.keys()]);
    expect(discovery.settle().metric('discovery_workloads')).toBe(0);
    expect(shared.size, 'what is left are the keys').toBeLessThan(65_536 * 16);
    const size = host.memorySize();
    discovery.istiod.serveAll(Array.from({ length: COUNT }, (_, i) => pod(`next-${i}`, [address(i)], more)));
    expect(discovery.names('10.0.0.7')).toEqual(['next-7']);
    expect(host.memorySize()).toBeLessThanOrEqual(size + 200_000);
  }, 120_000);
});

test('IPv6 addresses without end, one after the other, leave as many keys as there are buckets', () => {
  const discovery = new Discovery();
  const PODS = 5000;
  // Six times as many as there are buckets.
  const ADDRESSES = 400_000;
  const pods = Array.from({ length: PODS }, (_, i) => resource(pod(`pod-${i}`, [`2001:db8::${i.toString(16)}`])));
  // The same message again and again, with other addresses in the same places.
  const message = response({ resources: pods, nonce: 'n' });
  const places: number[] = [];
  const begin = Buffer.from('1a1020010db8', 'hex');
  for (let at = message.indexOf(begin); at >= 0; at = message.indexOf(begin, at + 1)) places.push(at + 2);
  expect(places).toHaveLength(PODS);
  for (let round = 0; round < ADDRESSES / PODS; round++) {
    for (const at of places) message.writeUInt32BE(round, at + 4);
    discovery.istiod.pushBytes(message);
  }
  const { shared } = discovery.proxy.process;
  expect(discovery.settle().metric('discovery_updates')).toBe(ADDRESSES);
  expect(discovery.metric('discovery_addresses')).toBe(PODS);
  expect(discovery.names('2001:db8:0:4f::1', '2001:db8:0:4e::1')).toEqual(['pod-1', undefined]);
  expect(shared.keys.length).toBeLessThan(65_536 + 10);
  expect(shared.size).toBeLessThan(65_536 * 16 + PODS * 130);
});
