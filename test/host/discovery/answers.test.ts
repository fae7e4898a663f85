// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { METADATA } from '../../../testkit/http.ts';
import { BOTH_SIDES, Discovery, exchange, pod } from '../../support/hosted_discovery.ts';

/** A worker keeps what it found for a second: an address that is asked for often costs next to nothing. */

/** How often a worker asks the store while something is done. */
function lookups(discovery: Discovery, what: () => void): number {
  const { calls } = discovery.worker.host;
  calls.length = 0;
  what();
  return calls.filter((call) => call === 'proxy_get_shared_data').length;
}

describe('an answer', () => {
  test('is asked for once a second, on both sides together', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    const ask = () => {
      for (let i = 0; i < 100; i++) {
        expect(discovery.client(`10.0.0.1:${i + 1}`)?.NAME).toBe('a');
        expect(discovery.server('10.0.0.1:80')?.NAME).toBe('a');
      }
    };
    expect(lookups(discovery, ask)).toBe(1);
    discovery.proxy.pass(1);
    expect(lookups(discovery, ask)).toBe(1);
    discovery.proxy.pass(1);
    expect(discovery.metric('discovery_found')).toBe(2);
  });

  test('that there is nobody is one, too', () => {
    const discovery = new Discovery();
    const ask = () => {
      for (let i = 0; i < 100; i++) expect(discovery.client('10.0.0.1:80')).toBeUndefined();
    };
    expect(lookups(discovery, ask)).toBe(1);
    discovery.proxy.pass(1);
    expect(discovery.metric('discovery_unknown')).toBe(1);
  });

  test.each<[string, (discovery: Discovery) => void, string | undefined]>([
    ['that comes', ({ istiod }) => istiod.serve(pod('new', ['10.0.0.9'])), 'new'],
    ['that goes', ({ istiod }) => istiod.remove('Kubernetes//Pod/default/a'), undefined],
    ['that moves', ({ istiod }) => istiod.serve(pod('b', ['10.0.0.1'])), 'b'],
  ])('about a workload %s is right a second later', (_, change, expected) => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    const address = expected === 'new' ? '10.0.0.9:80' : '10.0.0.1:80';
    discovery.client(address);
    change(discovery);
    discovery.proxy.pass(1);
    expect(discovery.client(address)?.NAME).toBe(expected);
  });

  test('is of one network and one cluster: another configuration in the VM has its own', () => {
    const discovery = new Discovery();
    discovery.istiod.serve(pod('a', ['10.0.0.1']));
    const other = discovery.proxy.load({ ...BOTH_SIDES, workload_discovery: { cluster: 'other' } });
    expect(discovery.client('10.0.0.1:80')?.NAME).toBe('a');
    expect(discovery.client('10.0.0.1:80', other.workers[0])).toBeUndefined();
    expect(discovery.client('10.0.0.1:80')?.NAME).toBe('a');
  });

  test('has the plain fields of the configuration that asks', () => {
    const discovery = new Discovery({ config: { ...BOTH_SIDES, publish_fields: ['NAME'] } });
    discovery.istiod.serve(pod('a', ['10.0.0.1'], { canonicalName: 'app' }));
    const other = discovery.proxy.load({ ...BOTH_SIDES, publish_fields: ['LABELS.app', 'NAME', 'REGION'] });
    const fields = (filter = discovery.worker) => {
      const { filterState } = exchange(filter, { 'source.address': Buffer.from('10.0.0.1:80') });
      const of = (name: string) => filterState[`envoy.wasm.metadata_exchange.downstream.${name}`]?.toString();
      return ['NAME', 'LABELS.app', 'REGION'].map(of);
    };
    for (let i = 0; i < 3; i++) {
      expect(fields()).toEqual(['a', undefined, undefined]);
      expect(fields(other.workers[0])).toEqual(['a', 'app', undefined]);
    }
  });

  test('is compared with the certificate, if the configuration wants that, and plain fields are right all the same', () => {
    const config = { ...BOTH_SIDES, publish_fields: ['NAME', 'LABELS.app'], verify_peer: { mode: 'mark' } };
    const discovery = new Discovery({ config });
    discovery.istiod.serve(pod('a', ['10.0.0.1'], { canonicalName: 'app', serviceAccount: 'account' }));
    const verified = (uri: string) => {
      const { filterState } = exchange(discovery.worker, {
        'source.address': Buffer.from('10.0.0.1:80'),
        'connection.uri_san_peer_certificate': Buffer.from(uri),
        'connection.uri_san_local_certificate': Buffer.from('spiffe://cluster.local/ns/a/sa/b'),
      });
      const of = (name: string) => filterState[`envoy.wasm.metadata_exchange.downstream${name}`]?.toString();
      return [of('_verified'), of('.NAME'), of('.LABELS.app')];
    };
    const right = 'spiffe://cluster.local/ns/default/sa/account';
    for (let i = 0; i < 3; i++) {
      expect(verified(right)).toEqual(['verified', 'a', 'app']);
      expect(verified('spiffe://cluster.local/ns/other/sa/account')[0]).toBe('mismatch');
      discovery.settle();
    }
  });
});

test('a flood of addresses that nobody has takes no memory and forgets nobody for longer than a lookup', () => {
  const discovery = new Discovery();
  discovery.istiod.serve(pod('a', ['10.0.0.1']));
  const ask = (i: number) => discovery.client(`10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}:80`);
  for (let i = 1000; i < 3000; i++) ask(i);
  const before = discovery.worker.host.memorySize();
  for (let i = 1000; i < 30_000; i++) {
    if (ask(i)) expect.fail(`${i} is nobody`);
    if (i % 1000 === 0) expect(ask(1)?.NAME).toBe('a');
    discovery.worker.host.calls.length = 0;
  }
  expect(discovery.worker.host.memorySize()).toBe(before);
});

test('a request that leaves hardly any memory is answered right, or with nobody, and the next one right', () => {
  const fields = ['NAME', ...Array.from({ length: 15 }, (_, i) => `FIELD-${i}`)];
  const discovery = new Discovery({ config: { ...BOTH_SIDES, publish_fields: fields } });
  discovery.istiod.serve(pod('a', ['10.0.0.1']));
  const from = { 'source.address': Buffer.from('10.0.0.1:80') };
  const names = new Set<string | undefined>();
  const ask = (size: number) => {
    const headers: [string, string][] = size > 0 ? [[METADATA, '!'.repeat(size)]] : [];
    const { filterState } = exchange(discovery.worker, from, {}, { request: headers });
    return filterState['envoy.wasm.metadata_exchange.downstream.NAME']?.toString();
  };
  // What a callback has are 128 KiB.
  for (let size = 129_000; size < 131_000; size++) {
    names.add(ask(size));
    expect(ask(0)).toBe('a');
    discovery.proxy.pass(1);
    discovery.worker.host.calls.length = 0;
  }
  expect(names, 'there is room before, and there is none in the end').toEqual(new Set(['a', undefined]));
});
