// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { NODE, node } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

const DIRECTION = { outbound: Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]), inbound: Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };
const OUTBOUND = { 'xds.listener_direction': DIRECTION.outbound };

/** What a proxy with this node sends, and what it complains about. */
function sent(bytes: Buffer, config = '') {
  const host = new Host({ 'xds.node': bytes, ...OUTBOUND });
  const root = host.configure(config) as number;
  const { request } = host.stream(root).onRequest([':path', '/']);
  return {
    headers: Object.fromEntries(request.filter(([name]) => name.startsWith('x-'))),
    complaints: host.complaints(),
  };
}

describe('what a proxy says of itself', () => {
  test('its metadata and its id, among the thousands of bytes that Envoy lists beside them', () => {
    const extensions = protobuf.Writer.create();
    for (let i = 0; i < 2000; i++)
      extensions.uint32(0x4a).bytes(Buffer.from(`extension ${i} of this Envoy, and more of it`));
    const bytes = Buffer.concat([
      node({ id: 'me' }),
      extensions.finish(),
      node({ metadata: { 'istio.io/metadata': { A: 1 } } }),
    ]);
    expect(bytes.length).toBeGreaterThan(80_000);
    expect(sent(bytes)).toEqual({ headers: { [METADATA]: struct.header({ A: 1 }), [ID]: 'me' }, complaints: [] });
  });

  test.each([
    [
      'without such metadata',
      node({ id: 'me', metadata: { other: {} } }),
      'the node has no metadata "istio.io/metadata"',
    ],
    ['without any metadata', node({ id: 'me' }), 'the node has no metadata "istio.io/metadata"'],
    [
      'whose metadata is a text',
      node({ id: 'me', metadata: { 'istio.io/metadata': 'text' } }),
      'the node has no Struct as its metadata "istio.io/metadata"',
    ],
  ])('its id alone, of a node %s, with a warning once a VM', (_, bytes, warning) => {
    const host = new Host({ 'xds.node': bytes, ...OUTBOUND });
    for (let i = 0; i < 3; i++) {
      const { request } = host.stream(host.configure() as number).onRequest([METADATA, 'forged']);
      expect(request).toEqual([[ID, 'me']]);
    }
    expect(host.complaints()).toEqual([`metadata_exchange: ${warning}: only its id is sent`]);
  });

  test('fields that look like configuration or secrets, with a warning, unless they were chosen', () => {
    const metadata = { NAME: 'n', PROXY_CONFIG: {}, ANNOTATIONS: 'x', LABELS: { key: 'x' } };
    const others = {
      db_Password: 'x',
      apiKey: 'x',
      AUTH_TOKEN: 1,
      SECRETS: [],
      aws_credentials: 'x',
      tok: 'x',
      ke: 'y',
    };
    const complaint = (of: object, config = {}) =>
      sent(node({ id: 'me', metadata: { 'istio.io/metadata': of } }), JSON.stringify(config)).complaints;
    const warning = (names: string) => [
      `metadata_exchange: every peer that asks is told fields that look like configuration or secrets: ${names}. ` +
        'Choose with metadata_fields what is sent',
    ];
    expect(complaint(metadata)).toEqual(warning('ANNOTATIONS, PROXY_CONFIG'));
    expect(complaint({ ...metadata, ...others })).toEqual(
      warning('ANNOTATIONS, AUTH_TOKEN, PROXY_CONFIG, SECRETS, apiKey, aws_credentials, ...'),
    );
    expect(complaint({ NAME: 'n', LABELS: { key: 'x' }, tok: 'x' })).toEqual([]);
    expect(complaint(metadata, { metadata_fields: ['NAME', 'PROXY_CONFIG'] })).toEqual([]);
    const flat = sent(node({ id: 'me', metadata: { ...metadata, NAMESPACE: 'default' } }), '{"dialect": "istio"}');
    expect(flat.complaints, 'what is not sent').toEqual([]);
  });

  test('of all its metadata the fields that are chosen, with an empty metadata_key', () => {
    const metadata = { service: 'web', secret: 's', tags: { env: 'prod', host: 'h' }, 'istio.io/metadata': { A: 1 } };
    const config = { metadata_key: '', metadata_fields: ['service', 'tags.env', 'istio.io/metadata.A'] };
    const { headers, complaints } = sent(node({ id: 'me', metadata }), JSON.stringify(config));
    expect(struct.read(Buffer.from(headers[METADATA], 'base64'))).toEqual({
      service: 'web',
      tags: { env: 'prod' },
      'istio.io/metadata': { A: 1 },
    });
    expect(complaints).toEqual([]);
    expect(sent(node({ id: 'me' }), JSON.stringify(config))).toEqual({
      headers: { [ID]: 'me' },
      complaints: ['metadata_exchange: the node has no metadata: only its id is sent'],
    });
  });

  test('an empty Struct as an empty header, which asks for an answer', () => {
    const { headers, complaints } = sent(node({ id: 'me', metadata: { 'istio.io/metadata': {} } }));
    expect(headers).toEqual({ [METADATA]: '', [ID]: 'me' });
    expect(complaints).toEqual([]);
  });

  test('its cluster where it has no id, and nothing where it has neither', () => {
    expect(sent(node({ cluster: 'cl' })).headers).toEqual({ [ID]: 'cl' });
    expect(sent(node({})).headers).toEqual({});
    expect(sent(node({})).complaints).toContain(
      'metadata_exchange: the node has neither id nor cluster: no id is sent',
    );
  });

  test.each(['line\r\nfeed: x', 'nul\0', ' space before', 'space after ', 'delete\x7f', 'a,b'])(
    'no id that would break the message: %j',
    (id) => {
      const { headers, complaints } = sent(node({ id }));
      expect(headers).toEqual({});
      expect(complaints[0]).toContain('the id of the node is not sent, since no header can carry it as it is: ');
    },
  );

  test('no id that is larger than a header may be: every peer would drop it', () => {
    const { headers, complaints } = sent(node({ id: 'i'.repeat(8193) }));
    expect(headers).toEqual({});
    expect(complaints[0]).toContain('the id of the node is not sent, since it is larger than max_header_size: ');
    expect(sent(node({ id: 'i'.repeat(8192) })).headers[ID]).toHaveLength(8192);
  });

  test('no value without a JSON form, which costs nothing but itself', () => {
    const good = struct.write({ a: 1, c: { d: 2 } });
    const notANumber = Buffer.from('0a0e0a0162120911000000000000f87f', 'hex');
    const noKind = Buffer.from('0a050a01651200', 'hex');
    const own = Buffer.concat([good, notANumber, noKind]);
    const value = Buffer.concat([Buffer.from([0x2a, own.length]), own]);
    const key = Buffer.from('istio.io/metadata');
    const entry = Buffer.concat([Buffer.from([0x0a, key.length]), key, Buffer.from([0x12, value.length]), value]);
    const metadata = Buffer.concat([Buffer.from([0x0a, entry.length]), entry]);
    const { headers, complaints } = sent(
      Buffer.concat([node({ id: 'me' }), Buffer.from([0x1a, metadata.length]), metadata]),
    );
    expect(struct.read(Buffer.from(headers[METADATA], 'base64'))).toEqual({ a: 1, c: { d: 2 } });
    expect(complaints).toEqual([
      'metadata_exchange: values of the own metadata that no peer would take are not sent (control characters, no JSON form, nested too deep): 2',
    ]);
  });
});

describe('hosts that answer in other ways', () => {
  test('an old host has the node and the direction under their old names', () => {
    const host = new Host({ node: NODE, listener_direction: DIRECTION.inbound });
    const root = host.configure() as number;
    for (let i = 0; i < 2; i++) {
      const stream = host.stream(root).onRequest([ID, 'peer']).onResponse();
      expect([stream.request, stream.response]).toEqual([[], [[ID, 'own-id']]]);
    }
  });

  test('a host that does not say who the node is gets no filter', () => {
    const host = new Host({});
    expect(host.configure()).toBeUndefined();
    expect(host.complaints()).toEqual(['metadata_exchange: the host does not say which node this is']);
    const broken = new Host({ 'xds.node': Buffer.from([0x0a, 0xff]) });
    expect(broken.configure()).toBeUndefined();
  });

  test('a host that does not say the direction is served as the middle of a chain', () => {
    const host = new Host({ 'xds.node': NODE });
    const stream = host
      .stream(host.configure() as number)
      .onRequest([ID, 'peer'])
      .onResponse([ID, 'server']);
    expect(stream.filterState['envoy.wasm.metadata_exchange.downstream_id']?.toString()).toBe('peer');
    expect(stream.filterState['envoy.wasm.metadata_exchange.upstream_id']?.toString()).toBe('server');
    expect(stream.response).toContainEqual([ID, 'own-id']);
  });
});
