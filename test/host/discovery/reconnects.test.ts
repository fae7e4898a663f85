// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Istiod } from '../../../testkit/host/istiod.ts';
import { resource, response } from '../../../testkit/xds/messages.ts';
import { BOTH_SIDES, CLUSTER, Discovery, pod } from '../../support/hosted_discovery.ts';

/** The control plane goes away and comes back: what is known stays, and what changed meanwhile is learned. */

const uid = (name: string) => `Kubernetes//Pod/default/${name}`;

/** Seconds at which streams begin, until there are so many. */
function beginnings(discovery: Discovery, count: number): number[] {
  const { istiod, proxy } = discovery;
  const start = proxy.process.now();
  const times: number[] = [];
  for (let second = 0; times.length < count && second < 1000; second++) {
    const before = istiod.attempts;
    proxy.pass(1);
    if (istiod.attempts > before) times.push((proxy.process.now() - start) / 1000);
  }
  return times;
}

describe('while the control plane is away', () => {
  test('what is known stays, and metrics say how old it is', () => {
    const discovery = new Discovery();
    const { istiod, proxy } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']));
    discovery.settle();
    istiod.isUp = false;
    istiod.hangUp();
    proxy.pass(600);
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
    expect(discovery.metric('discovery_connected')).toBe(0);
    expect(discovery.metric('discovery_workloads')).toBe(1);
    expect(discovery.metric('discovery_age')).toBeGreaterThan(590);
    expect(discovery.metric('discovery_failures')).toBeGreaterThan(10);
    istiod.isUp = true;
    proxy.pass(40);
    expect(discovery.metric('discovery_connected')).toBe(1);
    expect(discovery.metric('discovery_age')).toBeLessThan(40);
    expect(istiod.open).toHaveLength(1);
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
  });

  test('it is tried ever more rarely, after 32 seconds at the most', () => {
    const discovery = new Discovery();
    discovery.istiod.isUp = false;
    discovery.istiod.hangUp();
    const times = beginnings(discovery, 30);
    const waits = times.map((time, i) => time - (times[i - 1] ?? 0));
    expect(times).toHaveLength(30);
    expect(waits[0]).toBeLessThanOrEqual(3);
    for (const wait of waits.slice(6)) {
      expect(wait).toBeGreaterThanOrEqual(16);
      expect(wait).toBeLessThanOrEqual(34);
    }
    expect(new Set(waits.slice(6)).size, 'at times that cannot be foretold').toBeGreaterThan(3);
  });

  test('a hundred proxies do not come back at once', () => {
    const seconds = Array.from({ length: 100 }, (_, i) => {
      const discovery = new Discovery({ workers: 1, start: i * 37 });
      discovery.istiod.isUp = false;
      discovery.istiod.hangUp();
      const times = beginnings(discovery, 7);
      return times[6] - times[5];
    });
    for (const second of new Set(seconds)) {
      expect(seconds.filter((each) => each === second).length, `after ${second} s`).toBeLessThan(25);
    }
  });

  test('the log says it once, and once that it is back', () => {
    const discovery = new Discovery();
    const log = discovery.plugin.main?.host.log ?? [];
    discovery.istiod.isUp = false;
    discovery.istiod.hangUp();
    discovery.proxy.pass(300);
    expect(discovery.proxy.complaints()).toHaveLength(1);
    expect(discovery.proxy.complaints()[0]).toContain(CLUSTER);
    discovery.istiod.isUp = true;
    log.length = 0;
    discovery.proxy.pass(100);
    expect(log).toHaveLength(1);
  });

  test('the next failure after it was back is tried soon again', () => {
    const discovery = new Discovery();
    const { istiod, proxy } = discovery;
    istiod.isUp = false;
    istiod.hangUp();
    proxy.pass(300);
    istiod.isUp = true;
    proxy.pass(60);
    istiod.hangUp();
    expect(beginnings(discovery, 1)[0]).toBeLessThanOrEqual(3);
  });

  test('a server that answers and hangs up at once is not asked every second, nor warned of each time', () => {
    const discovery = new Discovery();
    const { istiod, proxy } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']));
    discovery.settle();
    let asked = 0;
    for (let second = 0; second < 300; second++) {
      istiod.hangUp(14, 'another stream took its place');
      proxy.pass(1);
      if (istiod.open.length > 0) asked++;
    }
    expect(asked).toBeGreaterThan(8);
    expect(asked).toBeLessThan(30);
    expect(proxy.complaints()).toHaveLength(1);
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
  });

  test('a server that accepts and hangs up at once is not asked every second', () => {
    const discovery = new Discovery();
    const { istiod } = discovery;
    istiod.answers = false;
    istiod.hangUp();
    let asked = 0;
    for (let second = 0; second < 300; second++) {
      discovery.proxy.pass(1);
      if (istiod.open.length > 0) asked++;
      istiod.hangUp(13, 'no');
    }
    expect(asked).toBeGreaterThan(8);
    expect(asked).toBeLessThan(25);
  });
});

describe('a new stream', () => {
  test('says what is known, and in which version', () => {
    const discovery = new Discovery();
    const { istiod } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']), pod('b', ['10.0.0.2', '10.0.0.3']));
    istiod.serve(pod('a', ['10.0.0.1'], { canonicalName: 'new' }));
    istiod.hangUp();
    discovery.proxy.pass(5);
    const [, { requests }] = istiod.conversations;
    expect(requests[0].initialResourceVersions).toEqual({ [uid('a')]: '3', [uid('b')]: '2' });
    expect(requests[0].node).toEqual(discovery.node);
    expect(requests[0].responseNonce, 'a nonce is of one stream').toBe('');
    expect(discovery.metric('discovery_reconnects')).toBe(1);
    expect(discovery.metric('discovery_streams')).toBe(2);
  });

  test('learns what was removed, added, changed and moved meanwhile', () => {
    const discovery = new Discovery();
    const { istiod, proxy } = discovery;
    istiod.serve(pod('stays', ['10.0.0.1']), pod('goes', ['10.0.0.2']), pod('moves', ['10.0.0.3']));
    istiod.serve(pod('gives', ['10.0.0.4']));
    istiod.hangUp();
    istiod.remove(uid('goes'));
    istiod.serve(pod('moves', ['10.0.0.5']), pod('comes', ['10.0.0.6']));
    istiod.serve(pod('takes', ['10.0.0.4']), pod('gives', []));
    proxy.pass(20);
    expect(discovery.names(...[1, 2, 3, 4, 5, 6].map((i) => `10.0.0.${i}`))).toEqual([
      'stays',
      undefined,
      undefined,
      'takes',
      'moves',
      'comes',
    ]);
    expect(discovery.metric('discovery_workloads')).toBe(5);
  });

  test('with usual and unusual uids and versions says each as it was', () => {
    const discovery = new Discovery();
    const { istiod } = discovery;
    const workloads = [
      pod('usual', ['10.0.0.1'], { clusterId: 'Kubernetes' }),
      pod('other', ['10.0.0.2'], { clusterId: 'east' }),
      { ...pod('short', ['10.0.0.3']), uid: 'x' },
      { ...pod('long', ['10.0.0.4']), uid: 'u'.repeat(1024) },
      { ...pod('script', ['10.0.0.5']), uid: 'größe/工作' },
      { ...pod('', ['10.0.0.6']), uid: '//Pod/default/' },
    ];
    istiod.serve(...workloads);
    istiod.hangUp();
    discovery.proxy.pass(5);
    const said = istiod.conversations[1].requests[0].initialResourceVersions;
    expect(said).toEqual(Object.fromEntries(workloads.map((each, i) => [each.uid, String(i + 1)])));
  });

  test('says versions of any text, and of 300 different ones each', () => {
    const discovery = new Discovery();
    const { istiod } = discovery;
    const versions = ['', '1', '0123456789abcdef', '0123456789ABCDEF', 'g123456789abcdef', 'v'.repeat(253), 'größe'];
    for (let i = 0; i < 300; i++) versions.push(`version-${i}`);
    istiod.serveResources(
      versions.map((version, i) => resource(pod(`pod-${i}`, [`10.0.${i >> 8}.${i & 255}`]), version)),
    );
    istiod.hangUp();
    discovery.proxy.pass(5);
    const said = istiod.conversations[1].requests[0].initialResourceVersions;
    expect(said).toEqual(Object.fromEntries(versions.map((version, i) => [uid(`pod-${i}`), version])));
  });

  test('forgets a workload without an address that went meanwhile', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('none', []), pod('a', ['10.0.0.1']));
    discovery.istiod.hangUp();
    discovery.istiod.remove(uid('none'));
    discovery.proxy.pass(20);
    expect(discovery.metric('discovery_workloads')).toBe(1);
  });

  test('forgets one whose address another has by now, and that went meanwhile', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('old', ['10.0.0.1']), pod('new', ['10.0.0.1']));
    discovery.istiod.hangUp();
    discovery.istiod.remove(uid('old'));
    discovery.proxy.pass(20);
    expect(discovery.names('10.0.0.1')).toEqual(['new']);
    expect(discovery.metric('discovery_workloads')).toBe(1);
  });

  test('to a server that knows nothing of versions and sends all: what it does not name is gone', () => {
    const discovery = new Discovery();
    const { istiod } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']), pod('b', ['10.0.0.2']));
    istiod.ignoresVersions = true;
    istiod.hangUp();
    istiod.remove(uid('b'));
    istiod.serve(pod('c', ['10.0.0.3']));
    discovery.proxy.pass(20);
    expect(discovery.names('10.0.0.1', '10.0.0.3')).toEqual(['a', 'c']);
  });

  test('with more workloads than a request can name begins anew, and sweeps what does not come again', () => {
    const COUNT = 60_000;
    const discovery = new Discovery();
    const { istiod } = discovery;
    istiod.batch = COUNT;
    const address = (i: number) => `10.1.${i >> 8}.${i & 255}`;
    istiod.serveAll(Array.from({ length: COUNT }, (_, i) => pod(`a-rather-long-name-of-a-pod-${i}`, [address(i)])));
    istiod.serve(pod('goes', ['10.0.0.1']), pod('gives', ['10.0.0.2']));
    istiod.hangUp();
    istiod.remove(uid('goes'));
    istiod.serve(pod('takes', ['10.0.0.2']));
    istiod.remove(uid('gives'));
    discovery.proxy.pass(3);
    const [first] = istiod.conversations[1].requests;
    expect(first.initialResourceVersions, 'it does not say half of it').toEqual({});
    expect(discovery.names('10.0.0.2', address(7))).toEqual(['takes', 'a-rather-long-name-of-a-pod-7']);
    discovery.proxy.pass(20);
    expect(discovery.names('10.0.0.1', '10.0.0.2', address(7), address(COUNT - 1))).toEqual([
      undefined,
      'takes',
      'a-rather-long-name-of-a-pod-7',
      `a-rather-long-name-of-a-pod-${COUNT - 1}`,
    ]);
    expect(discovery.metric('discovery_workloads')).toBe(COUNT + 1);
  });
});

describe('a cluster that is not there', () => {
  test('is asked for again and again, with one warning, and found when it comes', () => {
    const discovery = new Discovery({ config: { ...BOTH_SIDES, workload_discovery: { cluster: 'later' } } });
    discovery.proxy.pass(100);
    expect(discovery.proxy.complaints()).toHaveLength(1);
    expect(discovery.proxy.complaints()[0]).toContain('later');
    expect(discovery.metric('discovery_failures')).toBeGreaterThan(3);
    expect(discovery.metric('discovery_streams')).toBe(0);
    const later = new Istiod();
    later.serve(pod('a', ['10.0.0.1']));
    discovery.proxy.process.clusters.later = later;
    discovery.proxy.pass(40);
    expect(later.open).toHaveLength(1);
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
    expect(discovery.istiod.conversations, 'and no other one is asked').toHaveLength(0);
  });

  test('anymore: what is known stays', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    delete discovery.proxy.process.clusters[CLUSTER];
    discovery.istiod.hangUp(13, 'the cluster was removed');
    discovery.proxy.pass(100);
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
    discovery.proxy.process.clusters[CLUSTER] = discovery.istiod;
    discovery.proxy.pass(40);
    expect(discovery.istiod.open).toHaveLength(1);
  });
});

test('streams that ended are let go of: Envoy keeps nothing of them', () => {
  const discovery = new Discovery();
  for (let i = 0; i < 10; i++) {
    discovery.istiod.hangUp(i % 2 ? 14 : 0);
    discovery.proxy.pass(40);
  }
  expect(discovery.istiod.conversations).toHaveLength(11);
  expect(discovery.plugin.main?.host.grpc.size).toBe(1);
});

test('what a stream that ended had still to say is not heard', () => {
  const discovery = new Discovery();
  const [{ stream }] = discovery.istiod.conversations;
  discovery.istiod.hangUp();
  stream.send(response({ resources: [], removed: [], nonce: 'late' }));
  discovery.proxy.pass(10);
  expect(discovery.istiod.requests.map((each) => each.responseNonce)).not.toContain('late');
});
