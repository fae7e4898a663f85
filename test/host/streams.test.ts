// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host, type Stream } from '../../testkit/host/host.ts';
import { NODE, node } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/** A stream lives exactly as long as its context, however many others there are. */

const INBOUND = { 'xds.node': NODE, 'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };
const MOST_STREAMS = 131_072;
const OTHERS = '{"headers": {"metadata": "x-other-metadata", "id": "x-other-id"}}';
const metric = (host: Host, name: string) => host.metrics[`metadata_exchange.${name}`];

describe('a stream is never forgotten', () => {
  test('while 34,000 requests of another listener are given up by their clients', () => {
    const host = new Host(INBOUND);
    const a = host.configure() as number;
    const b = host.configure(OTHERS) as number;
    const waiting = host.stream(a).onRequest([METADATA, struct.header({ NAME: 'peer' })], [ID, 'peer']);
    for (let i = 0; i < 34_000; i++) host.stream(b).onRequest(['x-other-id', 'peer']).end();
    waiting.onResponse([ID, 'forged']);
    expect(waiting.response.map(([name]) => name)).toEqual([METADATA, ID]);
    expect(waiting.response[1][1]).toBe('own-id');
    host.pass(1);
    expect(metric(host, 'streams')).toBe(1);
    expect(metric(host, 'streams_unserved')).toBe(0);
  });

  test('while 100,000 others wait with it, each for its own answer', () => {
    const host = new Host(INBOUND);
    const root = host.configure() as number;
    const streams = Array.from({ length: 100_000 }, (_, i) => {
      const stream = host.stream(root);
      return i % 2 ? stream.onRequest([ID, 'peer']) : stream.onRequest();
    });
    host.pass(1);
    expect(metric(host, 'streams')).toBe(100_000);
    for (const [i, stream] of streams.entries()) {
      stream.onResponse();
      if (stream.response.length !== i % 2) expect.fail(`stream ${i} has ${stream.response.length} headers`);
      stream.end();
    }
    host.pass(1);
    expect(metric(host, 'streams')).toBe(0);
  });

  test('nor does its memory stay: what streams took is released, but for a little', () => {
    const host = new Host(INBOUND);
    const root = host.configure('{"max_peer_cache_size": 0}') as number;
    const wave = () => Array.from({ length: 50_000 }, () => host.stream(root).onRequest([ID, 'peer']));
    for (const stream of wave()) stream.end();
    const size = host.memorySize();
    expect(size / 50_000, 'bytes for each live stream, all else included').toBeLessThan(60);
    for (let i = 0; i < 5; i++) for (const stream of wave()) stream.end();
    expect(host.memorySize()).toBe(size);
    // What was streams can be one cache of peers.
    host.configure('{"max_peer_cache_size": 500}');
    expect(host.memorySize()).toBe(size);
  });
});

describe('more streams at once than a VM serves', () => {
  test('are stripped under the header names of every configuration, publish nothing, and are counted', () => {
    const host = new Host(INBOUND);
    const one = host.configure() as number;
    const other = host.configure(OTHERS) as number;
    const waiting: Stream[] = [];
    for (let i = 0; i < MOST_STREAMS; i++) waiting.push(host.stream(one).onRequest([ID, 'peer']));
    const all: [string, string][] = [
      [METADATA, struct.header({ NAME: 'x' })],
      [ID, 'x'],
      ['x-other-metadata', ''],
      ['x-stays', 'y'],
      ['x-other-id', 'x'],
      [ID, 'again'],
    ];
    for (const root of [one, other]) {
      for (const more of [0, 40]) {
        const many = Array.from({ length: more }, (_, i): [string, string] => [`x-${i}`, '']);
        const beyond = host
          .stream(root)
          .onRequest(...all, ...many)
          .onResponse(...all, ...many);
        expect(beyond.request).toEqual([['x-stays', 'y'], ...many]);
        expect(beyond.response).toEqual([['x-stays', 'y'], ...many]);
        expect(beyond.filterState).toEqual({});
        beyond.end();
      }
    }
    host.pass(1);
    expect(metric(host, 'streams')).toBe(MOST_STREAMS);
    expect(metric(host, 'streams_unserved')).toBe(4);
    for (const stream of waiting) {
      stream.onResponse();
      if (stream.response.length !== 1) expect.fail('a stream that was served before is served to its end');
      stream.end();
    }
    const next = host.stream(other).onRequest(['x-other-id', 'peer']).onResponse().end();
    expect(next.response, 'and then all are again').toEqual([['x-other-id', 'own-id']]);
  });
});

describe('a root', () => {
  test('goes with its last stream, whichever ends first', () => {
    const host = new Host(INBOUND);
    const old = host.configure() as number;
    const held = host.stream(old).onRequest([ID, 'peer']);
    host.pass(1);
    host.end(old);
    // What follows would be written over what the old configuration was, if that were gone.
    for (let i = 0; i < 20; i++) host.configure(`{"headers": {"id": "x-${i}"}}`);
    expect(held.onResponse().response).toEqual([[ID, 'own-id']]);
    held.end();
  });

  test('is counted from its first tick, and no longer at its end: upgrades leave no trace', () => {
    // A new module is a new VM, whose metrics add to those of the old one; a canary is configured and never ends.
    const all: Record<string, number> = {};
    const total = (host: Host) => {
      for (const [name, value] of Object.entries(host.metrics)) all[name] = (all[name] ?? 0) + value;
    };
    for (let upgrade = 0; upgrade < 4; upgrade++) {
      const canary = new Host(INBOUND);
      canary.configure();
      total(canary);
      const host = new Host(INBOUND);
      const root = host.configure() as number;
      host
        .stream(root)
        .onRequest([METADATA, struct.header({ NAME: 'peer' })], [ID, 'peer'])
        .onResponse()
        .end();
      host.pass(2);
      expect(metric(host, 'configurations')).toBe(1);
      expect(metric(host, 'cache_entries')).toBe(1);
      host.end(root);
      total(host);
    }
    for (const gauge of ['configurations', 'own_header_bytes', 'cache_entries', 'cache_bytes', 'streams']) {
      expect(all[`metadata_exchange.${gauge}`], gauge).toBe(0);
    }
    expect(all['metadata_exchange.peers_received']).toBe(4);
  });

  test('that ends before its first tick was never counted', () => {
    const host = new Host(INBOUND);
    const stays = host.configure() as number;
    host.end(host.configure() as number);
    host.tick(stays);
    expect(metric(host, 'configurations')).toBe(1);
  });
});

describe('what a stream costs does not depend on', () => {
  /** Nanoseconds that an exchange takes in the module and this host, the least of some tries. */
  function cost(host: Host, root: number): number {
    const once = () => {
      const begun = process.hrtime.bigint();
      for (let i = 0; i < 2000; i++) {
        host.stream(root).onRequest([ID, 'peer']).onResponse().end();
        host.calls.length = 0;
      }
      return Number(process.hrtime.bigint() - begun) / 2000;
    };
    return Math.min(...Array.from({ length: 10 }, once));
  }

  // A list that is walked would cost hundreds of times as much here; a busy machine does not.
  test('how many streams are alive, and how many configurations there are', () => {
    const few = new Host(INBOUND);
    const alone = cost(few, few.configure() as number);

    const busy = new Host(INBOUND);
    const root = busy.configure() as number;
    for (let i = 0; i < 100_000; i++) busy.stream(root).onRequest([ID, 'peer']);
    expect(cost(busy, root) / alone).toBeLessThan(3);

    const bytes = node({ id: 'own-id', metadata: { 'istio.io/metadata': { NAME: 'own' } } });
    const many = new Host({ ...INBOUND, 'xds.node': bytes });
    const roots = Array.from({ length: 2000 }, () => many.configure() as number);
    expect(cost(many, roots[0]) / alone).toBeLessThan(3);
    expect(cost(many, roots[1999]) / alone).toBeLessThan(3);
  });
});
