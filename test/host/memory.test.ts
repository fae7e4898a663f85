// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { NODE, node } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

const INBOUND = { 'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };
const PEER_HEADER = struct.header({ NAME: 'peer' });

describe('memory does not grow', () => {
  test('with configurations that come and go, one beside the next', () => {
    const labels = Object.fromEntries(Array.from({ length: 200 }, (_, i) => [`label-${i}`, 'x'.repeat(50)]));
    const bytes = node({ id: 'me', metadata: { 'istio.io/metadata': labels } });
    const host = new Host({ 'xds.node': bytes, ...INBOUND });
    const config = JSON.stringify({ headers: { id: `x-${'i'.repeat(500)}` } });
    let old = host.configure(config) as number;
    let size = 0;
    for (let i = 0; i < 200; i++) {
      const next = host.configure(config) as number;
      host.stream(old).onRequest().onResponse().end();
      host.end(old);
      host.pass(6);
      old = next;
      if (i === 10) size = host.memorySize();
    }
    expect(host.memorySize()).toBe(size);
  });

  test('with refused configurations', () => {
    const host = new Host({ 'xds.node': NODE });
    let size = 0;
    for (let i = 0; i < 2000; i++) {
      expect(host.configure(`{"metadata_key": "${'x'.repeat(1000)}", "unknown": 1}`)).toBeUndefined();
      if (i === 10) size = host.memorySize();
    }
    expect(host.memorySize()).toBe(size);
  });

  test('with streams, however they end', () => {
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    const root = host.configure() as number;
    const size = host.memorySize();
    for (let i = 0; i < 100_000; i++) {
      const stream = host.stream(root).onRequest([METADATA, PEER_HEADER], [ID, `peer-${i}`]);
      if (i % 3) stream.onResponse();
      stream.end();
      host.log.length = 0;
      host.calls.length = 0;
    }
    expect(host.memorySize()).toBe(size);
  });
});

describe('memory is bounded', () => {
  test('a header that does not fit is as if it could not be read', () => {
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    const root = host.configure() as number;
    const huge = 'A'.repeat(200_000);
    const stream = host.stream(root).onRequest([METADATA, huge], [ID, 'peer'], ['x-other', 'stays']).onResponse();
    expect(stream.request).toEqual([['x-other', 'stays']]);
    expect(stream.filterState).toEqual({ 'envoy.wasm.metadata_exchange.downstream_id': Buffer.from('peer') });
    expect(stream.response.map(([name]) => name)).toEqual([METADATA, ID]);
    // An empty copy first makes the module ask for all headers, which do not fit either.
    const behind = host.stream(root).onRequest([METADATA, ''], [METADATA, huge], [ID, 'peer']);
    expect(behind.request).toEqual([]);
    const next = host.stream(root).onRequest([METADATA, PEER_HEADER]);
    expect(struct.read(next.filterState['envoy.wasm.metadata_exchange.downstream'])).toEqual({ NAME: 'peer' });
  });

  test('a node that is larger than the room for answers is asked for again, and read', () => {
    const blob = { 'istio.io/metadata': { NAME: 'own' }, other: 'x'.repeat(1_000_000) };
    const host = new Host({ 'xds.node': node({ id: 'me', metadata: blob }), ...INBOUND });
    const stream = host
      .stream(host.configure() as number)
      .onRequest([METADATA, ''], [ID, ''])
      .onResponse();
    expect(stream.response).toEqual([
      [METADATA, struct.header({ NAME: 'own' })],
      [ID, 'me'],
    ]);
  });

  test('configurations without end are refused one day, and those that are there go on', () => {
    const labels = { 'istio.io/metadata': { blob: 'x'.repeat(48_000) } };
    const host = new Host({ 'xds.node': node({ id: 'me', metadata: labels }), ...INBOUND });
    const roots: number[] = [];
    for (let i = 0; i < 1000; i++) {
      const root = host.configure('{"max_header_size": 65536}');
      if (root === undefined) break;
      roots.push(root);
    }
    expect(roots.length).toBeGreaterThan(10);
    expect(roots.length).toBeLessThan(1000);
    expect(host.complaints().at(-1)).toBe('metadata_exchange: there is no memory left for another configuration');
    expect(host.stream(roots[0]).onRequest([ID, 'peer']).onResponse().end().response).toEqual([[ID, 'me']]);
    host.pass(10);
    expect(host.configure('{"max_header_size": 65536}'), 'all of them are alive').toBeUndefined();
    host.end(roots[0]);
    host.pass(4);
    expect(host.configure('{"max_header_size": 65536}'), 'one may be late').toBeUndefined();
    host.pass(2);
    expect(host.configure('{"max_header_size": 65536}'), 'what one gives back, the next one takes').toBeDefined();
  });

  test('more streams at once than have room: the oldest are stripped, heard, not answered', () => {
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    const root = host.configure() as number;
    const streams = Array.from({ length: 40_000 }, (_, i) => host.stream(root).onRequest([ID, `peer-${i}`]));
    for (const [i, stream] of streams.entries()) {
      expect(stream.request).toEqual([]);
      expect(stream.filterState['envoy.wasm.metadata_exchange.downstream_id']?.toString()).toBe(`peer-${i}`);
      stream.onResponse([ID, 'forged']);
    }
    const answered = streams.map((stream) => stream.response.length > 0);
    expect(answered.indexOf(true)).toBe(40_000 - 32_768);
    expect(answered.lastIndexOf(false)).toBe(40_000 - 32_768 - 1);
    expect(streams.at(-1)?.response).toEqual([[ID, 'own-id']]);
    for (const stream of streams) stream.end();
    expect(host.stream(root).onRequest([ID, 'peer']).onResponse().response).toEqual([[ID, 'own-id']]);
  });

  test('streams that end without a response cost nobody else a place', () => {
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    const root = host.configure() as number;
    const waiting = Array.from({ length: 1000 }, () => host.stream(root).onRequest([ID, 'peer']));
    for (let i = 0; i < 25_000; i++) host.stream(root).onRequest([ID, 'peer']).end();
    for (const stream of waiting) expect(stream.onResponse().response).toEqual([[ID, 'own-id']]);
  });
});
