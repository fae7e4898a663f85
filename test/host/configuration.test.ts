// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { struct } from '../../testkit/struct.ts';

const LISTED = [{ istio_headers: {} }];

/** Loads a configuration; the complaint if it is refused. */
function refusal(config: string | Buffer): string | undefined {
  const host = new Host({ 'xds.node': NODE });
  const root = host.configure(config);
  const errors = host.log.filter(({ level }) => level >= 4).map(({ text }) => text);
  if (root !== undefined) expect(errors).toEqual([]);
  else expect(errors.length, 'one refusal, one line').toBe(1);
  return errors[0]?.replace('metadata_exchange: configuration refused at ', '');
}

describe('what is refused, and what its author reads in the log', () => {
  test.each([
    // What is not JSON.
    ['{', 'byte 1: the text ends too soon'],
    ['nonsense', 'byte 0: a value was expected'],
    ['{"headers": {}', 'byte 14: the text ends too soon'],
    ['{"headers": {},}', 'byte 15: nothing follows a comma'],
    ['{"headers": {} "node_key": "id"}', 'byte 15: a comma was expected'],
    ['{"headers" {}}', 'byte 11: a colon was expected'],
    ['{headers: {}}', 'byte 1: a key was expected'],
    ['{"node_key": "id"} {}', 'byte 19: something follows the end'],
    ['{"node_key": "id', 'byte 16: node_key: a string does not end'],
    ['{"node_key": "\\x"}', 'byte 14: node_key: an escape is not known'],
    ['{"node_key": "\\ud800"}', 'byte 14: node_key: half a surrogate pair'],
    ['{"node_key": "a\nb"}', 'byte 15: node_key: a control character stands in a string'],
    ['{"node_key": truth}', 'byte 13: node_key: a value was expected'],
    // What is not an object, or of the wrong type.
    ['[]', 'byte 0: expected an object, found a list'],
    ['"text"', 'byte 0: expected an object, found a string'],
    ['null', 'byte 0: expected an object, found null'],
    ['{"headers": []}', 'byte 12: headers: expected an object, found a list'],
    ['{"headers": {"metadata": 5}}', 'byte 25: headers.metadata: expected a string, found a number'],
    ['{"headers": {"id": true}}', 'byte 19: headers.id: expected a string, found a boolean'],
    ['{"metadata_key": {}}', 'byte 17: metadata_key: expected a string, found an object'],
    ['{"upstream_discovery": {}}', 'byte 23: upstream_discovery: expected a list, found an object'],
    ['{"upstream_discovery": [[]]}', 'byte 24: upstream_discovery[0]: expected an object, found a list'],
    [
      '{"upstream_discovery": [{"istio_headers": {}}, {"istio_headers": 1}]}',
      'byte 65: upstream_discovery[1].istio_headers: expected an object, found a number',
    ],
    // What nobody knows.
    ['{"headres": {}}', 'byte 1: headres: is not a known field'],
    ['{"headers": {"name": "x"}}', 'byte 13: headers.name: is not a known field'],
    [`{"${'x'.repeat(99)}": 1}`, `byte 1: ${'x'.repeat(64)}...: is not a known field`],
    [
      '{"downstream_discovery": [{"workload_lookup": {}}]}',
      'byte 27: downstream_discovery[0].workload_lookup: is not a method that this version has: istio_headers, baggage, endpoint_metadata and workload_discovery are',
    ],
    [
      '{"downstream_discovery": [{"istio_headers": {"skip": true}}]}',
      'byte 45: downstream_discovery[0].istio_headers.skip: is not a known field',
    ],
    // What is known and makes no sense.
    ['{"max_header_size": "8192"}', 'byte 20: max_header_size: expected a number, found a string'],
    ['{"max_header_size": 0}', 'byte 20: max_header_size: must be a whole number from 1 to 65536'],
    ['{"max_header_size": 65537}', 'byte 20: max_header_size: must be a whole number from 1 to 65536'],
    ['{"max_header_size": 99999999999999999999}', 'byte 20: max_header_size: must be a whole number from 1 to 65536'],
    ['{"maxPeerCacheSize": 4097}', 'byte 21: maxPeerCacheSize: must be a whole number from 0 to 4096'],
    ['{"maxPeerCacheSize": -1}', 'byte 21: maxPeerCacheSize: must be a whole number from 0 to 4096'],
    ['{"maxPeerCacheSize": 1.5}', 'byte 21: maxPeerCacheSize: must be a whole number from 0 to 4096'],
    ['{"maxPeerCacheSize": 5e2}', 'byte 21: maxPeerCacheSize: must be a whole number from 0 to 4096'],
    ['{"maxPeerCacheSize": 007}', 'byte 24: maxPeerCacheSize: a number is malformed'],
    ['{"maxPeerCacheSize": 7.}', 'byte 23: maxPeerCacheSize: a number is malformed'],
    ['{"metadata_fields": "NAME"}', 'byte 20: metadata_fields: expected a list, found a string'],
    ['{"metadata_fields": ["NAME", 1]}', 'byte 29: metadata_fields[1]: expected a string, found a number'],
    ['{"metadata_fields": [""]}', 'byte 21: metadata_fields[0]: must not be empty'],
    [
      JSON.stringify({ metadata_fields: Array(101).fill('A') }),
      'byte 420: metadata_fields[100]: is one too many: there may be 100',
    ],
    ['{"publish_fields": ["NAME", ""]}', 'byte 28: publish_fields[1]: must not be empty'],
    [
      JSON.stringify({ publish_fields: ['x'.repeat(81)] }),
      'byte 19: publish_fields[0]: is too long, its most bytes are 80',
    ],
    ['{"publish_fields": ["a b"]}', 'byte 20: publish_fields[0]: must be printable ASCII, without spaces'],
    ['{"publish_fields": ["\\u0000"]}', 'byte 20: publish_fields[0]: must be printable ASCII, without spaces'],
    [
      JSON.stringify({ publish_fields: Array(17).fill('A') }),
      'byte 83: publish_fields[16]: is one too many: there may be 16',
    ],
    ['{"node_key": "name"}', 'byte 13: node_key: must be "id" or "cluster"'],
    ...['', ', "metadata_fields": null'].map((more) => [
      `{"metadata_key": ""${more}}`,
      'byte 0: metadata_key "" means the whole node, and only with metadata_fields, that say what may leave',
    ]),
    ['{"node_key": "id", "nodeKey": "id"}', 'byte 19: nodeKey: is given twice'],
    ['{"headers": {}, "headers": {}}', 'byte 16: headers: is given twice'],
    [
      '{"upstream_discovery": [{"istio_headers": {}, "istioHeaders": {}}]}',
      'byte 46: upstream_discovery[0].istioHeaders: is one method too many: each has an object of its own',
    ],
    ['{"headers": {"id": ""}}', 'byte 19: headers.id: must not be empty'],
    ['{"headers": {"id": "x id"}}', 'byte 19: headers.id: is not a valid header name'],
    ['{"headers": {"id": ":path"}}', 'byte 19: headers.id: is not a valid header name'],
    ['{"headers": {"id": "größe"}}', 'byte 19: headers.id: is not a valid header name'],
    ['{"headers": {"id": "a\\r\\nb: c"}}', 'byte 19: headers.id: is not a valid header name'],
    ...['baggage', 'Cookie', 'set-cookie', 'authorization', 'traceparent', 'x-request-id'].map((name) => [
      `{"headers": {"id": "${name}"}}`,
      'byte 19: headers.id: is a header that has another use',
    ]),
    ['{"headers": {"id": "Content-Length"}}', 'byte 19: headers.id: is a header that has another use'],
    [
      '{"headers": {"id": "x-a", "metadata": "X-A"}}',
      'byte 0: headers.metadata and headers.id must be two different headers',
    ],
    [
      '{"headers": {"id": "x-istio-peer-metadata"}}',
      'byte 0: headers.metadata and headers.id must be two different headers',
    ],
    ['{"dialect": "klingon"}', 'byte 12: dialect: must be "generic" or "istio"'],
    [
      '{"dialect": "istio", "headers": {"id": "x-envoy-peer-metadata"}}',
      'byte 0: headers.metadata and headers.id must be two different headers',
    ],
    [
      '{"verify_peer": {"fields": ["NAMESPACE", "NAME"]}}',
      'byte 41: verify_peer.fields[1]: is not a claim that certificates prove',
    ],
    ['{"verify_peer": {"mode": "maybe"}}', 'byte 25: verify_peer.mode: must be "off", "mark", "enforce" or "require"'],
    [
      '{"upstream_propagation": [{"workload_discovery": {}}]}',
      'byte 27: upstream_propagation[0].workload_discovery: is a method for discovery',
    ],
    [
      '{"upstream_discovery": [{"workload_discovery": {"x": 1}}]}',
      'byte 48: upstream_discovery[0].workload_discovery.x: is not a known field',
    ],
    [
      '{"upstream_discovery": [{"upstream_filter_state": {"peer_metadata_key": 1}}]}',
      'byte 72: upstream_discovery[0].upstream_filter_state.peer_metadata_key: expected a string, found a number',
    ],
    [
      '{"downstream_discovery": [{"endpointMetadata": {}}]}',
      'byte 27: downstream_discovery[0].endpointMetadata: is a method for upstream_discovery',
    ],
    [
      '{"downstream_discovery": [{"baggage": {"x": 1}}]}',
      'byte 39: downstream_discovery[0].baggage.x: is not a known field',
    ],
    [
      '{"upstream_propagation": [{"istio_headers": {"skip_external_clusters": 1}}]}',
      'byte 71: upstream_propagation[0].istio_headers.skip_external_clusters: expected a boolean, found a number',
    ],
    // Metrics.
    ['{"metrics": true}', 'byte 12: metrics: expected an object, found a boolean'],
    ['{"metrics": {"on": true}}', 'byte 13: metrics.on: is not a known field'],
    ['{"metrics": {"max_series": 0}}', 'byte 27: metrics.max_series: must be a whole number from 1 to 10000'],
    ['{"metrics": {"maxSeries": 10001}}', 'byte 26: metrics.maxSeries: must be a whole number from 1 to 10000'],
    ['{"metrics": {"labels": ["team"]}}', 'byte 23: metrics.labels: expected an object, found a list'],
    ['{"metrics": {"labels": {"team": ""}}}', 'byte 32: metrics.labels.team: must not be empty'],
    [
      `{"metrics": {"labels": {"team": "${'x'.repeat(81)}"}}}`,
      'byte 32: metrics.labels.team: is too long, its most bytes are 80',
    ],
    ...['', 'my-team', '7', 'größe', 'x'.repeat(41)].map((name) => [
      `{"metrics": {"labels": {"${name}": "NAME"}}}`,
      `byte 24: metrics.labels.${name.replace(/[öß]/g, '??')}: must be a name of letters, digits and _, of at most 40 bytes`,
    ]),
    ...['reporter', 'my_source_app'].map((name) => [
      `{"metrics": {"labels": {"${name}": "NAME"}}}`,
      `byte 24: metrics.labels.${name}: is the name of one of Istio's labels, or ends with it`,
    ]),
    ...['le', '__name__'].map((name) => [
      `{"metrics": {"labels": {"${name}": "NAME"}}}`,
      `byte 24: metrics.labels.${name}: is a name that Prometheus keeps for itself`,
    ]),
    ['{"metrics": {"labels": {"a": "A", "a": "B"}}}', 'byte 34: metrics.labels.a: is given twice'],
    [
      JSON.stringify({ metrics: { labels: Object.fromEntries(Array.from('abcdefghi', (name) => [name, 'A'])) } }),
      'byte 86: metrics.labels.i: is one label too many: there may be 8',
    ],
    // The application.
    ['{"tell_application": true}', 'byte 21: tell_application: expected an object, found a boolean'],
    ['{"tellApplication": {"name": "x"}}', 'byte 21: tellApplication.name: is not a known field'],
    ['{"tell_application": {"header": ""}}', 'byte 32: tell_application.header: must not be empty'],
    ['{"tell_application": {"header": ":path"}}', 'byte 32: tell_application.header: is not a valid header name'],
    ['{"tell_application": {"header": "x\\r\\ny"}}', 'byte 32: tell_application.header: is not a valid header name'],
    ...['Host', 'connection', 'x-forwarded-for', 'X-Forwarded-Network', 'x-envoy-retry-on', 'x-istio-peer-id'].map(
      (name) => [
        `{"tell_application": {"header": "${name}"}}`,
        'byte 32: tell_application.header: is a header that has another use',
      ],
    ),
    ...['id', 'metadata'].map((name) => [
      `{"tell_application": {"header": "X-A"}, "headers": {"${name}": "x-a"}}`,
      'byte 32: tell_application.header must be another header than the two of the exchange',
    ]),
    ['{"tell_application": {"fields": "NAME"}}', 'byte 32: tell_application.fields: expected a list, found a string'],
    [
      '{"tell_application": {"fields": ["a b"]}}',
      'byte 33: tell_application.fields[0]: must be printable ASCII, without spaces',
    ],
    [
      JSON.stringify({ tell_application: { fields: Array(17).fill('A') } }),
      'byte 95: tell_application.fields[16]: is one too many: there may be 16',
    ],
    [
      '{"tell_application": {"only_verified": "yes"}}',
      'byte 39: tell_application.only_verified: expected a boolean, found a string',
    ],
    ...['', ', "verify_peer": {}', ', "verify_peer": {"mode": "off"}'].map((more) => [
      `{"tell_application": {"onlyVerified": true}${more}}`,
      'byte 38: tell_application.only_verified needs verify_peer, with a mode that is not "off"',
    ]),
  ])('%s', (config, complaint) => {
    expect(refusal(config)).toBe(complaint);
  });

  test('strings that are not UTF-8', () => {
    expect(refusal(Buffer.from('{"node_key": "\xff"}', 'latin1'))).toBe('byte 14: node_key: a string is not UTF-8');
  });

  test('lists without end, objects without end: no trap, whatever the depth', () => {
    expect(refusal(`{"upstream_discovery": ${'['.repeat(100_000)}`)).toBe(
      'byte 24: upstream_discovery[0]: expected an object, found a list',
    );
    expect(refusal('{"headers": '.repeat(10_000))).toBe('byte 13: headers.headers: is not a known field');
  });

  test('every shortening of a good configuration, and no shortening traps', () => {
    const good = JSON.stringify({ headers: { id: 'x-\u00e9' }, metadata_key: '\u20ac', upstream_discovery: LISTED });
    const bytes = Buffer.from(good.replace('x-\u00e9', 'x-e'));
    expect(refusal(bytes)).toBeUndefined();
    for (let size = 1; size < bytes.length; size++) expect(refusal(bytes.subarray(0, size)), `${size}`).toBeDefined();
  });
});

describe('what is taken', () => {
  test.each([
    ['nothing', ''],
    ['no fields', '{}'],
    ['white space', ' \t\r\n{ } \n'],
    ['nulls for fields', '{"headers": null, "node_key": null, "upstream_discovery": null}'],
    ['whole numbers as doubles', '{"max_header_size": 500.0, "max_peer_cache_size": -0}'],
    ['escapes in keys and values', '{"\\u006eode_key": "\\u0069d", "metadata_key": "\\ud83d\\ude00\\u00e9\\u20ac"}'],
    ['everything', JSON.stringify(everything())],
  ])('%s', (_, config) => {
    expect(refusal(config)).toBeUndefined();
  });

  test('a large one with escapes, as text and as Struct', () => {
    const paths = Array.from({ length: 100 }, (_, i) => `${i}${'"\n'.repeat(1000)}`);
    expect(refusal(JSON.stringify({ metadata_fields: paths }))).toBeUndefined();
    expect(refusal(struct.write({ metadata_fields: paths }))).toBeUndefined();
  });

  test('a TypedStruct of any type, also without a value', () => {
    const typed = (type: string, value?: Buffer) => {
      const writer = protobuf.Writer.create().uint32(0x0a).string(type);
      return Buffer.from((value ? writer.uint32(0x12).bytes(value) : writer).finish());
    };
    const type = 'type.googleapis.com/io.istio.http.peer_metadata.Config';
    expect(refusal(typed(type, struct.write(everything())))).toBeUndefined();
    expect(refusal(typed(type))).toBeUndefined();
    expect(refusal(typed(type, struct.write({ x: 1 })))).toBe('byte 1: x: is not a known field');
    const named = (name: string) => `byte 0: a message of the type ${name} without a Struct inside is no configuration`;
    expect(refusal(typed(type, Buffer.from('{}')))).toBe(named(type));
    const long = `type.googleapis.com/${'x'.repeat(600)}`;
    expect(refusal(typed(long, Buffer.from('x')))).toBe(named(`${long.slice(0, 64)}...`));
  });

  test('a text that begins as a TypedStruct does', () => {
    // A line break is the tag of a type’s name, and what follows its size.
    const config = `\n{"metadata_key":"istio.io/metadata"${' '.repeat(88)}}`;
    expect(config.length).toBe(2 + 0x7b);
    expect(refusal(config)).toBeUndefined();
  });

  test('a Struct, as Envoy hands it on', () => {
    expect(refusal(struct.write(everything()))).toBeUndefined();
    expect(refusal(struct.write({ headers: { id: 'x-a', metadata: 'x-b' }, node_key: null }))).toBeUndefined();
    expect(refusal(struct.write({ headers: { id: 3 } }))).toBe(
      'byte 17: headers.id: expected a string, found a number',
    );
    expect(refusal(struct.write({ 'a "key"\n': [1.5, true, { a: null }] }))).toBe(
      'byte 1: a "key"?: is not a known field',
    );
  });
});

describe('what Istio’s native filter takes and does nothing here is taken, with one warning', () => {
  const METHODS = [{ istio_headers: { skip_external_clusters: true } }, {}];
  const STATE = { upstream_filter_state: { peer_metadata_key: 'peer' } };
  test.each([
    [{ upstream_discovery: [STATE] }, 'upstream_filter_state'],
    [{ sharedWithUpstream: true }, 'shared_with_upstream'],
    [{ upstream_propagation: [{}] }, 'a method without a name'],
    [
      { shared_with_upstream: true, downstream_discovery: METHODS, upstream_discovery: [...METHODS, STATE] },
      'upstream_filter_state, shared_with_upstream, skip_external_clusters of discovery, ' + 'a method without a name',
    ],
  ])('%j', (config, named) => {
    const host = new Host({ 'xds.node': NODE });
    expect(host.configure(JSON.stringify(config))).toBeDefined();
    const what = 'taken from the configuration, and without effect in this filter';
    expect(host.complaints()).toEqual([`metadata_exchange: ${what}: ${named}`]);
    host.log.length = 0;
    host.configure('{"shared_with_upstream": false, "upstream_discovery": [{"baggage": {}}]}');
    expect(host.complaints(), 'and none for the next configuration').toEqual([]);
  });

  test('a list of such methods alone does nothing', () => {
    const host = new Host({ 'xds.node': NODE });
    const root = host.configure('{"upstream_discovery": [{"upstream_filter_state": {}}, {}]}') as number;
    const peer = ['x-istio-peer-id', 'peer'] as [string, string];
    expect(host.stream(root).onRequest(peer).onResponse(peer).filterState).toEqual({});
  });
});

/** The labels that Istio's metrics have: those that envoy/stats_tags.yaml has rules for. */
const ISTIOS: string[] = parse(readFileSync(join(ROOT, 'envoy/stats_tags.yaml'), 'utf8')).stats_config.stats_tags.map(
  ({ tag_name }: { tag_name: string }) => tag_name,
);

function everything() {
  return {
    headers: { metadata: 'X-Envoy-Peer-Metadata', id: 'x-envoy-peer-metadata-id' },
    metadata_key: 'x',
    node_key: 'cluster',
    downstream_discovery: LISTED,
    upstream_discovery: LISTED,
    downstream_propagation: [],
    upstream_propagation: [...LISTED, ...LISTED],
    metadata_fields: ['NAME', 'LABELS.app'],
    publish_fields: ['NAME', 'LABELS.app.kubernetes.io/name'],
    max_header_size: 65536,
    max_peer_cache_size: 0,
    workload_discovery: { cluster: 'workloads' },
    metrics: { max_series: 10000, labels: { team: 'LABELS.team', app: 'LABELS.app' } },
    tell_application: { header: 'X-Caller', fields: ['NAME', 'LABELS.app'], only_verified: false },
  };
}

test('the JSON Schema says the same as the module', () => {
  const schema = JSON.parse(readFileSync(join(ROOT, 'docs/configuration.schema.json'), 'utf8'));
  const validate = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(schema);
  const examples: unknown[] = [
    {},
    everything(),
    ...Object.entries(everything()).map(([key, value]) => ({ [key]: value })),
    ...Object.keys(everything()).flatMap((key) =>
      [null, true, 5, '', 'text', 'id', [], [{}], [1], [null], {}, { id: 1 }, { id: 'a b' }, { id: 'x', y: 1 }].map(
        (value) => ({
          [key]: value,
        }),
      ),
    ),
    ...[0, 1, 1.5, -1, 4096, 4097, 65536, 65537, 500.0].flatMap((n) => [
      { max_header_size: n },
      { max_peer_cache_size: n },
    ]),
    { metadata_fields: Array(100).fill('A') },
    { metadata_fields: Array(101).fill('A') },
    ...[16, 17].map((count) => ({ publish_fields: Array(count).fill('A') })),
    ...['x'.repeat(80), 'x'.repeat(81), 'a b', 'é', '\u007f', ':'].map((path) => ({ publish_fields: [path] })),
    { metadata_key: '' },
    { metadata_key: '', metadata_fields: null },
    { metadata_key: '', metadata_fields: [] },
    { metadata_key: '', metadata_fields: ['NAME'] },
    { unknown: 1 },
    { upstream_discovery: [{ istio_headers: {}, baggage: {} }] },
    { upstream_discovery: [{ istio_headers: {} }, { endpoint_metadata: {} }] },
    { upstream_discovery: [{ endpoint_metadata: { a: 1 } }] },
    { upstream_propagation: [{ endpoint_metadata: {} }] },
    { upstream_discovery: [{ upstream_filter_state: { peer_metadata_key: null } }, {}, { workload_discovery: {} }] },
    { upstream_discovery: [{ upstream_filter_state: { key: '' } }] },
    { upstream_discovery: [{ workload_discovery: { a: 1 } }] },
    ...['', 'x'.repeat(120), 'x'.repeat(121), null, 5].map((cluster) => ({ workload_discovery: { cluster } })),
    { upstream_propagation: [{ upstream_filter_state: {} }, {}] },
    { downstream_discovery: [{ istio_headers: { skip_external_clusters: true } }] },
    ...[null, {}, { max_series: null }, { max_series: 1 }, { max_series: 10001 }, { labels: null }].map((metrics) => ({
      metrics,
    })),
    ...ISTIOS.flatMap((name) => [name, `x${name}`, `${name}x`]).map((name) => ({
      metrics: { labels: { [name]: 'NAME' } },
    })),
    ...['le', 'Le', 'ale', '__a', '_a', 'a__', 'a b', '7', ''].map((name) => ({
      metrics: { labels: { [name]: 'NAME' } },
    })),
    ...['', 'x'.repeat(80), 'x'.repeat(81), null, 5].map((path) => ({ metrics: { labels: { team: path } } })),
    ...[8, 9].map((count) => ({
      metrics: { labels: Object.fromEntries(Array.from({ length: count }, (_, i) => [`l${i}`, 'A'])) },
    })),
    ...[null, {}, { header: null }, { header: 'x-a' }, { fields: null }, { fields: [] }, { fields: [''] }].map(
      (tell_application) => ({ tell_application }),
    ),
    ...['host', 'x-envoy', 'x-envoy-a', 'x-forwarded-a', 'x-istio-peer-a', 'x-istio-a', 'a-x-envoy-a'].map(
      (header) => ({
        tell_application: { header },
      }),
    ),
    ...['x'.repeat(80), 'x'.repeat(81), 'é'].map((path) => ({ tell_application: { fields: [path] } })),
    ...[true, false, null].flatMap((only_verified) => [
      { tell_application: { only_verified } },
      { tell_application: { only_verified }, verify_peer: null },
      ...['off', 'mark', null].map((mode) => ({ tell_application: { only_verified }, verify_peer: { mode } })),
    ]),
    { shared_with_upstream: true },
    { downstream_propagation: [{ baggage: {} }] },
    { downstream_propagation: [{ baggage: { a: 1 } }] },
    { shared_with_upstream: null },
    { shared_with_upstream: 1 },
    { upstream_discovery: [{ istio_headers: null }] },
    { upstream_discovery: [{ istio_headers: { a: 1 } }] },
    { headers: { id: 'host' } },
    { headers: { id: 'te' } },
    { headers: { id: null, metadata: null } },
    [],
    'text',
    null,
  ];
  const answers = examples.map((example) => [JSON.stringify(example), refusal(JSON.stringify(example)) === undefined]);
  expect(answers).toEqual(examples.map((example) => [JSON.stringify(example), validate(example)]));
  expect(answers.filter(([, taken]) => taken).length, 'both kinds of examples').toBeGreaterThan(15);
});
