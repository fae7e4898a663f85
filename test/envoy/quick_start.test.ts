// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { expect, test } from 'vitest';
import { Envoy } from '../../testkit/envoy/process.ts';
import { shipped, shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { send } from '../../testkit/http.ts';
import { logged } from '../support/shipped.ts';

const CLIENT = 'envoy/quick-start/client.yaml';
const SERVER = 'envoy/quick-start/server.yaml';

/** The two files that README shows: what a newcomer copies must work as it is. */
test('the quick start: each of the two proxies logs who the other one is', async () => {
  await using server = await Envoy.start(shipped(SERVER), { name: 'server' });
  const port = await server.port('inbound');
  await using client = await Envoy.start(shipped(CLIENT, { reviews: port }), { name: 'client' });
  const answer = await send(await client.port('outbound'), { path: '/reviews/1' });
  expect([answer.status, answer.body]).toEqual([200, 'Hello from reviews.\n']);
  expect(await logged(server, '/reviews/1')).toEqual({
    path: '/reviews/1',
    status: 200,
    caller_app: 'productpage',
    caller_namespace: 'default',
    caller_id: shippedIdentity(CLIENT).id,
  });
  expect(await logged(client, '/reviews/1')).toEqual({
    path: '/reviews/1',
    status: 200,
    server_app: 'reviews',
    server_id: shippedIdentity(SERVER).id,
  });
});

test('the quick start: who calls without a sidecar is unknown, and still served', async () => {
  await using server = await Envoy.start(shipped(SERVER), { name: 'server' });
  const answer = await send(await server.port('inbound'), { path: '/reviews/2' });
  expect(answer.status).toBe(200);
  const { caller_app, caller_id } = await logged(server, '/reviews/2');
  expect([caller_app, caller_id]).toEqual([null, null]);
});
