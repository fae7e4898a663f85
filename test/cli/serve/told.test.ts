// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { Saying } from '../../../cli/serve/snapshot.ts';
import { toldBy } from '../../../cli/serve/told.ts';
import { type Listener, metadataExchange, proxy, wasm } from '../../../testkit/envoy/config.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { App, METADATA, send } from '../../../testkit/http.ts';
import { preface } from '../../../testkit/preface.ts';
import { struct } from '../../../testkit/struct.ts';
import { ConfigFiles } from '../../support/config_files.ts';
import { TcpPair } from '../../support/tcp.ts';
import { echo, Wire } from '../../support/wire.ts';

/**
 * What the live map says that a sidecar tells its peers, beside what it really sends: a real Envoy's header, as the
 * server that it calls has it, and as the client that it answers has it.
 */

const OWN = {
  NAME: 'reviews-v1-abc',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'reviews-v1',
  LABELS: { app: 'reviews', version: 'v1', team: 'red' },
  PLATFORM: { region: 'here', numbers: [1, true, null] },
  EMPTY: {},
};
const FLAT = {
  ...OWN,
  CLUSTER_ID: 'cluster-1',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews',
};

const TYPED_STRUCT = {
  '@type': 'type.googleapis.com/xds.type.v3.TypedStruct',
  type_url: 'type.googleapis.com/google.protobuf.Struct',
  value: { metadata_fields: ['NAME', 'LABELS'] },
};

/** A proxy with the filter before its application and before itself: what it sent, and what the page would say. */
async function exchanged(filter: object, metadata: object, header: string, more: object = {}) {
  await using app = await App.start();
  const listener = (name: string, direction: Listener['direction']): Listener => ({
    name,
    direction,
    filters: [filter],
  });
  const listeners = [listener('out', 'OUTBOUND'), listener('in', 'INBOUND')];
  const node = { id: 'sidecar~10.0.0.1~reviews~cluster', cluster: 'reviews', metadata };
  const config = proxy({ node, listeners, clusters: { app: { port: app.port } } });
  await using envoy = await Envoy.start({ ...config, ...more });
  await send(await envoy.port('out'));
  const [request] = app.last.headers.all(header);
  const client = [header, struct.header({ NAME: 'client' })];
  const answer = await send(await envoy.port('in'), { headers: client });
  const [response] = answer.headers.all(header);
  const told = await toldBy(envoy.adminAddress());
  const { id } = node;
  expect(told).toMatchObject({ nodeId: id, problem: null });
  return { told: Object.fromEntries(told.sayings.map((each) => [each.in, each])), request, response };
}

const contentOf = (header: string) => struct.read(Buffer.from(header, 'base64'));

/** A Struct from its fields. */
function gathered({ fields }: Saying): Record<string, unknown> {
  const whole: Record<string, unknown> = {};
  for (const [path, value] of fields) {
    let inner = whole;
    for (const key of path.slice(0, -1)) {
      inner[key] ??= {};
      inner = inner[key] as Record<string, unknown>;
    }
    inner[path.at(-1) as string] = value;
  }
  return whole;
}

/** The same, of a header: all values as text. */
function asText(value: unknown): unknown {
  if (value === null || typeof value !== 'object') return typeof value === 'string' ? value : JSON.stringify(value);
  const entries = Object.entries(value).map(([key, each]) => [key, asText(each)]);
  return entries.length > 0 ? Object.fromEntries(entries) : Array.isArray(value) ? '[]' : '{}';
}

describe('is what it sends, in requests and in responses', () => {
  test.each([
    ['as it comes', metadataExchange(), { 'istio.io/metadata': OWN }, METADATA],
    ['some fields', wasm('metadata_exchange', TYPED_STRUCT), { 'istio.io/metadata': OWN }, METADATA],
    ['another header', metadataExchange({ headers: { metadata: 'x-who' } }), { 'istio.io/metadata': OWN }, 'x-who'],
    ['Istio’s dialect', metadataExchange({ dialect: 'istio' }), FLAT, 'x-envoy-peer-metadata'],
    [
      'what fits',
      metadataExchange({ max_header_size: 256 }),
      { 'istio.io/metadata': { ...OWN, LABELS: { app: 'reviews', note: 'x'.repeat(500) } } },
      METADATA,
    ],
  ])('%s', async (_, filter, metadata, header) => {
    const { told, request, response } = await exchanged(filter, metadata, header);
    for (const [where, sent] of Object.entries({ requests: request, responses: response })) {
      expect(told[where].header).toEqual({ name: header, size: sent.length });
      expect(gathered(told[where])).toEqual(asText(contentOf(sent)));
    }
  });

  test('where the filter comes by itself: ECDS', async () => {
    using files = new ConfigFiles();
    const { name, typed_config } = metadataExchange({ metadata_fields: ['NAME'] });
    files.write('ecds', [{ name, typed_config }]);
    const type_urls = [typed_config['@type']];
    const filter = { name, config_discovery: { config_source: files.source('ecds'), type_urls } };
    const { told, request } = await exchanged(filter, { 'istio.io/metadata': OWN }, METADATA);
    expect(contentOf(request)).toEqual({ NAME: OWN.NAME });
    expect(told.requests.fields).toEqual([[['NAME'], OWN.NAME]]);
  });
});

test('over TCP: the prefaces of a client’s proxy and of a server’s', async () => {
  await using pair = await TcpPair.start({ serve: echo });
  using client = await Wire.open(pair.port);
  await client.send('question');
  await client.until('heard question');
  client.end();
  await client.untilEnd();
  const { client: fromServer, server: fromClient } = await pair.logged();
  const [asks, answers] = await Promise.all([pair.client, pair.server].map((each) => toldBy(each.adminAddress())));
  const { upstream } = fromServer;
  const { downstream } = fromClient;
  expect(asks.sayings.map((each) => each.in)).toEqual(['connections']);
  expect(answers.sayings.map((each) => each.in)).toEqual(['answers']);
  for (const [{ sayings }, said] of [[asks, downstream] as const, [answers, upstream] as const]) {
    expect(gathered(sayings[0])).toEqual(asText(said.struct));
    expect(sayings[0].others).toEqual([['x-envoy-peer-metadata-id', said.id]]);
    const written = preface({ metadata: said.struct as object, id: said.id });
    expect(sayings[0].header).toEqual({ name: 'TCP preface', size: written.length });
  }
});

test('who tells nothing: no header, and no words put into its mouth', async () => {
  const silent = { upstream_propagation: [], downstream_propagation: [] };
  const { told, request, response } = await exchanged(metadataExchange(silent), { 'istio.io/metadata': OWN }, METADATA);
  expect([request, response]).toEqual([undefined, undefined]);
  expect([told.requests, told.responses]).toMatchObject([
    { header: null, fields: [] },
    { header: null, fields: [] },
  ]);
});

test('a proxy without the filter', async () => {
  await using envoy = await Envoy.start(proxy({ node: { id: 'me' }, listeners: [] }));
  const { nodeId, sayings, problem } = await toldBy(envoy.adminAddress());
  expect({ nodeId, sayings }).toEqual({ nodeId: 'me', sayings: [] });
  expect(problem).toContain('None of its listeners');
});
