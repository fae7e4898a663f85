// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectPeer, learnedOf, NOBODY } from '../../testkit/access_log.ts';
import { bridge, metadataExchange, probe, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { ProxyStand } from '../support/proxy_stand.ts';

/** Everything that a google.protobuf.Struct can say. */
const everything = (name: string) => ({
  NAME: name,
  NAMESPACE: 'default',
  LABELS: { app: name, version: 'v1', 'service.istio.io/canonical-name': name },
  nested: { structs: { in: { structs: { end: true } } }, lists: [[1, [2, [3]]], [{ in: ['lists'] }]] },
  numbers: [0, -0.5, 1e300, 5e-324, 9007199254740991, -1],
  bools: [true, false],
  nothing: null,
  'nothing inside': { nothing: null },
  'holes in a list': [1, null, null, 'four', null],
  empty: '',
  '': 'an empty key',
  'no members': {},
  'no elements': [],
  unicode: 'Grüße, 世界, 😀, \u{10ffff}',
  'schlüssel 🔑': 'a key can be anything',
});

/** The same after Lua: an empty list is an empty object, nulls inside objects and at the end of lists are gone. */
const afterLua = (name: string) => ({
  ...everything(name),
  'nothing inside': {},
  'holes in a list': [1, null, null, 'four'],
  'no elements': {},
});

const PRODUCTPAGE = 'sidecar~10.52.0.34~productpage-v1.default~default.svc.cluster.local';
const REVIEWS = 'sidecar~10.52.0.35~reviews-v1.default~default.svc.cluster.local';

describe('a client sidecar and a server sidecar', () => {
  let app: App;
  let server: Envoy;
  let client: Envoy;

  beforeAll(async () => {
    app = await App.start();
    const filters = [bridge('responses'), probe('probe responses'), metadataExchange(), probe(), bridge()];
    const node = (id: string, name: string) => ({ id, metadata: { 'istio.io/metadata': everything(name) } });
    server = await Envoy.start(
      proxy({
        node: node(REVIEWS, 'reviews'),
        listeners: [{ name: 'inbound', direction: 'INBOUND', filters }],
        clusters: { app: { port: app.port } },
      }),
    );
    client = await Envoy.start(
      proxy({
        node: node(PRODUCTPAGE, 'productpage'),
        listeners: [{ name: 'outbound', direction: 'OUTBOUND', filters }],
        clusters: { app: { port: await server.port('inbound') } },
      }),
    );
  });
  afterAll(async () => {
    await client?.stop();
    await server?.stop();
    await app?.[Symbol.asyncDispose]();
  });

  test('learn all that the other says of itself, and nobody else sees a peer header', async () => {
    const answer = await send(await client.port('outbound'), { path: '/both' });

    const atServer = await learnedOf(server, '/both');
    expectPeer(atServer.downstream, everything('productpage'), PRODUCTPAGE);
    expect(struct.read(atServer.downstream.raw as Buffer)).toEqual(everything('productpage'));
    expect(atServer.downstream.dynamic).toEqual(afterLua('productpage'));
    expect(atServer.upstream).toEqual(NOBODY);

    const atClient = await learnedOf(client, '/both');
    expectPeer(atClient.upstream, everything('reviews'), REVIEWS);
    expect(struct.read(atClient.upstream.raw as Buffer)).toEqual(everything('reviews'));
    expect(atClient.upstream.dynamic).toEqual(afterLua('reviews'));
    expect(atClient.downstream).toEqual(NOBODY);

    expect(answer.status).toBe(200);
    expect(answer.headers.peer()).toEqual({});
    expect(app.last.headers.peer()).toEqual({});
  });

  test('send the same bytes from every worker and every start: map keys are in order', async () => {
    const again = await Envoy.start(
      proxy({
        node: { id: PRODUCTPAGE, metadata: { 'istio.io/metadata': everything('productpage') } },
        listeners: [{ name: 'outbound', direction: 'OUTBOUND', filters: [metadataExchange()] }],
        clusters: { app: { port: app.port } },
      }),
      { workers: 2 },
    );
    await using _ = again;
    const port = await again.port('outbound');
    for (let i = 0; i < 20; i++) await send(port);
    const sent = new Set(app.seen.slice(-20).map((seen) => seen.headers.all(METADATA)[0]));
    expect(sent.size).toBe(1);
    const [header] = sent;
    expect(Buffer.from(header, 'base64').toString('base64'), 'padded, standard alphabet').toBe(header);
    expect(keysInOrder(struct.read(Buffer.from(header, 'base64')))).toBe(true);

    await send(await client.port('outbound'), { path: '/same' });
    const { raw } = (await learnedOf(server, '/same')).downstream;
    expect(raw?.toString('base64')).toBe(header);
  });
});

/** Whether the keys of all objects stand in the order of their UTF-8 bytes. */
function keysInOrder(json: unknown): boolean {
  if (json === null || typeof json !== 'object') return true;
  const keys = Object.keys(json).map((key) => Buffer.from(key));
  const inOrder = Array.isArray(json) || keys.every((key, i) => i === 0 || Buffer.compare(keys[i - 1], key) < 0);
  return inOrder && Object.values(json).every(keysInOrder);
}

describe('metadata of unusual shape', () => {
  test.each([
    ['a hundred labels', { LABELS: Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`label-${i}`, `${i}`])) }],
    ['nothing at all', {}],
    ['a name that is not a string', { NAME: 17, LABELS: null, NAMESPACE: ['default'] }],
    ['thirty structs in each other', { a: nest(30, (inner) => ({ inner })) }],
    ['forty lists in each other', { a: nest(40, (inner) => [inner]) }],
  ])('arrives as it is: %s', async (_, metadata) => {
    await using app = await App.start();
    await using server = await Envoy.start(
      proxy({
        listeners: [{ name: 'inbound', direction: 'INBOUND', filters: [metadataExchange(), probe(), bridge()] }],
        clusters: { app: { port: app.port } },
      }),
    );
    await using client = await Envoy.start(
      proxy({
        node: { metadata: { 'istio.io/metadata': metadata } },
        listeners: [{ name: 'outbound', direction: 'OUTBOUND', filters: [metadataExchange()] }],
        clusters: { app: { port: await server.port('inbound') } },
      }),
    );
    await send(await client.port('outbound'), { path: '/shape' });
    const { downstream } = await learnedOf(server, '/shape');
    if (Object.keys(metadata).length === 0) {
      // An empty Struct has no bytes: the header is there and empty, it asks and says nothing.
      expect(downstream).toEqual({ ...NOBODY, id: 'test-node' });
    } else {
      expectPeer(downstream, metadata, 'test-node');
      expect(downstream.dynamic).toEqual('LABELS' in metadata || 'a' in metadata ? metadata : undefined);
    }
    expect(app.last.headers.all(ID)).toEqual([]);
  });
});

function nest(depth: number, wrap: (inner: unknown) => unknown): unknown {
  return depth === 0 ? 'bottom' : wrap(nest(depth - 1, wrap));
}

test('of a node of another control plane, the fields that were chosen from all of its metadata', async () => {
  await using stand = await ProxyStand.start({
    direction: 'OUTBOUND',
    config: { metadata_key: '', metadata_fields: ['service', 'tags.env'] },
    node: { metadata: { service: 'web', token: 'secret', tags: { env: 'prod', host: 'h' } } },
  });
  const { seen } = await stand.exchange();
  const header = seen?.headers.all(METADATA)[0] as string;
  expect(struct.read(Buffer.from(header, 'base64'))).toEqual({ service: 'web', tags: { env: 'prod' } });
});
