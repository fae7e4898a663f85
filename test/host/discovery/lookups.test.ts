// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { ID, METADATA } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { BOTH_SIDES, Discovery, exchange, learned, pod } from '../../support/hosted_discovery.ts';

/** A peer without headers is known by its address, on both sides. */

const ADDRESS = 'envoy://inner/1';
const HOST = 'xds.upstream_host_metadata.filter_metadata';
const BEHIND = `${HOST}.envoy.filters.listener.original_dst.local`;
const DOUBLE = `${HOST}.istio.double_hbone`;
const text = (value: string) => Buffer.from(value);
const said = (name: string): [string, string][] => [
  [METADATA, struct.header({ NAME: name })],
  [ID, name],
];

function mesh(config: object = BOTH_SIDES): Discovery {
  const discovery = new Discovery({ config });
  discovery.istiod.serve(
    pod('sleep', ['10.0.0.1', '2001:db8::1']),
    pod('reviews', ['10.0.0.2', '2001:db8::2']),
    pod('mapped', ['::ffff:10.0.0.3']),
  );
  return discovery;
}

describe('a peer without headers', () => {
  test.each([
    ['10.0.0.1:40600', 'sleep'],
    ['10.0.0.2:1', 'reviews'],
    ['[2001:db8::1]:40600', 'sleep'],
    ['[2001:db8:0:0::2]:65535', 'reviews'],
    ['[2001:0DB8::0001]:5', 'sleep'],
    ['[::ffff:10.0.0.1]:40600', 'sleep'],
    ['[::ffff:a00:1]:40600', 'sleep'],
    ['10.0.0.3:40600', 'mapped'],
    ['[::ffff:10.0.0.3]:40600', 'mapped'],
  ])('at %s is %s, whichever side it is on', (address, name) => {
    const discovery = mesh();
    expect(discovery.client(address)?.NAME).toBe(name);
    expect(discovery.server(address)?.NAME).toBe(name);
  });

  test.each([
    ['10.0.0.9:40600', 'an address that no workload has'],
    ['[2001:db8::9]:40600', 'another one'],
    ['10.0.0.1:0', 'port 0: X-Forwarded-For named it, and anybody can write that'],
    ['[2001:db8::1]:0', 'the same in IPv6'],
    ['/run/10.0.0.1:80', 'a Unix domain socket'],
    ['@10.0.0.1:80', 'an abstract one'],
    ['', 'nothing'],
    ['10.0.0.1', 'no port'],
    ['10.0.0.1:', 'an empty port'],
    ['10.0.0.1:x', 'a port that is none'],
    ['10.0.0.1:99999', 'a port that no port is'],
    ['10.0.0.1:80:80', 'two ports'],
    ['10.0.0:80', 'three numbers'],
    ['10.0.0.1.2:80', 'five numbers'],
    ['10.0.0.257:80', 'a number that is too large'],
    ['10.0.0.:80', 'a number that is missing'],
    ['2001:db8::1:80', 'IPv6 without brackets'],
    ['[2001:db8::1]80', 'IPv6 without a colon'],
    ['[2001:db8::1', 'IPv6 cut off'],
    ['[2001:db8:::1]:80', 'three colons'],
    ['[1:2:3:4:5:6:7:8:9]:80', 'nine groups'],
    ['[1:2:3:4:5:6:7]:80', 'seven groups'],
    ['[::1::2]:80', 'two gaps'],
    ['[::12345]:80', 'a group of five digits'],
    ['[::ffff:10.0.0]:80', 'half an IPv4 address in IPv6'],
    ['[10.0.0.1]:80', 'IPv4 in brackets'],
    ['envoy://inner/1', 'an internal listener that does not say what is behind it'],
    ['\0\0\0\0', 'no text'],
    [`${'1'.repeat(100_000)}:80`, 'something absurdly long'],
  ])('at %s stays unknown: %s', (address) => {
    const discovery = mesh();
    expect(discovery.client(address)).toBeUndefined();
    expect(discovery.server(address)).toBeUndefined();
  });

  test('and without an address stays unknown', () => {
    const discovery = mesh();
    const stream = exchange(discovery.worker, {});
    expect([learned(stream, 'downstream'), learned(stream, 'upstream')]).toEqual([undefined, undefined]);
  });

  test('gets no peer headers in the answer: it did not ask', () => {
    const discovery = mesh();
    expect(exchange(discovery.worker, { 'source.address': text('10.0.0.1:80') }).response).toEqual([]);
  });
});

describe('behind an internal listener (HBONE)', () => {
  test('a server is the one that its endpoint leads to', () => {
    const more = { 'upstream.address': text(ADDRESS), [BEHIND]: text('10.0.0.2:80') };
    expect(learned(exchange(mesh().worker, {}, more), 'upstream')?.NAME).toBe('reviews');
  });

  test('of another network it is unknown: the address is one of that network’s', () => {
    const more = { 'upstream.address': text(ADDRESS), [BEHIND]: text('10.0.0.2:80'), [DOUBLE]: Buffer.alloc(0) };
    expect(learned(exchange(mesh().worker, {}, more), 'upstream')).toBeUndefined();
  });

  test('what an endpoint says beside an address of its own does not matter', () => {
    const more = { 'upstream.address': text('10.0.0.1:80'), [BEHIND]: text('10.0.0.2:80') };
    expect(learned(exchange(mesh().worker, {}, more), 'upstream')?.NAME).toBe('sleep');
  });
});

describe('the order of a list', () => {
  const addresses = { 'source.address': text('10.0.0.1:80') };
  const answered = { 'upstream.address': text('10.0.0.2:80') };
  const headers = { request: said('told'), response: said('told') };

  test('headers first: what a peer says of itself is more than its address', () => {
    const stream = exchange(mesh().worker, addresses, answered, headers);
    expect(learned(stream, 'downstream')?.NAME).toBe('told');
    expect(learned(stream, 'upstream')?.NAME).toBe('told');
  });

  test('discovery first: the control plane’s word is more than the peer’s', () => {
    const list = [{ workload_discovery: {} }, { istio_headers: {} }];
    const worker = mesh({ ...BOTH_SIDES, downstream_discovery: list, upstream_discovery: list }).worker;
    const stream = exchange(worker, addresses, answered, headers);
    expect(learned(stream, 'downstream')?.NAME).toBe('sleep');
    expect(learned(stream, 'upstream')?.NAME).toBe('reviews');
    const other = { 'source.address': text('10.0.0.9:80') };
    expect(learned(exchange(worker, other, {}, headers), 'downstream')?.NAME, 'and where it knows nobody').toBe('told');
  });

  test('a side whose list does not name it is not looked up', () => {
    const stream = exchange(
      mesh({ upstream_discovery: [{ workload_discovery: {} }] }).worker,
      addresses,
      answered,
      headers,
    );
    expect(learned(stream, 'downstream')).toBeUndefined();
    expect(learned(stream, 'upstream')?.NAME).toBe('reviews');
  });

  test('the headers of a list that asks discovery alone reach nobody, as always', () => {
    const config = { downstream_discovery: [{ workload_discovery: {} }], upstream_discovery: [] };
    const stream = exchange(mesh(config).worker, addresses, {}, headers);
    expect(stream.response, 'and it is not answered').toEqual(expect.not.arrayContaining([[ID, 'own-id']]));
  });
});

test('what istiod ships to sidecars works as it is', () => {
  const discovery = mesh({
    upstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }],
    upstream_propagation: [{ istio_headers: {} }],
  });
  const stream = exchange(discovery.worker, {}, { 'upstream.address': text('10.0.0.2:80') });
  expect(learned(stream, 'upstream')?.NAME).toBe('reviews');
  expect(
    stream.request.map(([name]) => name),
    'and tells who we are',
  ).toEqual([METADATA, ID]);
});

test('lookups are counted by what they found', () => {
  const discovery = mesh().settle();
  const counts = () => [discovery.metric('discovery_found'), discovery.metric('discovery_unknown')];
  expect(counts()).toEqual([0, 0]);
  discovery.client('10.0.0.1:80');
  discovery.server('10.0.0.2:80');
  discovery.client('10.0.0.9:80');
  discovery.settle();
  expect(counts()).toEqual([2, 1]);
});

test('a configuration of discovery alone keeps the stream, and publishes and sends nothing by itself', () => {
  const discovery = new Discovery({ config: { workload_discovery: {} } });
  discovery.istiod.serve(pod('sleep', ['10.0.0.1']));
  discovery.settle();
  expect(discovery.istiod.open).toHaveLength(1);
  expect(discovery.metric('discovery_workloads')).toBe(1);
  expect(discovery.proxy.complaints()).toEqual([]);
});
