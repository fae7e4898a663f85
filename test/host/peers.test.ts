// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { colliding } from '../../testkit/colliding.ts';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

const INBOUND = { 'xds.node': NODE, 'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };
const DOWNSTREAM = 'envoy.wasm.metadata_exchange.downstream';

/** A proxy, the peers that it hears, and what it made of their headers. */
class Sidecar {
  readonly host: Host;
  readonly root: number;

  constructor(config: object, module?: WebAssembly.Module) {
    this.host = new Host(INBOUND, module);
    this.root = this.host.configure(JSON.stringify(config)) as number;
  }

  /** What is learned of a peer that sends this metadata, under this id. */
  hear(metadata: object, id = 'peer'): unknown {
    return this.hearHeader(struct.header(metadata), id);
  }

  hearHeader(header: string, id = 'peer'): unknown {
    const stream = this.host.stream(this.root).onRequest([METADATA, header], [ID, id]).onResponse().end();
    const bytes = stream.filterState[DOWNSTREAM];
    return bytes && struct.read(bytes);
  }

  /** A metric, as Envoy would show it. */
  metric(name: string): number {
    this.host.tick(this.root);
    return this.host.metrics[`metadata_exchange.${name}`];
  }
}

const peer = (i: number) => ({ NAME: `peer-${i}`, LABELS: { app: `app-${i}` } });

describe('peers are kept by what they send', () => {
  test('a header that was seen before is not decoded again', () => {
    const proxy = new Sidecar({});
    for (let i = 0; i < 5; i++) expect(proxy.hear(peer(1))).toEqual(peer(1));
    expect([proxy.metric('cache_misses'), proxy.metric('cache_hits'), proxy.metric('cache_entries')]).toEqual([
      1, 4, 1,
    ]);
    expect(proxy.metric('peers_received')).toBe(5);
  });

  test('two peers that call themselves the same both come out right, and new labels are right at once', () => {
    const proxy = new Sidecar({});
    for (let i = 0; i < 10; i++) expect(proxy.hear(peer(i % 2), 'same id')).toEqual(peer(i % 2));
    const relabelled = { ...peer(0), LABELS: { app: 'new' } };
    expect(proxy.hear(relabelled, 'same id')).toEqual(relabelled);
    expect(proxy.hear(peer(0), 'same id')).toEqual(peer(0));
  });

  test('what cannot be read is not kept, and never becomes readable', () => {
    const proxy = new Sidecar({});
    for (let i = 0; i < 3; i++) expect(proxy.hearHeader('bm90IGEgc3RydWN0')).toBeUndefined();
    expect([proxy.metric('cache_hits'), proxy.metric('cache_entries')]).toEqual([0, 0]);
  });

  test('the one that was not heard for longest goes first', () => {
    const proxy = new Sidecar({ max_peer_cache_size: 3 });
    for (const i of [1, 2, 3, 2, 1, 4]) proxy.hear(peer(i));
    const misses = proxy.metric('cache_misses');
    for (const i of [1, 2, 4]) proxy.hear(peer(i));
    expect(proxy.metric('cache_misses'), '1, 2 and 4 are still there').toBe(misses);
    proxy.hear(peer(3));
    expect(proxy.metric('cache_misses'), '3 is not').toBe(misses + 1);
    expect([proxy.metric('cache_entries'), proxy.metric('cache_evictions')]).toEqual([3, 2]);
  });

  test('0 keeps nobody, and all are heard', () => {
    const proxy = new Sidecar({ max_peer_cache_size: 0 });
    for (let i = 0; i < 6; i++) expect(proxy.hear(peer(i % 2))).toEqual(peer(i % 2));
    expect(['cache_hits', 'cache_misses', 'cache_entries', 'cache_bytes'].map((name) => proxy.metric(name))).toEqual([
      0, 0, 0, 0,
    ]);
  });

  test('any number of peers of any size: right, and within bounds', () => {
    const proxy = new Sidecar({});
    proxy.hear(peer(0));
    const size = proxy.host.memorySize();
    const sized = (i: number) => ({ ...peer(i), blob: 'x'.repeat((i * 7919) % 5000) });
    for (let i = 0; i < 5000; i++) {
      expect(proxy.hear(sized(i))).toEqual(sized(i));
      expect(proxy.hear(sized(i >> 1))).toEqual(sized(i >> 1));
    }
    expect(proxy.metric('cache_entries')).toBeLessThanOrEqual(500);
    expect(proxy.metric('cache_entries')).toBeGreaterThan(50);
    expect(proxy.metric('cache_bytes')).toBeLessThanOrEqual(1 << 20);
    expect(proxy.host.memorySize()).toBe(size);
    expect(proxy.metric('cache_misses') - proxy.metric('cache_evictions')).toBe(proxy.metric('cache_entries'));
  });

  test('one cache for all configurations, as large as one of them asks', () => {
    const host = new Host(INBOUND);
    const one = host.configure('{"max_peer_cache_size": 2}') as number;
    const two = host.configure('{"max_peer_cache_size": 4}') as number;
    for (let i = 0; i < 9; i++)
      host
        .stream(one)
        .onRequest([METADATA, struct.header(peer(i))])
        .onResponse()
        .end();
    host.pass(1);
    expect(host.metrics['metadata_exchange.cache_entries']).toBe(4);
    expect(host.metrics['metadata_exchange.configurations']).toBe(2);
    const ownBytes = host.metrics['metadata_exchange.own_header_bytes'];
    host.end(one);
    expect(host.metrics['metadata_exchange.cache_entries'], 'the other goes on').toBe(4);
    expect(host.metrics['metadata_exchange.configurations']).toBe(1);
    expect(host.metrics['metadata_exchange.own_header_bytes']).toBe(ownBytes / 2);
    host.end(two);
    for (const gauge of ['cache_entries', 'cache_bytes', 'configurations', 'own_header_bytes', 'streams']) {
      expect(host.metrics[`metadata_exchange.${gauge}`], gauge).toBe(0);
    }
  });
});

describe('whoever finds contents whose hashes collide', () => {
  test('gets what was sent, and pushes out a few entries only: lists stay short', () => {
    const proxy = new Sidecar({}, colliding());
    for (let i = 0; i < 200; i++) {
      expect(proxy.hear(peer(i))).toEqual(peer(i));
      expect(proxy.hear(peer(i))).toEqual(peer(i));
      expect(proxy.hear(peer(i >> 1))).toEqual(peer(i >> 1));
    }
    expect(proxy.metric('cache_entries')).toBe(8);
    expect(proxy.metric('cache_hits')).toBeGreaterThanOrEqual(200);
  });
});
