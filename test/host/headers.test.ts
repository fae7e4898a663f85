// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { ID, METADATA } from '../../testkit/http.ts';
import { INBOUND, learned, NOBODY, PEER, proxy } from '../support/module_stand.ts';

/** How a message's headers are fetched and read: how many host calls, copies, and what is too large. */

test.each([
  [32, ['get_header_map_pairs']],
  [33, ['get_header_map_value', 'get_header_map_value']],
])('of a message with %i headers, how they are fetched', (count, expected) => {
  const host = proxy(INBOUND);
  const root = host.configure() as number;
  host.calls.length = 0;
  const others = Array.from({ length: count - 2 }, (_, i): [string, string] => [`x-${i}`, 'x']);
  host.stream(root).onRequest(...others, [METADATA, PEER], [ID, 'peer']);
  expect(host.calls.filter((name) => name.includes('get_header')).map((name) => name.replace('proxy_', ''))).toEqual(
    expected,
  );
});

test('baggage that is too large to be fetched is left as it is', () => {
  const host = proxy();
  const root = host.configure(JSON.stringify({ upstream_propagation: [{ baggage: {} }] })) as number;
  for (const size of [60_000, 70_000, 130_000, 200_000]) {
    const baggage = `a=${'x'.repeat(size)}`;
    const [[, sent]] = host.stream(root).onRequest(['baggage', baggage]).request;
    expect([baggage, `${baggage},k8s.instance.name=own`], `${size} bytes`).toContain(sent);
  }
});

describe('copies of a header that came joined by commas', () => {
  test.each([
    ['me, me', 'me'],
    ['me,you', 'me'],
    [', , me ,you', 'me'],
    ['me,', 'me'],
  ])('%j is the id %j', (sent, id) => {
    const host = proxy(INBOUND);
    const stream = host
      .stream(host.configure() as number)
      .onRequest([ID, sent])
      .onResponse();
    expect(learned(stream).client.id).toBe(id);
    expect(stream.response.map(([name]) => name)).toEqual([ID]);
  });

  test('nothing between commas is nobody', () => {
    const host = proxy(INBOUND);
    const stream = host.stream(host.configure() as number).onRequest([ID, ', ,']);
    expect(learned(stream).client).toEqual(NOBODY);
  });

  test('metadata, too', () => {
    const host = proxy(INBOUND);
    const root = host.configure() as number;
    for (const sent of [`${PEER}, ${PEER}`, ` ,${PEER},!`]) {
      expect(learned(host.stream(root).onRequest([METADATA, sent])).client.name, sent).toBe('peer');
    }
    expect(learned(host.stream(root).onRequest([METADATA, `!,${PEER}`])).client.name).toBeUndefined();
  });
});

test('a request of a foreign peer costs no host call more than its headers, its peer and the answer', () => {
  const host = proxy(INBOUND);
  const root = host.configure() as number;
  host.calls.length = 0;
  const stream = host.stream(root).onRequest([METADATA, PEER], [ID, 'peer']);
  expect(host.calls.map((name) => name.replace('proxy_', ''))).toEqual([
    'get_property',
    'get_header_map_pairs',
    'set_property',
    'set_property',
    'remove_header_map_value',
    'remove_header_map_value',
  ]);
  host.calls.length = 0;
  stream.onResponse().end();
  expect(host.calls.map((name) => name.replace('proxy_', ''))).toEqual([
    'replace_header_map_value',
    'replace_header_map_value',
  ]);
});
