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

interface Certificates {
  peer?: string;
  own?: string;
}

/** What is published of an inbound peer, and how often a mismatch was counted. */
function learned(config: object, claim: object, { peer = PEER, own = OWN }: Certificates = {}) {
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
    .onRequest([METADATA, struct.header(claim)], [ID, 'id'])
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

  test('who claims nothing that can be compared is unverified', () => {
    expect(learned(mark, { NAME: 'reviews', NAMESPACE: '', SERVICE_ACCOUNT: 7 })).toEqual(known('unverified'));
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
    'spiffe://cluster.local/workload/ns/default/sa/reviews',
  ])('a path that does not say it proves no namespace: %s', (peer) => {
    expect(learned(mark, CLAIM, { peer })).toEqual(known('mismatch', 1));
  });

  test('a peer of another trust domain than ours is a mismatch, whatever it claims', () => {
    const peer = 'spiffe://elsewhere/ns/default/sa/reviews';
    expect(learned(mark, CLAIM, { peer })).toEqual(known('mismatch', 1));
    expect(learned(mark, CLAIM, { own: '' }), 'we have no certificate to compare with').toEqual(known('mismatch', 1));
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
  expect(learned(enforce, CLAIM, { peer: '' })).toEqual(known('unverified'));
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
