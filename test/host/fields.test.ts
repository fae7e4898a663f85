// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host, type Stream } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/** Fields of a peer as strings of their own in filter state. */

const SIDE = 'envoy.wasm.metadata_exchange';
const direction = (value: number) => Buffer.from([value, 0, 0, 0, 0, 0, 0, 0]);
const [MIDDLE, INBOUND] = [0, 1];
const host = (value = INBOUND) => new Host({ 'xds.node': NODE, 'xds.listener_direction': direction(value) });

/** The strings that were published of a side, by their paths. */
function fields({ filterState }: Stream, side = 'downstream') {
  const of = Object.entries(filterState).filter(([name]) => name.startsWith(`${SIDE}.${side}.`));
  return Object.fromEntries(of.map(([name, value]) => [name.slice(`${SIDE}.${side}.`.length), value.toString()]));
}

/** What is published of a client that says this. */
function published(paths: string[], claim: object, config: object = {}) {
  const proxy = host();
  const root = proxy.configure(JSON.stringify({ publish_fields: paths, ...config })) as number;
  return fields(proxy.stream(root).onRequest([METADATA, struct.header(claim)], [ID, 'peer']));
}

describe('what is published', () => {
  test('strings at the end of the paths, and of what is not there nothing', () => {
    const claim = { NAME: 'reviews', LABELS: { app: 'reviews', 'app.kubernetes.io/name': 'dotted' } };
    const paths = ['NAME', 'NAMESPACE', 'LABELS.app', 'LABELS.app.kubernetes.io/name', 'LABELS.version'];
    expect(published(paths, claim)).toEqual({
      NAME: 'reviews',
      'LABELS.app': 'reviews',
      'LABELS.app.kubernetes.io/name': 'dotted',
    });
  });

  test('in the dialect istio the labels that Kubernetes recommends come before app and version', () => {
    const labels = { app: 'a', version: 'v', 'app.kubernetes.io/name': 'name', 'app.kubernetes.io/version': 'v2' };
    const paths = ['LABELS.app', 'LABELS.version', 'LABELS.other'];
    const headers = { metadata: METADATA, id: ID };
    const istio = { dialect: 'istio', headers };
    const of = (labels: object, config: object = istio) => published(paths, { LABELS: labels }, config);
    expect(of(labels)).toEqual({ 'LABELS.app': 'name', 'LABELS.version': 'v2' });
    expect(of(labels, { headers })).toEqual({ 'LABELS.app': 'a', 'LABELS.version': 'v' });
    expect(of({ app: 'a', 'app.kubernetes.io/name': '' })).toEqual({ 'LABELS.app': 'a' });
    expect(of({ 'app.kubernetes.io/version': 'v2' })).toEqual({ 'LABELS.version': 'v2' });
  });

  test('two configurations with the same fields and different dialects each read in their own way', () => {
    const proxy = host();
    const client = struct.header({ LABELS: { app: 'a', 'app.kubernetes.io/name': 'name' } });
    const roots = ['generic', 'istio'].map((dialect) => {
      const config = { publish_fields: ['LABELS.app'], dialect, headers: { metadata: METADATA, id: ID } };
      return proxy.configure(JSON.stringify(config)) as number;
    });
    for (let i = 0; i < 3; i++) {
      const found = roots.map((root) => fields(proxy.stream(root).onRequest([METADATA, client], [ID, 'peer'])));
      expect(found).toEqual([{ 'LABELS.app': 'a' }, { 'LABELS.app': 'name' }]);
    }
  });

  test.each([
    ['a number', 5],
    ['a boolean', true],
    ['null', null],
    ['a list', ['a']],
    ['a Struct', { a: 'b' }],
    ['an empty string', ''],
  ])('%s is not', (_, value) => {
    expect(published(['NAME', 'LABELS.app'], { NAME: value, LABELS: { app: value } })).toEqual({});
  });

  test('of two ways to a string that which CEL goes counts, and else the other', () => {
    const both = { 'LABELS.app': 'dotted', LABELS: { app: 'walked' } };
    expect(published(['LABELS.app'], both)).toEqual({ 'LABELS.app': 'walked' });
    expect(published(['LABELS.app'], { ...both, LABELS: { app: 1 } })).toEqual({ 'LABELS.app': 'dotted' });
    expect(published(['LABELS.app'], { ...both, LABELS: 'text' })).toEqual({ 'LABELS.app': 'dotted' });
  });

  test.each([{ max_peer_cache_size: 0 }, { max_peer_cache_size: 1 }])('the same each time, with %j', (config) => {
    const proxy = host();
    const root = proxy.configure(JSON.stringify({ publish_fields: ['NAME', 'LABELS.app'], ...config })) as number;
    for (let i = 0; i < 20; i++) {
      const name = `reviews-${i >> 2}`;
      const claim = struct.header({ LABELS: { app: name.repeat(i % 2) }, NAME: name });
      const stream = proxy.stream(root).onRequest([METADATA, claim]);
      expect(fields(stream)).toEqual(i % 2 ? { NAME: name, 'LABELS.app': name } : { NAME: name });
    }
  });

  test('two configurations get each its own of one peer, and the cache keeps it once for each list', () => {
    const proxy = host();
    const lists = [['NAME'], ['LABELS.app', 'NAME'], ['NAME'], []];
    const roots = lists.map((paths) => proxy.configure(JSON.stringify({ publish_fields: paths })) as number);
    const peer = struct.header({ NAME: 'reviews', LABELS: { app: 'app' } });
    for (let i = 0; i < 3; i++) {
      const found = roots.map((root) => fields(proxy.stream(root).onRequest([METADATA, peer])));
      expect(found).toEqual([{ NAME: 'reviews' }, { NAME: 'reviews', 'LABELS.app': 'app' }, { NAME: 'reviews' }, {}]);
    }
    proxy.tick(roots[0]);
    expect(proxy.metrics['metadata_exchange.cache_entries']).toBe(3);
    // A list goes with its last configuration, and others stay.
    proxy.end(roots[0]);
    proxy.end(roots[1]);
    expect(fields(proxy.stream(roots[2]).onRequest([METADATA, peer]))).toEqual({ NAME: 'reviews' });
  });

  test.each(['enforce', 'require'])('verify_peer: of a peer that is not published neither, with %s', (mode) => {
    const certificate = 'spiffe://cluster.local/ns/default/sa/reviews';
    const proxy = host();
    proxy.properties['connection.uri_san_peer_certificate'] = Buffer.from(certificate);
    proxy.properties['connection.uri_san_local_certificate'] = Buffer.from(certificate);
    const config = { publish_fields: ['NAME', 'NAMESPACE'], verify_peer: { mode } };
    const root = proxy.configure(JSON.stringify(config)) as number;
    const hear = (claim: object) => fields(proxy.stream(root).onRequest([METADATA, struct.header(claim)]));
    expect(hear({ NAME: 'reviews', NAMESPACE: 'kube-system' })).toEqual({});
    expect(hear({ NAME: 'reviews', NAMESPACE: 'default' })).toEqual({ NAME: 'reviews', NAMESPACE: 'default' });
  });

  test('of a client that baggage names too', () => {
    const proxy = host();
    const config = { publish_fields: ['NAMESPACE'], downstream_discovery: [{ baggage: {} }] };
    const root = proxy.configure(JSON.stringify(config)) as number;
    const stream = proxy.stream(root).onRequest(['baggage', 'k8s.namespace.name=default']);
    expect(fields(stream)).toEqual({ NAMESPACE: 'default' });
  });
});

describe('what an earlier peer published is cleared', () => {
  const CONFIG = { publish_fields: ['NAME', 'NAMESPACE'] };

  test('before a later run, until its own server is known', () => {
    const proxy = host(MIDDLE);
    const root = proxy.configure(JSON.stringify(CONFIG)) as number;
    const first = proxy.stream(root).onRequest([METADATA, struct.header({ NAME: 'client' })], [ID, 'client']);
    first.onResponse([METADATA, struct.header({ NAME: 'one', NAMESPACE: 'default' })], [ID, 'one']);
    expect(fields(first, 'upstream')).toEqual({ NAME: 'one', NAMESPACE: 'default' });
    const second = first.redirect();
    expect(fields(second, 'upstream')).toEqual({ NAME: '', NAMESPACE: '' });
    expect(fields(second)).toEqual({ NAME: 'client' });
    second.onResponse([METADATA, struct.header({ NAME: 'two' })], [ID, 'two']);
    expect(fields(second, 'upstream')).toEqual({ NAME: 'two', NAMESPACE: '' });
  });

  test('where another configuration replaces it, which publishes other fields', () => {
    const proxy = host(MIDDLE);
    proxy.configure(JSON.stringify(CONFIG), 1);
    const other = { publish_fields: ['LABELS.app'], headers: { metadata: 'x-a', id: 'x-b' } };
    proxy.configure(JSON.stringify(other), 2);
    const first = proxy.stream(1).onRequest();
    first.onResponse([METADATA, struct.header({ NAME: 'one', NAMESPACE: 'default' })]);
    const second = proxy.stream(2);
    Object.assign(second.filterState, first.filterState);
    second.onRequest().onResponse(['x-a', struct.header({ NAME: 'two', LABELS: { app: 'app' } })]);
    expect(fields(second, 'upstream')).toEqual({ NAME: '', NAMESPACE: '', 'LABELS.app': 'app' });
  });
});
