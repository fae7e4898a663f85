// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { always } from '../../../testkit/random.ts';
import { Discovery, pod, STARTED } from '../../support/hosted_discovery.ts';

/** Any module of the proxy may write into shared data, where records of workloads are: whatever stands there is no harm. */

const FIELDS = {
  canonicalName: 'app',
  canonicalRevision: 'v1',
  workloadName: 'workload',
  clusterId: 'Kubernetes',
  serviceAccount: 'account',
  trustDomain: 'other.domain',
  locality: { region: 'r', zone: 'z' },
};

/** A proxy that knows one workload, and where its record stands. */
function mesh(): { discovery: Discovery; key: string; record: Buffer; lease: string } {
  const discovery = new Discovery();
  const { shared } = discovery.proxy.process;
  const before = new Set(shared.keys);
  discovery.istiod.serve(pod('a', ['10.0.0.1'], FIELDS));
  const [key] = shared.keys.filter((each) => !before.has(each));
  const [lease] = [...before].filter((each) => each.startsWith('mxl1'));
  return { discovery, key, record: shared.get(key) as Buffer, lease };
}

describe('a record that somebody else wrote', () => {
  test('is nobody, or somebody that can be published; it takes no memory, and the next lookup is right', () => {
    const { discovery, key, record } = mesh();
    const { shared } = discovery.proxy.process;
    const memory = () => discovery.plugin.workers.map(({ host }) => host.memorySize());
    discovery.names('10.0.0.1');
    const before = memory();
    let found = 0;
    always(4000, (random) => {
      const kind = random.below(8);
      let value: Uint8Array = random.mutated(record);
      if (kind === 0) value = random.bytes(random.below(300));
      if (kind === 1) value = record.subarray(0, random.below(record.length));
      if (kind === 2) value = Buffer.concat([record, random.bytes(random.below(100))]);
      if (kind === 3) value = Buffer.concat([random.mutated(record), record]);
      if (kind === 4) value = Uint8Array.from(record, (byte) => (random.oneIn(20) ? random.below(256) : byte));
      shared.set(key, Buffer.from(value));
      discovery.proxy.pass(1);
      // Whatever is published, protobufjs reads it as a Struct.
      const who = discovery.client('10.0.0.1:80');
      if (who) found++;
      if (who && typeof who.IDENTITY !== 'string') throw new Error(`published ${JSON.stringify(who)}`);
      discovery.worker.host.calls.length = 0;
    });
    expect(found, 'some changes leave a record').toBeGreaterThan(100);
    shared.set(key, record);
    discovery.proxy.pass(1);
    expect(discovery.client('10.0.0.1:80')).toMatchObject({ NAME: 'a' });
    expect(memory()).toEqual(before);
    expect(discovery.proxy.complaints()).toEqual([]);
  });

  test.each([
    ['nothing', Buffer.alloc(0)],
    ['zeros', Buffer.alloc(1000)],
    ['ones', Buffer.alloc(1000, 0xff)],
    ['100 MB', Buffer.alloc(100_000_000, 0x41)],
    ['more than fits into a callback', Buffer.alloc(140_000, 1)],
  ])('of %s', (_, value) => {
    const { discovery, key } = mesh();
    const before = discovery.worker.host.memorySize();
    discovery.proxy.process.shared.set(key, value);
    discovery.proxy.pass(1);
    expect(discovery.names('10.0.0.1')).toEqual([undefined]);
    expect(discovery.worker.host.memorySize()).toBe(before);
  });

  test('of control characters is published by nobody', () => {
    const { discovery, key, record } = mesh();
    for (const bad of ['\n', '\0', '\x7f', '\xff']) {
      const value = Buffer.from(record.toString('latin1').replace('app', `a${bad}p`), 'latin1');
      discovery.proxy.process.shared.set(key, value);
      discovery.proxy.pass(1);
      expect(discovery.names('10.0.0.1'), JSON.stringify(bad)).toEqual([undefined]);
    }
  });

  test('is replaced when its workload is updated, and others in its place are not lost for ever', () => {
    const { discovery, key, record } = mesh();
    always(300, (random) => {
      discovery.proxy.process.shared.set(key, Buffer.from(random.mutated(record)));
      discovery.istiod.serve(pod('b', ['10.0.0.1'], FIELDS));
      if (discovery.istiod.last.errorDetail) throw new Error(discovery.istiod.last.errorDetail.message);
      discovery.proxy.pass(1);
      if (discovery.client('10.0.0.1:80')?.NAME !== 'b') throw new Error('the update is not there');
      discovery.istiod.remove('Kubernetes//Pod/default/b');
      discovery.proxy.pass(1);
      // Whose record was there before may have the address again: it was never told that it has not.
      if (discovery.client('10.0.0.1:80')?.NAME === 'b') throw new Error('the workload is still there');
    });
  });

  test('that names another workload does not make the server forget which we know', () => {
    const { discovery, key, record } = mesh();
    const forged = Buffer.from(record.toString('latin1').replaceAll('default', 'DEFAULT'), 'latin1');
    discovery.proxy.process.shared.set(key, forged);
    discovery.istiod.hangUp();
    discovery.proxy.pass(20);
    expect(discovery.istiod.open).toHaveLength(1);
    discovery.istiod.serve(pod('c', ['10.0.0.3']));
    expect(discovery.names('10.0.0.3')).toEqual(['c']);
  });
});

test('a new stream says nothing to the server that is no text, whatever stands in records', () => {
  const { discovery, key, record } = mesh();
  for (const at of record.keys()) {
    const forged = Buffer.from(record);
    forged[at] = 0xff;
    discovery.proxy.process.shared.set(key, forged);
    // protobufjs reads no request with a text that is none.
    discovery.istiod.hangUp();
    // So long that the next stream need not wait, either.
    discovery.proxy.pass(15);
    if (discovery.istiod.open.length !== 1) expect.fail(`there is no stream with a forged byte ${at}`);
    discovery.istiod.serve(pod('a', ['10.0.0.1'], FIELDS));
  }
  expect(discovery.names('10.0.0.1')).toEqual(['a']);
});

describe('a lease that somebody else wrote', () => {
  test.each([
    ['of no bytes', Buffer.alloc(0)],
    ['of one byte', Buffer.alloc(1)],
    ['of zeros', Buffer.alloc(17)],
    ['of ones, far in the future', Buffer.alloc(17, 0xff)],
    ['of a megabyte', Buffer.alloc(1_000_000)],
  ])('%s, is taken back: there is one stream afterwards', (_, value) => {
    const { discovery, lease } = mesh();
    discovery.proxy.process.shared.set(lease, value);
    discovery.proxy.pass(20);
    expect(discovery.istiod.open).toHaveLength(1);
    expect(discovery.istiod.open[0].host).toBe(discovery.plugin.main?.host);
    discovery.istiod.serve(pod('b', ['10.0.0.2']));
    expect(discovery.names('10.0.0.1', '10.0.0.2')).toEqual(['a', 'b']);
    discovery.proxy.pass(20);
    expect(discovery.names('10.0.0.1', '10.0.0.2')).toEqual(['a', 'b']);
    expect(discovery.metric('discovery_workloads')).toBe(2);
  });

  test('every second keeps us from asking, and from nothing else', () => {
    const { discovery, lease } = mesh();
    const value = Buffer.alloc(17);
    for (let i = 0; i < 60; i++) {
      value.writeBigUInt64LE(1n);
      value.writeBigUInt64LE(BigInt(Math.floor(discovery.proxy.process.now() / 1000)), 8);
      discovery.proxy.process.shared.set(lease, value);
      discovery.proxy.pass(1);
    }
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
    discovery.proxy.pass(20);
    expect(discovery.istiod.open).toHaveLength(1);
  });
});

test('queues that others registered, and messages in them, mean nothing', () => {
  const { discovery } = mesh();
  const { shared } = discovery.proxy.process;
  const { host, root } = discovery.worker;
  for (let token = 0; token < 100; token++) host.queueReady(root, token);
  shared.register(':of somebody else', host, root);
  for (let token = 0; token < 100; token++) host.queueReady(root, token);
  discovery.proxy.pass(STARTED * 3);
  expect(discovery.istiod.open).toHaveLength(1);
  expect(discovery.istiod.conversations).toHaveLength(1);
});
