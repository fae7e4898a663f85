// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';

/** Requests that another proxy redirected: Envoy's mark is on them, and yet they come here for the first time. */

const INBOUND = { 'xds.node': NODE, 'xds.listener_direction': Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]) };
const REDIRECTED: [string, string] = ['x-envoy-original-url', 'http://elsewhere/from'];

test('say who the client is by baggage, as any other request does', () => {
  const host = new Host(INBOUND);
  const config = { downstream_discovery: [{ istio_headers: {} }, { baggage: {} }] };
  const root = host.configure(JSON.stringify(config)) as number;
  const stream = host.stream(root).onRequest(REDIRECTED, ['baggage', 'k8s.namespace.name=default']);
  expect(Object.keys(stream.filterState)).toEqual(['envoy.wasm.metadata_exchange.downstream']);
});
