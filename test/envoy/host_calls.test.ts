// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { metadataExchange, proxy, wasm } from '../../testkit/envoy/config.ts';
import { Envoy, localPort } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, type Request, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';
import { calls } from '../support/trace.ts';

/**
 * Host calls are what an exchange costs. Here is every one of them, in order, as a stock Envoy traces them, for each of
 * the cases that `make bench` measures, and for the straight floor that it compares with. A call that returns data calls
 * back into the module for memory.
 */
async function trace(
  direction: 'INBOUND' | 'OUTBOUND' | undefined,
  request: Request,
  filter = metadataExchange(),
  answer = FROM_PEER,
  lastCallback = 'proxy_on_delete',
  { endpoint = {}, cluster = {} } = {},
) {
  await using app = await App.start(() => ({ headers: direction === 'INBOUND' ? [] : answer }));
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: localPort(app.port) }, ...endpoint }] }];
  await using envoy = await Envoy.start(
    proxy({
      node: { metadata: { 'istio.io/metadata': { NAME: 'own' } } },
      listeners: [{ name: 'listener', direction, filters: [filter] }],
      clusters: { app: { port: app.port, load_assignment: { cluster_name: 'app', endpoints }, ...cluster } },
    }),
    { componentLogLevel: 'wasm:trace' },
  );
  const port = await envoy.port('listener');
  const isOver = (log: string) => log.includes(`${lastCallback} return`);
  // The second of two: what is done once for all requests is not what a request costs.
  await send(port, request);
  await envoy.until('the first response went through', () => isOver(envoy.log()));
  const mark = envoy.log().length;
  await send(port, request);
  await envoy.until('the second response went through', () => isOver(envoy.log().slice(mark)));
  return calls(envoy.log().slice(mark)).filter((call) => call !== 'proxy_on_tick');
}

const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const MANY = Array.from({ length: 40 }, (_, i) => [`x-header-${i}`, 'value']).flat();

const DIRECTION = ['  proxy_get_property', '    malloc'];
const PUBLISH = ['  proxy_set_property', '  proxy_set_property'];
const fetchAll = (side: string) => [`  proxy_get_header_map_pairs(${side})`, '    malloc'];
const fetchEach = (side: string) => [
  `  proxy_get_header_map_value(${side})`,
  '    malloc',
  `  proxy_get_header_map_value(${side})`,
  '    malloc',
];
const read = (side: string) => [...fetchAll(side), ...PUBLISH];
const strip = (side: string) => [
  `  proxy_remove_header_map_value(${side})`,
  `  proxy_remove_header_map_value(${side})`,
];
const write = (side: string) => [
  `  proxy_replace_header_map_value(${side})`,
  `  proxy_replace_header_map_value(${side})`,
];

const stream = (request: string[], response: string[], log: string[] = []) => [
  'proxy_on_context_create',
  'proxy_on_request_headers',
  ...request,
  'proxy_on_response_headers',
  ...response,
  'proxy_on_log',
  ...log,
  'proxy_on_delete',
];

/** What an earlier run of the chain left is looked for, where the request has no headers of somebody else. */
const LOOK = ['  proxy_get_property'];
describe('the host calls of one stream', () => {
  test('inbound', async () => {
    const request = [...DIRECTION, ...read('request'), ...strip('request')];
    expect(await trace('INBOUND', { headers: FROM_PEER })).toEqual(stream(request, write('response')));
  });

  test('inbound, a client without peer headers', async () => {
    const request = [...DIRECTION, ...fetchAll('request'), ...LOOK, ...LOOK];
    expect(await trace('INBOUND', {})).toEqual(stream(request, strip('response')));
  });

  test('inbound, a request with so many headers that it is cheaper to ask for two of them', async () => {
    const request = [...DIRECTION, ...fetchEach('request'), ...PUBLISH, ...strip('request')];
    expect(await trace('INBOUND', { headers: [...MANY, ...FROM_PEER] })).toEqual(stream(request, write('response')));
  });

  test('outbound', async () => {
    const response = [...read('response'), ...strip('response')];
    expect(await trace('OUTBOUND', {})).toEqual(stream([...DIRECTION, ...LOOK, ...write('request')], response));
  });

  test('outbound, a response with many headers', async () => {
    const response = [...fetchEach('response'), ...PUBLISH, ...strip('response')];
    const found = await trace('OUTBOUND', {}, metadataExchange(), [...MANY, ...FROM_PEER]);
    expect(found).toEqual(stream([...DIRECTION, ...LOOK, ...write('request')], response));
  });

  test('in the middle', async () => {
    const request = [...DIRECTION, ...read('request'), ...write('request')];
    const response = [...read('response'), ...write('response')];
    expect(await trace(undefined, { headers: FROM_PEER })).toEqual(stream(request, response));
  });

  test('a server known by endpoint metadata', async () => {
    const config = { upstream_discovery: [{ endpoint_metadata: {} }], upstream_propagation: [{ istio_headers: {} }] };
    const endpoint = { metadata: { filter_metadata: { istio: { workload: 'a;b;c;d;e' } } } };
    const found = await trace('OUTBOUND', {}, metadataExchange(config), [], undefined, { endpoint });
    // One call more than to be told by nobody: the endpoint's text.
    const response = ['  proxy_get_property', '    malloc', ...PUBLISH];
    expect(found).toEqual(stream([...LOOK, ...write('request')], response));
  });

  test('in Istio’s dialect it is asked whether the cluster wants no metadata, on each message that is written to', async () => {
    const istio = { dialect: 'istio' };
    const asked = { headers: ['x-envoy-peer-metadata', PEER_HEADER, 'x-envoy-peer-metadata-id', PEER_ID] };
    const found = (direction: 'INBOUND' | 'OUTBOUND', request: Request, filter_metadata = {}) => {
      const cluster = { metadata: { filter_metadata } };
      return trace(direction, request, metadataExchange(istio), asked.headers, undefined, { cluster });
    };
    const ASK = ['  proxy_get_property'];
    const response = [...read('response'), ...strip('response')];
    expect(await found('OUTBOUND', {})).toEqual(stream([...DIRECTION, ...LOOK, ...ASK, ...write('request')], response));
    const disabled = { istio: { disable_mx: true } };
    expect(await found('OUTBOUND', {}, disabled)).toEqual(
      stream([...DIRECTION, ...LOOK, ...ASK, '    malloc', ...strip('request')], response),
    );
    const request = [...DIRECTION, ...read('request'), ...strip('request')];
    expect(await found('INBOUND', asked)).toEqual(stream(request, [...ASK, ...write('response')]));
    expect(await found('INBOUND', {})).toEqual(
      stream([...DIRECTION, ...fetchAll('request'), ...LOOK, ...LOOK], strip('response')),
    );
  });

  test('three fields that are published by themselves, two of which the peer has', async () => {
    const config = metadataExchange({ publish_fields: ['NAME', 'LABELS.app', 'NAMESPACE'] });
    const request = [...DIRECTION, ...fetchAll('request'), ...PUBLISH, ...PUBLISH, ...strip('request')];
    const found = await trace('INBOUND', { headers: FROM_PEER }, config);
    expect(found).toEqual(stream(request, write('response')));
  });

  test('an application that is told who its client is: one call, and none for an unknown client', async () => {
    const config = metadataExchange({ tell_application: {} });
    const [TOLD, FORGED] = [struct.header({ WORKLOAD_NAME: 'peer' }), ['x-client-workload', 'forged']];
    const ours = (request: string[]) => [...DIRECTION, ...fetchAll('request'), ...request];
    const known = ours([...PUBLISH, ...strip('request'), '  proxy_replace_header_map_value(request)']);
    const headers = [METADATA, TOLD, ID, PEER_ID];
    expect(await trace('INBOUND', { headers }, config)).toEqual(stream(known, write('response')));
    const forged = { headers: [...headers, ...FORGED] };
    expect(await trace('INBOUND', forged, config)).toEqual(stream(known, write('response')));
    expect(await trace('INBOUND', {}, config)).toEqual(stream(ours([...LOOK, ...LOOK]), strip('response')));
    const removed = ours([...LOOK, ...LOOK, '  proxy_remove_header_map_value(request)']);
    expect(await trace('INBOUND', { headers: FORGED }, config)).toEqual(stream(removed, strip('response')));
    // Where nobody has fetched the headers, a removal costs less than to look.
    const each = Array(2).fill('  proxy_get_header_map_value(request)');
    const many = [...DIRECTION, ...each, ...LOOK, ...LOOK, '  proxy_remove_header_map_value(request)'];
    expect(await trace('INBOUND', { headers: MANY }, config)).toEqual(stream(many, strip('response')));
    const outbound = [...DIRECTION, ...LOOK, ...write('request'), '  proxy_remove_header_map_value(request)'];
    const response = [...read('response'), ...strip('response')];
    expect(await trace('OUTBOUND', {}, config)).toEqual(stream(outbound, response));
  });

  test('with lists nobody asks for the direction', async () => {
    const config = { downstream_discovery: [{ istio_headers: {} }], downstream_propagation: [{ istio_headers: {} }] };
    const request = [...read('request'), ...strip('request')];
    const found = await trace('INBOUND', { headers: FROM_PEER }, metadataExchange(config));
    expect(found).toEqual(stream(request, write('response')));
  });
});

describe('the host calls of one stream whose request is counted', () => {
  const counting = metadataExchange({ metrics: {} });
  const READ = ['  proxy_get_property', '    malloc'];
  /** What is not there costs a quarter of what is. */
  const ABSENT = ['  proxy_get_property'];
  const CODE_AND_FLAGS = [...READ, ...READ];
  /** Who the client is, by its certificate: a URI, or at least a subject. The server's, at the client: a URI. */
  const CERTIFICATE = [...ABSENT, ...ABSENT];
  const SERVER_CERTIFICATE = ABSENT;
  const SERVICE = ABSENT;
  const WRITE = [
    '  proxy_increment_metric',
    '  proxy_record_metric',
    ...READ,
    '  proxy_record_metric',
    ...READ,
    '  proxy_record_metric',
  ];
  const counted = (request: string[], response: string[], before: string[]) =>
    stream(request, response, [...CODE_AND_FLAGS, ...before, ...SERVICE, ...READ, ...WRITE]);

  test('inbound', async () => {
    const request = [...DIRECTION, ...read('request'), ...strip('request')];
    const found = await trace('INBOUND', { headers: FROM_PEER }, counting);
    expect(found).toEqual(counted(request, write('response'), CERTIFICATE));
  });

  test('inbound, a client without peer headers: whether an earlier run knew it', async () => {
    const request = [...DIRECTION, ...fetchAll('request'), ...LOOK, ...LOOK];
    const found = await trace('INBOUND', {}, counting);
    expect(found).toEqual(counted(request, strip('response'), [...ABSENT, ...CERTIFICATE]));
  });

  test('outbound: the request’s headers, which nobody else reads, are asked whether it is gRPC', async () => {
    const request = [...DIRECTION, ...LOOK, '  proxy_get_header_map_value(request)', ...write('request')];
    const found = await trace('OUTBOUND', {}, counting);
    const response = [...read('response'), ...strip('response')];
    expect(found).toEqual(counted(request, response, SERVER_CERTIFICATE));
  });
});

describe('the host calls of the straight floor, which stays what it says', () => {
  const traceFloor = (direction: 'INBOUND' | 'OUTBOUND', request: Request) => {
    const floor = wasm('floor', undefined, join(ROOT, 'build/bench/floor.wasm'));
    return trace(direction, request, floor, FROM_PEER);
  };

  /** It does not hear of a stream's end in the log. */
  const floor = (request: string[], response: string[]) =>
    stream(request, response).filter((call) => call !== 'proxy_on_log');

  test('inbound', async () => {
    const request = [...DIRECTION, ...fetchEach('request'), ...PUBLISH, ...strip('request')];
    expect(await traceFloor('INBOUND', { headers: FROM_PEER })).toEqual(floor(request, write('response')));
  });

  test('outbound', async () => {
    const response = [...fetchEach('response'), ...PUBLISH, ...strip('response')];
    expect(await traceFloor('OUTBOUND', {})).toEqual(floor([...DIRECTION, ...write('request')], response));
  });
});
