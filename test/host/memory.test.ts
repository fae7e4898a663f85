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
    // The first stream takes the chunk that all others of one time share.
    host.stream(root).onRequest().end();
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

  test('configurations without end: what cannot be had of one is left out, with the reason, and comes back', () => {
    const labels = { 'istio.io/metadata': { blob: 'x'.repeat(48_000) } };
    const host = new Host({ 'xds.node': node({ id: 'me', metadata: labels }), ...INBOUND });
    const config = '{"max_header_size": 65536}';
    const roots: number[] = [];
    const isTold = /^metadata_exchange: there is no memory for the own metadata \(\d+ bytes\): only the id is sent$/;
    const isOut = () => host.complaints().some((line) => isTold.test(line));
    while (!isOut() && roots.length < 1000) roots.push(host.configure(config) as number);
    expect(roots.length).toBeGreaterThan(10);
    expect(isOut()).toBe(true);
    const answer = (root: number) => {
      const asking = host.stream(root).onRequest([METADATA, ''], [ID, 'peer']);
      return asking
        .onResponse()
        .end()
        .response.map(([name]) => name);
    };
    expect(answer(roots[0])).toEqual([METADATA, ID]);
    expect(answer(roots.at(-1) as number), 'the id is sent').toEqual([ID]);
    for (const root of roots.splice(0, 2)) host.end(root);
    const next = host.configure(config) as number;
    expect(answer(next), 'what one releases, the next one takes').toEqual([METADATA, ID]);
    for (;;) {
      const root = host.configure(config);
      if (root === undefined) break;
      roots.push(root);
    }
    expect(host.complaints().at(-1)).toBe('metadata_exchange: there is no memory left for another configuration');
    expect(answer(roots[0])).toEqual([METADATA, ID]);
    for (const root of [...roots, next]) host.end(root);
    expect(answer(host.configure(config) as number)).toEqual([METADATA, ID]);
  });

  test('cache sizes in turn, and a change back: each is had', () => {
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    let old: number | undefined;
    const sizes = Array.from({ length: 8 }, (_, i) => 32 << i);
    for (const size of [...sizes, ...sizes.reverse(), ...sizes]) {
      const next = host.configure(`{"max_peer_cache_size": ${size}}`) as number;
      if (old !== undefined) host.end(old);
      old = next;
      host.stream(next).onRequest([METADATA, PEER_HEADER]).onResponse().end();
    }
    expect(host.complaints()).toEqual([]);
    expect(host.memorySize()).toBeLessThan(20 * 2 ** 20);
  });

  test('700 configurations, each with a name of its own, that come and go leave a VM that takes more', () => {
    const labels = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`label-${i}`, 'x'.repeat(50)]));
    const host = new Host({ 'xds.node': node({ id: 'me', metadata: { 'istio.io/metadata': labels } }), ...INBOUND });
    const config = (i: number) => `{"max_header_size": 65536, "headers": {"id": "x-${'i'.repeat(i)}"}}`;
    const roots = Array.from({ length: 700 }, (_, i) => host.configure(config(i + 1)) as number);
    for (const [i, root] of roots.entries()) if (i % 2) host.end(root);
    for (const [i, root] of roots.entries()) if (i % 2 === 0) host.end(root);
    expect(host.complaints()).toEqual([]);
    const size = host.memorySize();
    const large = host.configure('{"max_peer_cache_size": 4096, "max_header_size": 65536}') as number;
    expect(host.complaints()).toEqual([]);
    expect(host.memorySize(), 'small blocks merged').toBeLessThan(size + 4 * 2 ** 20);
    expect(host.stream(large).onRequest([ID, 'peer']).onResponse().response).toEqual([[ID, 'me']]);
  });

  test.each([1, 2, 4])('an own metadata of %i MB is cut down to its header as any other', (megabytes) => {
    const own = { NAME: 'own', NAMESPACE: 'default', blob: 'x'.repeat(megabytes * 2 ** 20), small: 'y' };
    const host = new Host({ 'xds.node': node({ id: 'me', metadata: { 'istio.io/metadata': own } }), ...INBOUND });
    const root = host.configure() as number;
    expect(host.complaints()).toHaveLength(1);
    expect(host.complaints()[0]).toMatch(/the most is 3072: not sent are 1 fields: blob$/);
    const stream = host.stream(root).onRequest([METADATA, '']).onResponse();
    expect(stream.response).toEqual([[METADATA, struct.header({ NAME: 'own', NAMESPACE: 'default', small: 'y' })]]);
  });

  test.each([12, 40])('a node of %i MB sends its id, and the log says why', (megabytes) => {
    const own = { NAME: 'own', blob: 'x'.repeat(megabytes * 2 ** 20) };
    const bytes = node({ id: 'me', metadata: { 'istio.io/metadata': own } });
    const host = new Host({ 'xds.node': bytes, 'xds.node.id': Buffer.from('me'), ...INBOUND });
    const root = host.configure() as number;
    expect(host.complaints()).toHaveLength(1);
    expect(host.complaints()[0]).toMatch(/^metadata_exchange: there is no memory for .* bytes\): only the id is sent$/);
    const stream = host.stream(root).onRequest([METADATA, ''], [ID, '']).onResponse();
    expect(stream.response).toEqual([[ID, 'me']]);
  });

  test('of 50,000 small fields, too', () => {
    const labels = Object.fromEntries(Array.from({ length: 50_000 }, (_, i) => [`label-${i}`, 'x']));
    const own = { NAME: 'own', LABELS: { app: 'a', ...labels } };
    const host = new Host({ 'xds.node': node({ id: 'me', metadata: { 'istio.io/metadata': own } }), ...INBOUND });
    const root = host.configure() as number;
    const [, sent] = host.stream(root).onRequest([METADATA, '']).onResponse().response[0];
    expect(sent.length).toBeLessThanOrEqual(8192);
    expect(struct.read(Buffer.from(sent, 'base64'))).toMatchObject({ NAME: 'own', LABELS: { app: 'a' } });
  });

  test('a large metadata header within its limit is read beside many cookies', () => {
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    const root = host.configure('{"max_header_size": 65536}') as number;
    const peer = { NAME: 'peer', blob: 'x'.repeat(40_000) };
    const cookies = Array.from({ length: 15 }, (_, i): [string, string] => ['cookie', `c${i}=${'v'.repeat(4000)}`]);
    const stream = host.stream(root).onRequest(...cookies, [METADATA, struct.header(peer)], [ID, 'peer']);
    expect(struct.read(stream.filterState['envoy.wasm.metadata_exchange.downstream'])).toEqual(peer);
    expect(stream.filterState['envoy.wasm.metadata_exchange.downstream_id'].toString()).toBe('peer');
  });
});
