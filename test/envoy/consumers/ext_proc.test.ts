// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Processor } from '../../../envoy/consumers/servers/processor.ts';
import { Example, identities, OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/consumers/ext-proc: an external processor learns the peer, and says its app in a header. */

const SAYS = identities('ext-proc');
const CLIENT = 'envoy.wasm.metadata_exchange.downstream';
const SERVER = 'envoy.wasm.metadata_exchange.upstream';

const attributesOf = (namespace: string, says: { WORKLOAD_NAME: string; LABELS: { app: string } }) => ({
  [`filter_state['wasm.${namespace}'].WORKLOAD_NAME`]: says.WORKLOAD_NAME,
  [`filter_state['wasm.${namespace}'].LABELS.app`]: says.LABELS.app,
});

describe.each(OLDEST_AND_NEWEST)('ext_proc, Envoy %s', (_, version) => {
  let processor: Processor;
  let example: Example;

  beforeAll(async () => {
    processor = await Processor.start();
    example = await Example.start('ext-proc', { version, endpoints: { processor: processor.port } });
  });
  afterAll(async () => {
    await example?.[Symbol.asyncDispose]();
    await processor?.[Symbol.asyncDispose]();
  });

  /** Sends a request; the answer's header, what reviews saw, and what the processor was told. */
  async function call(listener: string, path: string) {
    const before = processor.told.length;
    const answer = await example.send(listener, { path });
    const { header_of_the_processor } = await example.logged('reviews', path);
    const told = Object.assign({}, ...processor.told.slice(before));
    return { calledBy: header_of_the_processor, answeredBy: answer.headers.all('x-answered-by'), ...told };
  }

  test(row('ext-proc-request'), async () => {
    const { calledBy, request } = await call('productpage', '/request');
    expect(calledBy).toBe('productpage');
    expect(request.attributes).toEqual(attributesOf(CLIENT, SAYS.productpage));
  });

  test(row('ext-proc-response'), async () => {
    const { answeredBy, response } = await call('productpage', '/response');
    expect(answeredBy).toEqual(['reviews']);
    expect(response.attributes).toEqual(attributesOf(SERVER, SAYS.reviews));
  });

  test(row('ext-proc-metadata'), async () => {
    const { request, response } = await call('productpage', '/metadata');
    expect(request.metadata).toEqual({ [CLIENT]: SAYS.productpage });
    expect(response.metadata).toEqual({ [SERVER]: SAYS.reviews });
  });

  test('is told nothing of somebody who says nothing', async () => {
    const { calledBy, request } = await call('reviews', '/stranger');
    expect(calledBy).toBe('unknown');
    expect(request).toEqual({ attributes: {}, metadata: {} });
  });
});
