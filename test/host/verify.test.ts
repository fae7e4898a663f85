// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/** What a claim is worth beside a certificate, said by the attributes that Envoy has of it. */

const OWN = 'spiffe://cluster.local/ns/own/sa/own';
const PEER = 'spiffe://cluster.local/ns/default/sa/reviews';
const CLAIM = { NAME: 'reviews', NAMESPACE: 'default', SERVICE_ACCOUNT: 'reviews' };

interface Peer {
  id?: string;
  peer?: string;
  own?: string;
}

/** What is published of an inbound peer, and how often a mismatch was counted. */
function learned(config: object, claim: object, { id = 'id', peer = PEER, own = OWN }: Peer = {}) {
  const properties: Record<string, Buffer> = {
    'xds.node': NODE,
    'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]),
  };
  if (peer) properties['connection.uri_san_peer_certificate'] = Buffer.from(peer);
  if (own) properties['connection.uri_san_local_certificate'] = Buffer.from(own);
  const host = new Host(properties);
  const root = host.configure(JSON.stringify({ verify_peer: config })) as number;
  const { filterState } = host
    .stream(root)
    .onRequest([METADATA, struct.header(claim)], [ID, id])
    .onResponse()
    .end();
  host.tick(root);
  const name = 'envoy.wasm.metadata_exchange.downstream';
  return {
    verdict: filterState[`${name}_verified`]?.toString(),
    isKnown: name in filterState,
    hasId: `${name}_id` in filterState,
    mismatches: host.metrics['metadata_exchange.mismatches'],
  };
}

const known = (verdict: string | undefined, mismatches = 0) => ({ verdict, isKnown: true, hasId: true, mismatches });

describe('mark', () => {
  const mark = { mode: 'mark' };

  test('what is claimed and proven is verified', () => {
    expect(learned(mark, CLAIM)).toEqual(known('verified'));
    expect(learned(mark, { IDENTITY: PEER, TRUST_DOMAIN: 'cluster.local' })).toEqual(known('verified'));
  });

  test.each([
    ['another namespace', { ...CLAIM, NAMESPACE: 'kube-system' }],
    ['another service account', { ...CLAIM, SERVICE_ACCOUNT: 'admin' }],
    ['another trust domain', { ...CLAIM, TRUST_DOMAIN: 'other.local' }],
    ['another identity', { ...CLAIM, IDENTITY: `${PEER}s` }],
  ])('%s is a mismatch', (_, claim) => {
    expect(learned(mark, claim)).toEqual(known('mismatch', 1));
  });

  test.each(['defaul', 'defaultx', 'xdefault', 'default\u00e9', 'DEFAULT'])(
    'a namespace that only resembles the proven one is a mismatch: %s',
    (namespace) => {
      expect(learned(mark, { ...CLAIM, NAMESPACE: namespace })).toEqual(known('mismatch', 1));
      expect(learned(mark, { ...CLAIM, SERVICE_ACCOUNT: `reviews${namespace}` })).toEqual(known('mismatch', 1));
    },
  );

  test.each(['local', 'er.local', 'xcluster.local', 'cluster', 'cluster.locale', 'CLUSTER.LOCAL'])(
    'a trust domain that only resembles the peer’s is another one: %s',
    (domain) => {
      expect(learned({ mode: 'mark', trust_domains: [domain] }, CLAIM)).toEqual(known('mismatch', 1));
      expect(learned(mark, CLAIM, { own: `spiffe://${domain}/ns/own/sa/own` })).toEqual(known('mismatch', 1));
    },
  );

  test('who claims nothing that can be compared is unverified', () => {
    expect(learned(mark, { NAME: 'reviews', NAMESPACE: '' })).toEqual(known('unverified'));
  });

  test.each([
    ['a number', 7],
    ['a list', ['reviews']],
    ['null', null],
    ['an object', { a: 'reviews' }],
    ['true', true],
  ])('a claim that is %s cannot be true', (_, SERVICE_ACCOUNT) => {
    expect(learned(mark, { ...CLAIM, SERVICE_ACCOUNT })).toEqual(known('mismatch', 1));
  });

  test('the namespaces in OWNER and in an id of Istio’s form are claims too', () => {
    const owner = (namespace: string) => `kubernetes://apis/apps/v1/namespaces/${namespace}/deployments/reviews`;
    expect(learned(mark, { ...CLAIM, OWNER: owner('default') })).toEqual(known('verified'));
    expect(learned(mark, { ...CLAIM, OWNER: owner('kube-system') })).toEqual(known('mismatch', 1));
    const id = (pod: string) => `sidecar~10.0.0.1~${pod}~x.svc.cluster.local`;
    expect(learned(mark, CLAIM, { id: id('reviews-v1.default') })).toEqual(known('verified'));
    expect(learned(mark, CLAIM, { id: id('reviews-v1.kube-system') })).toEqual(known('mismatch', 1));
    expect(learned(mark, { NAME: 'reviews' }, { id: id('reviews.v1.default') })).toEqual(known('verified'));
    for (const other of ['reviews', 'a~b~c', id('reviews'), id('reviews.'), `${id('x.y')}~z`]) {
      expect(learned(mark, CLAIM, { id: other }), other).toEqual(known('verified'));
    }
  });

  test.each([
    ['no certificate', ''],
    ['a URI of another kind', 'https://example.com/ns/default/sa/reviews'],
    ['no trust domain', 'spiffe:///ns/default/sa/reviews'],
    ['half a scheme', 'spiff'],
  ])('%s proves nothing', (_, peer) => {
    expect(learned(mark, CLAIM, { peer })).toEqual(known('unverified'));
  });

  test.each([
    'spiffe://cluster.local',
    'spiffe://cluster.local/',
    'spiffe://cluster.local/ns/default',
    'spiffe://cluster.local/ns/default/sa/reviews/more',
    'spiffe://cluster.local/ns/default/sa/reviews/',
    'spiffe://cluster.local/reviews',
    'spiffe://cluster.local/workload/ns/default/sa/reviews',
  ])('a path that does not say it proves no namespace: %s', (peer) => {
    expect(learned(mark, CLAIM, { peer })).toEqual(known('unverified'));
    const domainOnly = { TRUST_DOMAIN: 'cluster.local' };
    expect(learned(mark, domainOnly, { peer }), 'but the trust domain is proven').toEqual(known('verified'));
    expect(learned(mark, { TRUST_DOMAIN: 'x' }, { peer })).toEqual(known('mismatch', 1));
  });

  test.each([
    'spiffe://cluster.local/ns/default/dc/one/svc/web',
    'spiffe://cluster.local/ap/p/ns/default/dc/one/svc/web',
  ])('the namespace of Consul’s form is read, which says nothing of a service account: %s', (peer) => {
    expect(learned(mark, { NAMESPACE: 'default' }, { peer })).toEqual(known('verified'));
    expect(learned(mark, { NAMESPACE: 'prod' }, { peer })).toEqual(known('mismatch', 1));
    expect(learned(mark, CLAIM, { peer })).toEqual(known('unverified'));
  });

  test('a peer of another trust domain than ours is a mismatch, whatever it claims', () => {
    const peer = 'spiffe://elsewhere/ns/default/sa/reviews';
    expect(learned(mark, CLAIM, { peer })).toEqual(known('mismatch', 1));
    expect(learned(mark, CLAIM, { own: '' }), 'we have no certificate to compare with').toEqual(known('unverified'));
    const listed = { mode: 'mark', trust_domains: ['cluster.local', 'elsewhere'] };
    expect(learned(listed, CLAIM, { peer })).toEqual(known('verified'));
    expect(learned({ mode: 'mark', trust_domains: ['other'] }, CLAIM)).toEqual(known('mismatch', 1));
  });
});

test('enforce drops what is wrong, as if it had not been sent; what is not proven stays, and says so', () => {
  const enforce = { mode: 'enforce' };
  const dropped = { verdict: 'mismatch', isKnown: false, hasId: false, mismatches: 1 };
  expect(learned(enforce, { ...CLAIM, NAMESPACE: 'kube-system' })).toEqual(dropped);
  expect(learned(enforce, CLAIM)).toEqual(known('verified'));
  expect(learned(enforce, CLAIM, { peer: '' })).toEqual({ ...known('unverified'), hasId: false });
});

test('require publishes nobody who is not proven', () => {
  const require = { mode: 'require' };
  const nobody = (verdict: string, mismatches = 0) => ({ verdict, isKnown: false, hasId: false, mismatches });
  expect(learned(require, CLAIM)).toEqual(known('verified'));
  expect(learned(require, CLAIM, { peer: '' })).toEqual(nobody('unverified'));
  expect(learned(require, { NAME: 'reviews' })).toEqual(nobody('unverified'));
  expect(learned(require, { ...CLAIM, NAMESPACE: 'kube-system' })).toEqual(nobody('mismatch', 1));
});

describe('a peer without metadata that can be read', () => {
  const ID_OF = (namespace: string) => `sidecar~10.0.0.1~reviews-v1.${namespace}~x.svc.cluster.local`;
  const idOnly = (mode: string, id: string, metadata?: string) => {
    const host = new Host({
      'xds.node': NODE,
      'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]),
      'connection.uri_san_peer_certificate': Buffer.from(PEER),
      'connection.uri_san_local_certificate': Buffer.from(OWN),
    });
    const root = host.configure(JSON.stringify({ verify_peer: { mode } })) as number;
    const headers: [string, string][] = metadata ? [[METADATA, metadata]] : [];
    const { filterState } = host.stream(root).onRequest(...headers, [ID, id]);
    return Object.fromEntries(
      Object.entries(filterState).map(([key, value]) => [key.replace(/.*downstream/, ''), value.toString()]),
    );
  };

  test.each([[undefined], ['not base64!']])('has a verdict on its id all the same (metadata: %s)', (metadata) => {
    expect(idOnly('mark', 'some-id', metadata)).toEqual({ _verified: 'unverified', _id: 'some-id' });
    expect(idOnly('mark', ID_OF('default'), metadata)).toEqual({ _verified: 'verified', _id: ID_OF('default') });
    expect(idOnly('mark', ID_OF('prod'), metadata)).toEqual({ _verified: 'mismatch', _id: ID_OF('prod') });
    expect(idOnly('enforce', 'some-id', metadata)).toEqual({ _verified: 'unverified' });
    expect(idOnly('enforce', ID_OF('prod'), metadata)).toEqual({ _verified: 'mismatch' });
    expect(idOnly('require', ID_OF('default'), metadata)).toEqual({ _verified: 'verified', _id: ID_OF('default') });
  });
});

test('a peer whose headers are disproven is not looked for in its baggage', () => {
  const host = new Host({
    'xds.node': NODE,
    'connection.uri_san_peer_certificate': Buffer.from(PEER),
    'connection.uri_san_local_certificate': Buffer.from(OWN),
  });
  const config = { downstream_discovery: [{ istio_headers: {} }, { baggage: {} }], verify_peer: { mode: 'enforce' } };
  const root = host.configure(JSON.stringify(config)) as number;
  const wrong = struct.header({ NAMESPACE: 'prod' });
  const { filterState } = host.stream(root).onRequest([METADATA, wrong], ['baggage', 'k8s.namespace.name=default']);
  expect(Object.keys(filterState)).toEqual(['envoy.wasm.metadata_exchange.downstream_verified']);
  expect(Object.values(filterState)[0].toString()).toBe('mismatch');
});

test('only the claims that are named count', () => {
  const config = { mode: 'mark', fields: ['SERVICE_ACCOUNT'] };
  expect(learned(config, { ...CLAIM, NAMESPACE: 'kube-system' })).toEqual(known('verified'));
  expect(learned(config, { ...CLAIM, SERVICE_ACCOUNT: 'admin' })).toEqual(known('mismatch', 1));
  expect(learned({ mode: 'mark', fields: [] }, CLAIM)).toEqual(known('unverified'));
});

test('off, which is the default, nobody looks', () => {
  expect(learned({ mode: 'off' }, { ...CLAIM, NAMESPACE: 'kube-system' })).toEqual(known(undefined));
});
