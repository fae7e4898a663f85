// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { Host } from '../../testkit/host/host.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import {
  clients,
  HEADERS,
  INBOUND,
  learned,
  MIDDLE,
  NOBODY,
  OUTBOUND,
  OWN,
  PEER,
  proxy,
} from '../support/module_stand.ts';

/**
 * Two filters of ours in one chain: a request runs through both, and they must not take each other for a peer. On a real
 * Envoy: test/envoy/runs.test.ts.
 */

describe('two filters of ours in one chain', () => {
  /** A request through both, and its response back through both. */
  function through(
    host: Host,
    first: number,
    second: number,
    request: [string, string][],
    response: [string, string][],
  ) {
    const outer = host.stream(first).onRequest(...request);
    const inner = host.stream(second);
    Object.assign(inner.filterState, outer.filterState);
    Object.assign(inner.notes, outer.notes);
    inner.onRequest(...outer.request).onResponse(...response);
    Object.assign(outer.filterState, inner.filterState);
    Object.assign(outer.notes, inner.notes);
    outer.onResponse(...inner.response);
    return { request: inner.request, response: outer.response, ...learned(outer) };
  }

  test.each(clients)('that are equal act as one, for a client that sent %s', (_, sent, answered, client) => {
    for (const value of [MIDDLE, INBOUND]) {
      const host = proxy(value);
      const root = host.configure() as number;
      const server: [string, string][] = [
        [METADATA, struct.header({ NAME: 'server' })],
        [ID, 'server'],
      ];
      const both = through(host, root, root, sent, server);
      const one = host
        .stream(root)
        .onRequest(...sent)
        .onResponse(...server);
      expect(both).toEqual({ request: one.request, response: one.response, ...learned(one) });
      expect(both.response.map(([name]) => name)).toEqual(answered);
      expect(both.client).toEqual(client);
    }
  });

  test('do not take what the second one answers for the server', () => {
    const host = proxy();
    const root = host.configure() as number;
    const both = through(
      host,
      root,
      root,
      [
        [METADATA, PEER],
        [ID, 'peer'],
      ],
      [],
    );
    expect(both.server).toEqual(NOBODY);
    expect(both.response).toEqual(OWN);
  });

  test('with other header names: Struct and id are always one peer’s, downstream the first one’s', () => {
    const other = { headers: { metadata: 'x-b-metadata', id: 'x-b-id' } };
    const cases: [[string, string][], object][] = [
      [
        [
          [METADATA, PEER],
          ['x-b-id', 'b'],
        ],
        { name: 'peer', id: undefined },
      ],
      [
        [
          [ID, 'peer'],
          ['x-b-metadata', PEER],
        ],
        { name: undefined, id: 'peer' },
      ],
      [
        [
          ['x-b-metadata', PEER],
          ['x-b-id', 'b'],
        ],
        { name: 'peer', id: 'b' },
      ],
    ];
    for (const [sent, client] of cases) {
      const host = proxy(INBOUND);
      const both = through(host, host.configure() as number, host.configure(JSON.stringify(other)) as number, sent, []);
      expect(both.client).toEqual(client);
      expect(both.request).toEqual([]);
      const names = (headers: [string, string][]) => headers.map(([name]) => name).sort();
      expect(names(both.response), 'each answers under its own names').toEqual(names(sent));
    }
  });

  const lastOnes: [string, [string, string], object][] = [
    ['metadata', [METADATA, struct.header({ NAME: 'a' })], { name: 'a', id: '' }],
    ['an id', [ID, 'a'], { name: undefined, id: 'a' }],
  ];
  test.each(lastOnes)(
    'with other header names: upstream the last one’s %s, and nothing of the other’s',
    (_, said, server) => {
      const host = proxy(OUTBOUND);
      const first = host.configure() as number;
      const second = host.configure(JSON.stringify({ headers: { metadata: 'x-b-metadata', id: 'x-b-id' } })) as number;
      const response: [string, string][] = [['x-b-metadata', PEER], ['x-b-id', 'b'], said];
      expect(through(host, first, second, [], response).server).toEqual(server);
    },
  );

  test('of which one reads headers and one baggage: the first that knows the client counts', () => {
    const host = proxy();
    const headers = host.configure(JSON.stringify({ downstream_discovery: HEADERS })) as number;
    const baggage = host.configure(JSON.stringify({ downstream_discovery: [{ baggage: {} }] })) as number;
    const sent: [string, string][] = [
      [ID, 'peer'],
      ['baggage', 'k8s.instance.name=other'],
    ];
    expect(through(host, headers, baggage, sent, []).client).toEqual({ name: undefined, id: 'peer' });
    expect(through(host, baggage, headers, sent, []).client).toEqual({ name: 'other', id: undefined });
  });

  test('a verdict never outlives the peer that it was on', () => {
    const host = proxy(OUTBOUND);
    host.properties['upstream.uri_san_peer_certificate'] = Buffer.from('spiffe://td/ns/prod/sa/a');
    host.properties['upstream.uri_san_local_certificate'] = Buffer.from('spiffe://td/ns/prod/sa/b');
    const plain = host.configure() as number;
    const config = { headers: { metadata: 'x-b-metadata', id: 'x-b-id' }, verify_peer: { mode: 'mark' } };
    const verifying = host.configure(JSON.stringify(config)) as number;
    const proven = struct.header({ NAMESPACE: 'prod' });
    const outer = host.stream(plain).onRequest();
    const inner = host.stream(verifying);
    Object.assign(inner.filterState, outer.filterState);
    inner.onRequest(...outer.request).onResponse(['x-b-metadata', proven], [METADATA, PEER]);
    expect(inner.filterState['envoy.wasm.metadata_exchange.upstream_verified'].toString()).toBe('verified');
    Object.assign(outer.filterState, inner.filterState);
    outer.onResponse(...inner.response);
    expect(learned(outer).server.name).toBe('peer');
    expect(outer.filterState['envoy.wasm.metadata_exchange.upstream_verified'].toString()).toBe('');
  });
});
