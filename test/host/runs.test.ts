// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host, type Stream } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/**
 * A request is itself however often the chain runs on it. Here a second run is a new stream with the headers and the
 * filter state that the first one left; what makes Envoy run a chain again is in test/envoy/runs.test.ts.
 */

const PEER = struct.header({ NAME: 'peer' });
const OWN: [string, string][] = [
  [METADATA, struct.header({ NAME: 'own' })],
  [ID, 'own-id'],
];
const HEADERS = [{ istio_headers: {} }];
const FOUR = {
  downstream_discovery: HEADERS,
  upstream_discovery: HEADERS,
  downstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
  upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
};
const EXTERNAL = 'xds.cluster_metadata.filter_metadata.istio.external';
const direction = (value: number) => Buffer.from([value, 0, 0, 0, 0, 0, 0, 0]);
const [MIDDLE, INBOUND, OUTBOUND] = [0, 1, 2];

function proxy(value = MIDDLE): Host {
  return new Host({ 'xds.node': NODE, 'xds.listener_direction': direction(value) });
}

/** What a stream learned: NAME and id of each side. */
function learned({ filterState }: Stream) {
  const side = (name: string) => {
    const key = `envoy.wasm.metadata_exchange.${name}`;
    const bytes = filterState[key];
    return {
      name: bytes && (struct.read(bytes) as { NAME?: string }).NAME,
      id: filterState[`${key}_id`]?.toString(),
    };
  };
  return { client: side('downstream'), server: side('upstream') };
}

const NOBODY = { name: undefined, id: undefined };
const clients: [string, [string, string][], string[], object][] = [
  [
    'both',
    [
      [METADATA, PEER],
      [ID, 'peer'],
    ],
    [METADATA, ID],
    { name: 'peer', id: 'peer' },
  ],
  ['an id', [[ID, 'peer']], [ID], { name: undefined, id: 'peer' }],
  ['metadata', [[METADATA, PEER]], [METADATA], { name: 'peer', id: undefined }],
  ['nothing', [], [], NOBODY],
  [
    'empty headers',
    [
      [METADATA, ''],
      [ID, ''],
    ],
    [METADATA, ID],
    NOBODY,
  ],
  ['an empty id', [[ID, '']], [ID], NOBODY],
  [
    'what cannot be read',
    [
      [METADATA, '!'],
      [ID, 'a\xff'],
    ],
    [METADATA, ID],
    NOBODY,
  ],
];

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

  test('with other header names: upstream the last one’s, whole, the other way round', () => {
    const host = proxy(OUTBOUND);
    const first = host.configure() as number;
    const second = host.configure(JSON.stringify({ headers: { metadata: 'x-b-metadata', id: 'x-b-id' } })) as number;
    const both = through(
      host,
      first,
      second,
      [],
      [
        ['x-b-metadata', PEER],
        ['x-b-id', 'b'],
        [METADATA, struct.header({ NAME: 'a' })],
      ],
    );
    expect(both.server).toEqual({ name: 'a', id: '' });
  });

  test('with other header names: upstream the last one’s, whole', () => {
    const host = proxy(OUTBOUND);
    const first = host.configure() as number;
    const second = host.configure(JSON.stringify({ headers: { metadata: 'x-b-metadata', id: 'x-b-id' } })) as number;
    const both = through(
      host,
      first,
      second,
      [],
      [
        ['x-b-metadata', PEER],
        ['x-b-id', 'b'],
        [ID, 'a'],
      ],
    );
    expect(both.server).toEqual({ name: undefined, id: 'a' });
  });

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
