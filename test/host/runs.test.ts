// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { Host, Stream } from '../../testkit/host/host.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { clients, EXTERNAL, FOUR, HEADERS, INBOUND, learned, OWN, proxy } from '../support/module_stand.ts';

/**
 * A request is itself however often the chain runs on it. Here a second run is a new stream with the headers and the
 * filter state that the first one left; what makes Envoy run a chain again is in test/envoy/runs.test.ts.
 */

describe('a redirect', () => {
  test.each(clients)('inbound, of a client that sent %s', (_, sent, answered, client) => {
    const host = proxy(INBOUND);
    const root = host.configure() as number;
    let stream = host.stream(root).onRequest(...sent);
    for (let run = 0; run < 3; run++) stream = stream.onResponse().redirect();
    stream.onResponse();
    expect(stream.response.map(([name]) => name)).toEqual(answered);
    expect(stream.request).toEqual([]);
    expect(learned(stream).client).toEqual(client);
  });

  test.each(clients)('in the middle, of a client that sent %s', (_, sent, answered, client) => {
    const host = proxy();
    const root = host.configure() as number;
    let stream = host.stream(root).onRequest(...sent);
    for (let run = 0; run < 3; run++) stream = stream.onResponse([ID, `server-${run}`]).redirect();
    stream.onResponse([ID, 'last']);
    expect(stream.response.map(([name]) => name)).toEqual(answered);
    expect(stream.request).toEqual(OWN);
    expect(learned(stream)).toEqual({
      client,
      server: { name: undefined, id: 'last' },
    });
  });

  test.each(clients)(
    'from inside of the mesh to the outside and back, of a client that sent %s',
    (_, sent, answered, client) => {
      for (const places of [
        [0, 1],
        [1, 0],
        [0, 1, 0],
        [1, 0, 1],
      ]) {
        const host = proxy();
        const root = host.configure(JSON.stringify(FOUR)) as number;
        let stream: Stream | undefined;
        for (const outside of places) {
          host.properties[EXTERNAL] = Buffer.from([outside]);
          stream = stream ? stream.onResponse([ID, 'before']).redirect() : host.stream(root).onRequest(...sent);
          expect(stream.request, `told: ${!outside}`).toEqual(outside ? [] : OWN);
        }
        stream?.onResponse();
        const outside = places.at(-1) === 1;
        expect(stream?.response.map(([name]) => name)).toEqual(outside ? [] : answered);
        expect(learned(stream as Stream)).toEqual({ client, server: NOBODY_LEFT });
      }
    },
  );

  /** What is left of a server that was known in an earlier run: cleared, since it cannot be deleted. */
  const NOBODY_LEFT = { name: undefined, id: '' };

  test('a peer of the very name and metadata that are ours is not taken for an earlier run', () => {
    const host = proxy();
    const root = host.configure() as number;
    const stream = host
      .stream(root)
      .onRequest(...OWN)
      .onResponse();
    expect(learned(stream).client).toEqual({ name: 'own', id: 'own-id' });
    expect(stream.response).toEqual(OWN);
  });

  test('of another proxy’s, which left its header, is a request as any other', () => {
    const host = proxy();
    const root = host.configure('{"downstream_discovery": [{"baggage": {}}]}') as number;
    const stream = host
      .stream(root)
      .onRequest(['x-envoy-original-url', 'http://test/from'], ['baggage', 'k8s.namespace.name=default']);
    expect(Object.keys(stream.filterState)).toEqual(['envoy.wasm.metadata_exchange.downstream']);
  });

  test('of a client known by baggage: it is known, and not answered with headers that it did not ask for', () => {
    const config = {
      downstream_discovery: [...HEADERS, { baggage: {} }],
      downstream_propagation: HEADERS,
      upstream_propagation: [...HEADERS, { baggage: {} }],
    };
    const host = proxy();
    const root = host.configure(JSON.stringify(config)) as number;
    let stream = host.stream(root).onRequest(['baggage', 'k8s.instance.name=client,mine=1']);
    for (let run = 0; run < 3; run++) {
      expect(stream.request.find(([name]) => name === 'baggage')).toEqual(['baggage', 'mine=1,k8s.instance.name=own']);
      expect(learned(stream).client.name).toBe('client');
      expect(stream.onResponse().response).toEqual([]);
      stream = stream.redirect();
    }
  });

  test('to the outside takes back the baggage that was written inside', () => {
    const config = { upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }, { baggage: {} }] };
    const host = proxy();
    const root = host.configure(JSON.stringify(config)) as number;
    const stream = host.stream(root).onRequest(['baggage', 'mine=1']).onResponse();
    host.properties[EXTERNAL] = Buffer.from([1]);
    expect(stream.redirect().request).toEqual([['baggage', 'mine=1']]);
  });
});

describe('a reader in the listener and a teller in the cluster', () => {
  const reader = JSON.stringify({ downstream_discovery: HEADERS, downstream_propagation: HEADERS });
  const teller = JSON.stringify({ upstream_discovery: HEADERS, upstream_propagation: HEADERS });

  /** One try: the listener's filter, and the cluster's on what it left. Responses pass them the other way round. */
  function tryOnce(host: Host, roots: [number, number], from: Stream, ...response: [string, string][]) {
    const cluster = host.stream(roots[1]);
    Object.assign(cluster.filterState, from.filterState);
    Object.assign(cluster.notes, from.notes);
    cluster.onRequest(...from.request).onResponse(...response);
    Object.assign(from.filterState, cluster.filterState);
    Object.assign(from.notes, cluster.notes);
    from.request = cluster.request;
    from.onResponse(...cluster.response);
    cluster.end();
    return cluster;
  }

  test.each(clients)(
    'tell the client apart from ourselves after a redirect, if it sent %s',
    (_, sent, answered, client) => {
      const host = proxy();
      const roots: [number, number] = [host.configure(reader) as number, host.configure(teller) as number];
      let stream = host.stream(roots[0]).onRequest(...sent);
      for (let run = 0; run < 3; run++) {
        const cluster = tryOnce(host, roots, stream, [METADATA, struct.header({ NAME: `server-${run}` })], [ID, 's']);
        expect(cluster.request).toEqual(OWN);
        expect(stream.response.map(([name]) => name)).toEqual(answered);
        expect(learned(stream)).toEqual({ client, server: { name: `server-${run}`, id: 's' } });
        stream = stream.redirect();
      }
    },
  );

  test('a retry’s server takes the place of the one before, whatever it says', () => {
    const host = proxy();
    const roots: [number, number] = [host.configure(reader) as number, host.configure(teller) as number];
    const stream = host.stream(roots[0]).onRequest();
    tryOnce(host, roots, stream, [METADATA, struct.header({ NAME: 'first' })], [ID, 'first']);
    tryOnce(host, roots, stream, [ID, 'second']);
    expect(learned(stream).server).toEqual({ name: undefined, id: 'second' });
    tryOnce(host, roots, stream, [METADATA, struct.header({ NAME: 'third' })]);
    expect(learned(stream).server).toEqual({ name: 'third', id: '' });
    tryOnce(host, roots, stream);
    expect(learned(stream).server).toEqual({ name: undefined, id: '' });
  });
});
