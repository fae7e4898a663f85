// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { MODULE } from '../../../testkit/envoy/binary.ts';
import { Istiod } from '../../../testkit/host/istiod.ts';
import { BOTH_SIDES, Discovery, pod, STARTED } from '../../support/hosted_discovery.ts';

/** Which VM keeps the stream: there is one, never two, and always one that takes over. */

const OTHER = { ...BOTH_SIDES, publish_fields: ['NAME'] };
const uid = (name: string) => `Kubernetes//Pod/default/${name}`;

/** The module as a later version of itself. */
function nextVersion(): WebAssembly.Module {
  const bytes = Buffer.from(readFileSync(MODULE));
  const { version } = JSON.parse(readFileSync('package.json', 'utf8')) as { version: string };
  const at = bytes.indexOf(version);
  bytes[at + version.length - 1]++;
  return new WebAssembly.Module(bytes as BufferSource);
}

/** Lets time pass second by second; fails if there is a moment with more than one stream. */
function pass(discovery: Discovery, seconds: number, others: Istiod[] = []): void {
  for (; seconds > 0; seconds--) {
    discovery.proxy.pass(1);
    for (const each of [discovery.istiod, ...others]) expect(each.open.length).toBeLessThanOrEqual(1);
  }
}

describe('the main thread', () => {
  test.each([0, 1, 2, 16])('keeps the stream for %i workers', (workers) => {
    const { istiod, plugin, proxy } = new Discovery({ workers });
    expect(istiod.open.map(({ host }) => host)).toEqual([plugin.main?.host]);
    proxy.pass(60);
    expect(istiod.conversations).toHaveLength(1);
  });

  test('keeps one for many configurations', () => {
    const discovery = new Discovery();
    for (let i = 0; i < 10; i++) discovery.proxy.load(i % 2 ? OTHER : BOTH_SIDES);
    pass(discovery, 60);
    expect(discovery.istiod.conversations).toHaveLength(1);
  });

  test('does not begin one for a configuration that asks nobody', () => {
    const { istiod } = new Discovery({ config: { upstream_discovery: [{ istio_headers: {} }] } });
    expect(istiod.conversations).toHaveLength(0);
  });

  test('begins one when a configuration comes that does', () => {
    const discovery = new Discovery({ config: {} });
    expect(discovery.istiod.conversations).toHaveLength(0);
    discovery.proxy.load(BOTH_SIDES);
    pass(discovery, STARTED);
    expect(discovery.istiod.open.map(({ host }) => host)).toEqual([discovery.plugin.main?.host]);
  });
});

describe('the stream’s configuration ends', () => {
  test('and another one takes over at its next tick, without forgetting anything', () => {
    const discovery = new Discovery();
    const { istiod, proxy, plugin } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']));
    const next = proxy.load(OTHER);
    proxy.unload(plugin);
    expect(istiod.open, 'Envoy ends it without a word').toHaveLength(0);
    expect(discovery.server('10.0.0.1:80', next.workers[0])?.NAME).toBe('a');
    pass(discovery, 2);
    expect(istiod.open).toHaveLength(1);
    const said = istiod.conversations[1].requests[0].initialResourceVersions;
    expect(Object.keys(said)).toEqual([uid('a')]);
    istiod.serve(pod('b', ['10.0.0.2']));
    proxy.pass(2);
    expect(discovery.server('10.0.0.2:80', next.workers[1])?.NAME).toBe('b');
  });

  test('by ECDS: the main thread’s at once, those of workers with their last streams', () => {
    const discovery = new Discovery();
    const { istiod, proxy, plugin } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']));
    for (let i = 0; i < 20; i++) {
      const [old] = i === 0 ? [plugin] : [last];
      const next = proxy.load(i % 2 ? BOTH_SIDES : OTHER);
      if (old.main) proxy.end(old.main);
      pass(discovery, 3);
      expect(discovery.client('10.0.0.1:80', old.workers[0])?.NAME, 'lookups of the old one go on').toBe('a');
      for (const worker of old.workers) proxy.end(worker);
      last = next;
      pass(discovery, 2);
      expect(istiod.open).toHaveLength(1);
    }
    expect(istiod.conversations).toHaveLength(21);
    expect(discovery.metric('discovery_workloads')).toBe(1);
    expect(discovery.metric('discovery_on_worker')).toBe(0);
  });

  test('of another configuration: the stream stays', () => {
    const discovery = new Discovery();
    const { istiod, proxy } = discovery;
    proxy.unload(proxy.load(OTHER));
    pass(discovery, 10);
    expect(istiod.conversations).toHaveLength(1);
    expect(istiod.open).toHaveLength(1);
  });

  test('and no other wants it: the stream ends with it, and metrics are back at nothing', () => {
    const discovery = new Discovery();
    const { istiod, proxy, plugin } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']));
    const other = proxy.load({ upstream_discovery: [{ istio_headers: {} }] });
    proxy.pass(2);
    proxy.unload(plugin);
    pass(discovery, 60);
    expect(istiod.open).toHaveLength(0);
    expect(istiod.conversations).toHaveLength(1);
    for (const gauge of ['workloads', 'addresses', 'connected', 'age']) {
      expect(discovery.metric(`discovery_${gauge}`), gauge).toBe(0);
    }
    expect(other.main?.host.roots.size).toBe(1);
  });

  test('and comes back an hour later: what went meanwhile is not known', () => {
    const discovery = new Discovery();
    const { istiod, proxy, plugin } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']), pod('b', ['10.0.0.2']));
    proxy.load({});
    proxy.unload(plugin);
    istiod.remove(uid('b'));
    proxy.pass(3600);
    const again = proxy.load(BOTH_SIDES);
    pass(discovery, 30);
    expect(istiod.open).toHaveLength(1);
    expect(discovery.client('10.0.0.1:80', again.workers[0])?.NAME).toBe('a');
    expect(discovery.client('10.0.0.2:80', again.workers[0])).toBeUndefined();
  });
});

describe('two builds of the module in one proxy, as during an upgrade', () => {
  test('have one stream, and the new one goes on where the old one ended', () => {
    const discovery = new Discovery();
    const { istiod, proxy, plugin } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']), pod('gone', ['10.0.0.2']));
    const upgraded = proxy.load(BOTH_SIDES, nextVersion());
    expect(upgraded.main?.host).not.toBe(plugin.main?.host);
    pass(discovery, 60);
    expect(istiod.conversations, 'the old one keeps it').toHaveLength(1);
    expect(discovery.client('10.0.0.1:80', upgraded.workers[0])?.NAME, 'for both').toBe('a');
    proxy.unload(plugin);
    expect(discovery.client('10.0.0.1:80', upgraded.workers[1])?.NAME).toBe('a');
    istiod.remove(uid('gone'));
    pass(discovery, 3);
    expect(istiod.open.map(({ host }) => host)).toEqual([upgraded.main?.host]);
    expect(discovery.client('10.0.0.1:80', upgraded.workers[1])?.NAME).toBe('a');
    pass(discovery, 60);
    expect(discovery.client('10.0.0.2:80', upgraded.workers[1]), 'what the old one left is swept').toBeUndefined();
    expect(discovery.client('10.0.0.1:80', upgraded.workers[1])?.NAME).toBe('a');
    expect(discovery.metric('discovery_workloads')).toBe(1);
    expect(discovery.metric('discovery_on_worker')).toBe(0);
  });

  test('and where the old one’s stream is down, it still is that one which tries', () => {
    const discovery = new Discovery();
    const { istiod, proxy } = discovery;
    istiod.isUp = false;
    istiod.hangUp();
    proxy.load(BOTH_SIDES, nextVersion());
    pass(discovery, 300);
    istiod.isUp = true;
    pass(discovery, 60);
    expect(istiod.conversations).toHaveLength(2);
    expect(istiod.open[0].host).toBe(discovery.plugin.main?.host);
  });

  test('a VM that died without a word is followed within seconds', () => {
    const discovery = new Discovery();
    const { istiod, proxy, plugin } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']));
    const other = proxy.load(BOTH_SIDES, nextVersion());
    proxy.pass(2);
    // It trapped: Envoy calls it no more.
    for (const stream of istiod.open) stream.over();
    if (plugin.main) proxy.process.remove(plugin.main.host);
    pass(discovery, 10);
    expect(istiod.open.map(({ host }) => host)).toEqual([other.main?.host]);
    expect(discovery.client('10.0.0.1:80', other.workers[0])?.NAME).toBe('a');
  });

  test('a VM that was asleep for a minute finds another one in its place, and lets go', () => {
    const discovery = new Discovery();
    const { istiod, proxy, plugin } = discovery;
    istiod.serve(pod('a', ['10.0.0.1']));
    const other = proxy.load(BOTH_SIDES, nextVersion());
    const asleep = plugin.main?.host;
    if (!asleep) throw new Error('there is a main thread');
    proxy.process.remove(asleep);
    proxy.pass(30);
    proxy.process.vms.push(asleep);
    proxy.pass(3);
    expect(istiod.open.map(({ host }) => host)).toEqual([other.main?.host]);
    pass(discovery, 60);
    expect(istiod.conversations).toHaveLength(2);
    expect(discovery.metric('discovery_workloads')).toBe(1);
    expect(asleep.grpc.size, 'and Envoy keeps nothing of its stream').toBe(0);
  });
});

describe('where no VM is on the main thread', () => {
  test('one worker keeps the stream for all, and it is counted', () => {
    const discovery = new Discovery({ hasMain: false, workers: 4 });
    pass(discovery, 30);
    expect(discovery.istiod.open).toHaveLength(1);
    expect(discovery.istiod.conversations).toHaveLength(1);
    expect(discovery.metric('discovery_on_worker')).toBe(1);
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    expect(discovery.names('10.0.0.1')).toEqual(['a']);
  });

  test('another worker takes over when that one ends', () => {
    const discovery = new Discovery({ hasMain: false, workers: 4 });
    pass(discovery, 30);
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    for (let left = 3; left > 0; left--) {
      const owner = discovery.plugin.workers.findIndex(({ host }) => host === discovery.istiod.open[0].host);
      const [ended] = discovery.plugin.workers.splice(owner, 1);
      discovery.proxy.end(ended);
      expect(discovery.names('10.0.0.1')).toEqual(['a']);
      pass(discovery, 15);
      expect(discovery.istiod.open).toHaveLength(1);
      expect(discovery.names('10.0.0.1')).toEqual(['a']);
    }
    expect(discovery.metric('discovery_on_worker')).toBe(4);
  });
});

describe('two clusters', () => {
  test('have a stream each, and know nothing of one another', () => {
    const second = new Istiod();
    const discovery = new Discovery({ clusters: { second } });
    const other = discovery.proxy.load({ ...BOTH_SIDES, workload_discovery: { cluster: 'second' } });
    pass(discovery, STARTED, [second]);
    discovery.istiod.serve(pod('one', ['10.0.0.1']));
    second.serve(pod('two', ['10.0.0.1']), pod('only-there', ['10.0.0.2']));
    expect(discovery.names('10.0.0.1', '10.0.0.2')).toEqual(['one', undefined]);
    const [worker] = other.workers;
    expect(discovery.client('10.0.0.1:80', worker)?.NAME).toBe('two');
    expect(discovery.client('10.0.0.2:80', worker)?.NAME).toBe('only-there');
    discovery.settle();
    expect(discovery.metric('discovery_workloads')).toBe(3);
    second.hangUp();
    discovery.istiod.remove(uid('one'));
    discovery.settle();
    expect(discovery.client('10.0.0.1:80', worker)?.NAME).toBe('two');
    expect(discovery.names('10.0.0.1')).toEqual([undefined]);
    pass(discovery, 10, [second]);
    discovery.proxy.unload(other);
    pass(discovery, 10, [second]);
    expect(second.open).toHaveLength(0);
    expect(discovery.istiod.conversations).toHaveLength(1);
    expect(discovery.metric('discovery_workloads')).toBe(0);
  });

  test('a stream of each belongs to a configuration that names it', () => {
    const second = new Istiod();
    const discovery = new Discovery({ clusters: { second } });
    const other = discovery.proxy.load({ ...BOTH_SIDES, workload_discovery: { cluster: 'second' } });
    const third = discovery.proxy.load({ ...OTHER, workload_discovery: { cluster: 'second' } });
    pass(discovery, STARTED, [second]);
    expect(second.open[0].root).toBe(other.main?.root);
    expect(discovery.istiod.open[0].root).toBe(discovery.plugin.main?.root);
    discovery.proxy.unload(other);
    pass(discovery, 3, [second]);
    expect(second.open[0].root).toBe(third.main?.root);
  });
});

let last: ReturnType<Discovery['proxy']['load']>;
