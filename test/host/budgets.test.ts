// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { NODE, node } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

const OUTBOUND = { 'xds.listener_direction': Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]) };
const INBOUND = { 'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };

/** What a proxy with this metadata sends, and what it complains about. */
function sent(metadata: object, config: object = {}) {
  const host = new Host({ 'xds.node': node({ id: 'me', metadata: { 'istio.io/metadata': metadata } }), ...OUTBOUND });
  const root = host.configure(JSON.stringify(config)) as number;
  const stream = host.stream(root).onRequest([METADATA, 'forged'], [ID, 'forged']);
  host.tick(root);
  const header = stream.find(0, METADATA)?.[1];
  return {
    header,
    metadata: header === undefined ? undefined : struct.read(Buffer.from(header, 'base64')),
    id: stream.find(0, ID)?.[1],
    complaints: host.complaints().map((text) => text.replace('metadata_exchange: ', '')),
    leftOut: host.metrics['metadata_exchange.own_fields_left_out'],
  };
}

const CORE = {
  NAME: 'productpage-v1-84975bc778-pxz2w',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'productpage-v1',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/productpage-v1',
  CLUSTER_ID: 'client-cluster',
};

describe('own metadata that is larger than a header may be', () => {
  test('fits exactly, or loses its largest field, with a warning that names it', () => {
    const metadata = {
      ...CORE,
      LABELS: { app: 'productpage' },
      small: 'x',
      large: 'y'.repeat(300),
      largest: 'z'.repeat(400),
    };
    const size = struct.header(metadata).length;
    expect(sent(metadata, { max_header_size: size }).metadata).toEqual(metadata);
    const cut = sent(metadata, { max_header_size: size - 1 });
    const { largest, ...rest } = metadata;
    expect(cut.metadata).toEqual(rest);
    expect(cut.complaints).toEqual([
      `the own metadata takes ${size} bytes as a header, max_header_size is ${size - 1}: not sent are 1 fields: largest`,
    ]);
    expect(cut.leftOut).toBe(1);
    expect(largest.length).toBe(400);
  });

  test('loses labels one by one, the largest first, and keeps those that say who it is', () => {
    const many = Object.fromEntries(Array.from({ length: 300 }, (_, i) => [`label-${i}`, 'v'.repeat(i)]));
    const known = {
      app: 'a'.repeat(500),
      version: 'v'.repeat(500),
      'service.istio.io/canonical-name': 'c'.repeat(500),
    };
    const cut = sent({ ...CORE, LABELS: { ...many, ...known } });
    expect(cut.header?.length).toBeLessThanOrEqual(3072);
    expect(cut.header?.length, 'no more than necessary').toBeGreaterThan(2900);
    const { LABELS, ...rest } = cut.metadata as { LABELS: Record<string, string> };
    expect(rest).toEqual(CORE);
    expect(LABELS).toMatchObject(known);
    const kept = Object.keys(many).filter((name) => name in LABELS);
    expect(kept).toEqual(Array.from({ length: kept.length }, (_, i) => `label-${i}`));
    expect(cut.leftOut).toBe(300 - kept.length);
    expect(cut.complaints[0]).toMatch(/fields: LABELS\.label-299, LABELS\.label-298, .*, \.\.\.$/);
  });

  test('has 3072 bytes unless max_header_size says otherwise, and then those', () => {
    // 2304 bytes are 3072 as base64.
    const whole = (size: number) => ({
      NAME: 'x',
      fill: 'y'.repeat(size - struct.write({ NAME: 'x', fill: '' }).length - 3),
    });
    const [fits, one] = [2304, 2305].map(whole);
    expect([struct.header(fits).length, struct.header(one).length]).toEqual([3072, 3076]);
    expect(sent(fits)).toMatchObject({ metadata: fits, complaints: [] });
    const cut = sent(one);
    expect(cut.metadata).toEqual({ NAME: 'x' });
    expect(cut.complaints).toEqual([
      'the own metadata takes 3076 bytes as a header, without max_header_size the most is 3072: not sent are 1 fields: fill',
    ]);
    expect(sent(one, { max_header_size: 8192 })).toMatchObject({ metadata: one, complaints: [] });
  });

  test('is not sent where even that is too much: the id alone is', () => {
    const cut = sent({ ...CORE, OWNER: 'o'.repeat(9000), other: 'x' });
    expect([cut.header, cut.id]).toEqual([undefined, 'me']);
    expect(cut.complaints[0]).toMatch(/and cannot be cut down to it: only the id is sent$/);
    expect(cut.leftOut).toBe(1);
  });

  test('is not sent where nothing would be left of it', () => {
    const cut = sent({ one: 'x', two: 'y' }, { max_header_size: 2 });
    expect([cut.header, cut.id]).toEqual([undefined, 'me']);
    expect(cut.complaints[0]).toMatch(/only the id is sent$/);
  });

  test('of any shape: what is sent fits, is canonical, and says nothing that the node does not say', () => {
    for (let i = 1; i < 40; i++) {
      const deep = {
        a: { b: { c: 'x'.repeat(i * 20) } },
        list: Array(i).fill('y'),
        n: i,
        t: true,
        nothing: null,
        e: {},
      };
      const metadata = { ...CORE, ...deep, more: { one: 'q'.repeat(i * 10), two: 'r'.repeat(i * 5) } };
      for (const most of [400, 600, 800, 1000]) {
        const cut = sent(metadata, { max_header_size: most });
        if (cut.header === undefined) continue;
        expect(cut.header.length).toBeLessThanOrEqual(most);
        expect(metadata).toMatchObject(cut.metadata as object);
        expect(cut.metadata).toMatchObject(CORE);
      }
    }
  });
});

describe('metadata_fields', () => {
  const metadata = {
    ...CORE,
    INSTANCE_IPS: '10.52.0.34',
    LABELS: { app: 'productpage', 'app.kubernetes.io/name': 'pp', secret: 's' },
    nested: { a: { b: 1, c: 2 }, d: 3 },
    'a.b': 4,
    a: { b: 5, c: 6 },
    '': { '': 7, x: 8 },
  };
  test.each([
    [['NAME', 'NAMESPACE'], { NAME: CORE.NAME, NAMESPACE: CORE.NAMESPACE }],
    [['LABELS.app'], { LABELS: { app: 'productpage' } }],
    [['LABELS.app.kubernetes.io/name'], { LABELS: { 'app.kubernetes.io/name': 'pp' } }],
    [['.', 'LABELS.'], { '': { '': 7 } }],
    [['.x'], { '': { x: 8 } }],
    [['LABELS'], { LABELS: metadata.LABELS }],
    [['nested.a.b', 'nested.d'], { nested: { a: { b: 1 }, d: 3 } }],
    [['a.b'], { 'a.b': 4, a: { b: 5 } }],
    [['a', 'a.b'], { 'a.b': 4, a: { b: 5, c: 6 } }],
    [['NAME.x', 'LABELS.none', 'LABEL', 'LABELS.', 'none'], {}],
    [[], {}],
  ])('%j', (fields, expected) => {
    const { metadata: got, id } = sent(metadata, { metadata_fields: fields });
    expect([got, id]).toEqual([expected, 'me']);
  });
});

describe('a peer’s header that is larger than it may be', () => {
  test.each([
    ['exactly as large', 0, true],
    ['one byte larger', -1, false],
  ])('%s', (_, less, isHeard) => {
    const metadata = { NAME: 'peer', blob: 'x'.repeat(1000) };
    const header = struct.header(metadata);
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    const root = host.configure(JSON.stringify({ max_header_size: header.length + less })) as number;
    const stream = host.stream(root).onRequest([METADATA, header], [ID, 'peer']).onResponse();
    host.tick(root);
    expect('envoy.wasm.metadata_exchange.downstream' in stream.filterState).toBe(isHeard);
    expect(host.metrics['metadata_exchange.oversize']).toBe(isHeard ? 0 : 1);
    expect(stream.request, 'stripped in any case').toEqual([]);
    expect(
      stream.response.map(([name]) => name),
      'and answered',
    ).toEqual([METADATA, ID]);
  });

  test('is 8192 bytes unless configured otherwise, for ids as well', () => {
    const host = new Host({ 'xds.node': NODE, ...INBOUND });
    const root = host.configure() as number;
    const id = (size: number) => host.stream(root).onRequest([ID, 'i'.repeat(size)]).filterState;
    expect(Object.keys(id(8192))).toEqual(['envoy.wasm.metadata_exchange.downstream_id']);
    expect(id(8193)).toEqual({});
  });
});
