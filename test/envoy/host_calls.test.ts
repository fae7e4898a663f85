// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { metadataExchange, proxy } from '../../tools/envoy/config.ts';
import { Envoy } from '../../tools/envoy/process.ts';
import { App, ID, METADATA, type Request, send } from '../support/http.ts';
import { PEER_HEADER, PEER_ID } from '../support/stand.ts';
import { calls } from '../support/trace.ts';

/**
 * Host calls are what an exchange costs. Here is every one of them, in order, as a stock Envoy traces them: each is made
 * once or not at all. A call that returns data calls back into the module for memory.
 */
async function trace(direction: 'INBOUND' | 'OUTBOUND' | undefined, request: Request, config?: object) {
  await using app = await App.start(() => ({ headers: direction === 'INBOUND' ? [] : FROM_PEER }));
  await using envoy = await Envoy.start(
    proxy({
      node: { metadata: { 'istio.io/metadata': { NAME: 'own' } } },
      listeners: [{ name: 'listener', direction, filters: [metadataExchange(config)] }],
      clusters: { app: { port: app.port } },
    }),
    { componentLogLevel: 'wasm:trace' },
  );
  const port = await envoy.port('listener');
  // The second of two: what is done once for all requests is not what a request costs.
  await send(port, request);
  await envoy.until('the first stream is gone', () => envoy.log().includes('proxy_on_delete return'));
  const mark = envoy.log().length;
  await send(port, request);
  await envoy.until('the second stream is gone', () => envoy.log().slice(mark).includes('proxy_on_delete return'));
  return calls(envoy.log().slice(mark));
}

const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];

const DIRECTION = ['  proxy_get_property', '    malloc'];
const read = (side: string) => [
  `  proxy_get_header_map_value(${side})`,
  '    malloc',
  `  proxy_get_header_map_value(${side})`,
  '    malloc',
  '  proxy_set_property',
  '  proxy_set_property',
];
const seek = (side: string) => [`  proxy_get_header_map_value(${side})`, `  proxy_get_header_map_value(${side})`];
const strip = (side: string) => [
  `  proxy_remove_header_map_value(${side})`,
  `  proxy_remove_header_map_value(${side})`,
];
const write = (side: string) => [
  `  proxy_replace_header_map_value(${side})`,
  `  proxy_replace_header_map_value(${side})`,
];

const stream = (request: string[], response: string[]) => [
  'proxy_on_context_create',
  'proxy_on_request_headers',
  ...request,
  'proxy_on_response_headers',
  ...response,
  'proxy_on_delete',
];

describe('the host calls of one stream', () => {
  test('inbound', async () => {
    const request = [...DIRECTION, ...read('request'), ...strip('request')];
    expect(await trace('INBOUND', { headers: FROM_PEER })).toEqual(stream(request, write('response')));
  });

  test('inbound, a client without peer headers', async () => {
    expect(await trace('INBOUND', {})).toEqual(stream([...DIRECTION, ...seek('request')], strip('response')));
  });

  test('outbound', async () => {
    const response = [...read('response'), ...strip('response')];
    expect(await trace('OUTBOUND', {})).toEqual(stream([...DIRECTION, ...write('request')], response));
  });

  test('in the middle', async () => {
    const request = [...DIRECTION, ...read('request'), ...write('request')];
    const response = [...read('response'), ...write('response')];
    expect(await trace(undefined, { headers: FROM_PEER })).toEqual(stream(request, response));
  });

  test('with lists nobody asks for the direction', async () => {
    const config = { downstream_discovery: [{ istio_headers: {} }], downstream_propagation: [{ istio_headers: {} }] };
    const request = [...read('request'), ...strip('request')];
    expect(await trace('INBOUND', { headers: FROM_PEER }, config)).toEqual(stream(request, write('response')));
  });
});
