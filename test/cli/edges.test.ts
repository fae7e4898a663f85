// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type Edge, isError, mapOf, quantile } from '../../cli/map/edges.ts';
import { increase, type Sample, samplesOf } from '../../cli/map/samples.ts';

/** From Prometheus pages to who calls whom. */

const PRODUCTPAGE = { source_workload: 'productpage-v1', source_workload_namespace: 'default' };
const REVIEWS = { destination_workload: 'reviews-v1', destination_workload_namespace: 'default' };
const HTTP = { request_protocol: 'http', response_code: '200' };
const CALL = { ...PRODUCTPAGE, ...REVIEWS, ...HTTP };

const requests = (value: number, labels: Record<string, string>): Sample => ({
  name: 'istio_requests_total',
  labels: { reporter: 'source', ...CALL, ...labels },
  value,
});

/** A histogram of how long requests took: how many there are up to each bound. */
const durations = (upTo: Record<string, number>, labels: Record<string, string> = {}): Sample[] =>
  Object.entries(upTo).map(([le, value]) => ({
    name: 'istio_request_duration_milliseconds_bucket',
    labels: { reporter: 'source', ...CALL, ...labels, le },
    value,
  }));

/** An edge in a line. */
const line = ({ source, destination, requests, errors }: Edge) =>
  `${source.name} ${source.kind} → ${destination.name} ${destination.kind}: ${requests}, ${errors} errors`;

describe('a page of Prometheus’ text format', () => {
  const read = (page: string) => samplesOf(page, 'istio_');

  test('has comments, other metrics, and values of several spellings', () => {
    const page = [
      '# TYPE istio_requests_total counter',
      'istio_requests_total{reporter="source",response_code="200"} 3',
      'istio_bare 1.5e+06 1700000000000',
      'istio_spaces{ a = "b" , } +Inf\r',
      '',
      'envoy_server_live{} 1',
      'envoy what is this',
    ].join('\n');
    expect(read(page)).toEqual([
      { name: 'istio_requests_total', labels: { reporter: 'source', response_code: '200' }, value: 3 },
      { name: 'istio_bare', labels: {}, value: 1_500_000 },
      { name: 'istio_spaces', labels: { a: 'b' }, value: Number.POSITIVE_INFINITY },
    ]);
  });

  test('escapes what would end a label', () => {
    const [sample] = read('istio_requests_total{source_workload="a\\"} 9\\nb\\\\n,c=\\"",d="e"} 1');
    expect(sample.labels).toEqual({ source_workload: 'a"} 9\nb\\n,c="', d: 'e' });
    expect(sample.value).toBe(1);
  });

  test('is read the same where the series of the page before are known, and those only', () => {
    const pages = ['istio_x{a="}"} 1\nistio_y{b="c"} 2\nistio_z 3', 'istio_x{a="}"} 4\nistio_z 5', 'istio_y{b="c"} 6'];
    const known = new Map();
    for (const page of pages) expect(samplesOf(page, 'istio_', known)).toEqual(read(page));
    expect([...known.keys()]).toEqual(['istio_y{b="c"}']);
    expect(() => samplesOf('istio_y{b="c"} 6 7 8', 'istio_', known)).toThrow('line 1 is not a sample');
  });

  test.each([
    'istio_x{a="b" 1',
    'istio_x{a="b}',
    'istio_x{a=b} 1',
    'istio_x{a="b"c="d"} 1',
    'istio_x',
    'istio_x 1 2 3',
  ])('is refused with a line such as %s', (line) => {
    expect(() => read(`\n${line}`)).toThrow('line 2 is not a sample');
  });
});

test('between two pages counters grow, series are born, and an Envoy starts anew', () => {
  const before = [requests(10, {}), requests(7, { response_code: '503' })];
  const after = [requests(15, {}), requests(2, { response_code: '503' }), requests(3, { response_code: '404' })];
  expect(increase(before, after).map(({ value }) => value)).toEqual([5, 2, 3]);
});

describe('one edge', () => {
  test('for each pair of workloads, whatever the labels beside that', () => {
    const { edges } = mapOf(
      [
        requests(8, { source_version: 'v1' }),
        requests(1, { response_code: '503', response_flags: 'UF' }),
        requests(1, { response_code: '0', response_flags: 'DC' }),
        ...durations({ '10': 5, '100': 10, '+Inf': 10 }),
      ],
      5,
    );
    expect(edges).toEqual([
      {
        source: { kind: 'workload', name: 'productpage-v1', namespace: 'default' },
        destination: { kind: 'workload', name: 'reviews-v1', namespace: 'default' },
        protocol: 'http',
        reporter: 'source',
        seen_by: ['source'],
        requests: 10,
        rate: 2,
        errors: 2,
        p50: 10,
        p99: expect.closeTo(98.2, 5),
        connections: null,
      },
    ]);
  });

  test('where both sides saw it: the client’s numbers, not the sum', () => {
    const seen = [requests(9, { reporter: 'destination' }), requests(10, {}), ...durations({ '+Inf': 9 })];
    const [edge] = mapOf(seen, null).edges;
    expect(edge).toMatchObject({ requests: 10, rate: null, reporter: 'source', seen_by: ['source', 'destination'] });
  });

  test('where the client saw nothing in this time: the server’s numbers', () => {
    const [edge] = mapOf([requests(0, {}), requests(4, { reporter: 'destination' })], 2).edges;
    expect(edge).toMatchObject({ requests: 4, rate: 2, reporter: 'destination' });
  });

  test('for the replicas of a workload together', () => {
    const replica = () => [requests(5, {}), ...durations({ '10': 4, '+Inf': 5 })];
    const [edge] = mapOf([...replica(), ...replica()], 5).edges;
    expect(edge).toMatchObject({ requests: 10, rate: 2 });
  });

  test('is its own for each protocol, and for workloads of the same name in other namespaces', () => {
    const samples = [
      requests(1, {}),
      requests(1, { request_protocol: 'grpc' }),
      requests(1, { source_workload_namespace: 'testing' }),
    ];
    const edges = mapOf(samples, 5).edges.map(({ source, protocol }) => `${source.namespace} ${protocol}`);
    expect(edges).toEqual(['default grpc', 'default http', 'testing http']);
  });

  test('is there without requests in this time, so that the map does not flicker', () => {
    const [edge] = mapOf([requests(0, {}), ...durations({ '10': 0, '+Inf': 0 })], 5).edges;
    expect(edge).toMatchObject({ requests: 0, rate: 0, errors: 0, p50: null, p99: null });
  });
});

test('who is not known as a workload is known as a service, or unknown', () => {
  const nobody = { source_workload: 'unknown', source_canonical_service: 'unknown' };
  const noAnswer = { destination_workload: 'unknown', response_code: '503' };
  const samples = [
    requests(3, { ...noAnswer, destination_service: 'reviews.default.svc.cluster.local' }),
    requests(2, { ...nobody }),
    requests(1, { source_workload: '-' }),
    requests(1, { source_workload: '', source_canonical_service: 'ingress' }),
  ];
  expect(mapOf(samples, 5).edges.map(line)).toEqual([
    'ingress service → reviews-v1 workload: 1, 0 errors',
    'productpage-v1 workload → reviews.default.svc.cluster.local service: 3, 3 errors',
    'unknown unknown → reviews-v1 workload: 3, 0 errors',
  ]);
});

describe('TCP', () => {
  const TCP = { response_code: '', request_protocol: 'tcp' };
  const connections = (counts: Record<string, number>, labels: Record<string, string> = {}): Sample[] =>
    Object.entries(counts).map(([what, value]) => ({
      ...requests(value, { ...TCP, ...labels }),
      name: `istio_tcp_${what}_total`,
    }));

  test('is an edge of its own, with connections and bytes each way', () => {
    const grown = connections({ connections_opened: 2, connections_closed: 1, received_bytes: 500, sent_bytes: 9000 });
    const standing = connections({ connections_opened: 12, connections_closed: 8 });
    const [http, tcp, ...others] = mapOf([requests(5, {}), ...grown], 5, { standing }).edges;
    expect(others).toEqual([]);
    expect(http).toMatchObject({ protocol: 'http', requests: 5, connections: null });
    expect(tcp).toMatchObject({ protocol: 'tcp', requests: 0, p99: null, reporter: 'source' });
    expect(tcp.connections).toEqual({ opened: 2, open: 4, received: 500, sent: 9000 });
  });

  test('of which only the server’s proxy saw anything has its numbers', () => {
    const grown = [...connections({ sent_bytes: 0 }), ...connections({ sent_bytes: 7 }, { reporter: 'destination' })];
    expect(mapOf(grown, 5).edges[0]).toMatchObject({ reporter: 'destination', connections: { sent: 7 } });
  });

  test('was read between two counters: no number is below zero', () => {
    const standing = connections({ connections_opened: 1, connections_closed: 2 });
    expect(mapOf([], 5, { standing }).edges[0].connections?.open).toBe(0);
  });
});

describe('versions, where they are asked for', () => {
  const versions = (...labels: Record<string, string>[]) =>
    mapOf(
      labels.map((each) => requests(1, each)),
      5,
      { byVersion: true },
    ).edges.map(({ source, requests }) => `${source.name} ${source.version}: ${requests}`);

  test('make several workloads of one', () => {
    const found = versions({ source_version: 'v1' }, { source_version: 'v2' }, { source_version: 'v1' });
    expect(found).toEqual(['productpage-v1 v1: 2', 'productpage-v1 v2: 1']);
  });

  test('are the canonical revision where there is no label, and nothing where there is none', () => {
    const of = (revision: string) => ({ source_version: 'unknown', source_canonical_revision: revision });
    expect(versions(of('v3'))).toEqual(['productpage-v1 v3: 1']);
    expect(versions(of('latest'))).toEqual(['productpage-v1 : 1']);
  });

  test('of which there is only one are that one, whoever does not say so', () => {
    expect(versions({ source_version: 'v1' }, {})).toEqual(['productpage-v1 v1: 2']);
  });
});

test('labels that claim to be something else make an edge of that name and nothing more', () => {
  const hostile = '__proto__","x';
  const samples = [requests(1, { source_workload: hostile }), requests(1, { reporter: '__proto__' })];
  expect(mapOf(samples, 5).edges.map(({ source }) => source.name)).toEqual([hostile, 'productpage-v1']);
});

test.each([
  ['200', '', false],
  ['404', '', false],
  ['499', '', false],
  ['500', '', true],
  ['503', '14', true],
  ['0', '', true],
  ['200', '0', false],
  ['200', '5', false],
  ['200', '14', true],
  ['', '', false],
])('a request with the code %s and gRPC status “%s” has failed: %s', (code, grpc, failed) => {
  expect(isError({ response_code: code, grpc_response_status: grpc })).toBe(failed);
});

describe('percentiles, as Prometheus estimates them', () => {
  const of = (part: number, buckets: Record<string, number>) =>
    quantile(part, new Map(Object.entries(buckets).map(([le, count]) => [Number(le), count])));

  test.each([
    ['in the middle of a bucket', 0.5, { 10: 0, 20: 10, Infinity: 10 }, 15],
    ['in the first bucket, which begins at 0', 0.5, { 10: 10, Infinity: 10 }, 5],
    ['at the bound of two buckets', 0.5, { 10: 5, 20: 10, Infinity: 10 }, 10],
    ['beyond the last bound', 0.99, { 10: 5, 20: 6, Infinity: 10 }, 20],
    ['over empty buckets', 0.99, { 10: 0, 20: 0, 30: 10, Infinity: 10 }, 29.9],
    ['with no values', 0.5, { 10: 0, Infinity: 0 }, null],
    ['with no buckets', 0.5, {}, null],
    ['of proxies with different bounds', 0.5, { 10: 6, 20: 2, 30: 10, Infinity: 10 }, 25 / 3],
  ])('%s', (_, part, buckets, expected) => {
    const found = of(part, buckets as Record<string, number>);
    if (expected === null) expect(found).toBeNull();
    else expect(found).toBeCloseTo(expected);
  });
});
