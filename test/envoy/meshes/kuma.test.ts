// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import type { Envoy } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { send } from '../../../testkit/http.ts';
import { Fleet, logged } from '../../support/shipped.ts';

/** Two sidecars with the nodes that Kuma writes: the server's log has the client's service, which Kuma's does not. */

const FRONTEND = 'envoy/kuma/frontend.yaml';
const BACKEND = 'envoy/kuma/backend.yaml';
const SERVICES = { frontend: 'frontend_kuma-demo_svc_8080', backend: 'backend_kuma-demo_svc_3001' };

/** What a node of Kuma's says in the fields that are chosen: keys with dots, and an object's member. */
const TOLD = { 'dataplane.proxyType': 'dataplane', version: { kumaDp: { version: '2.13.0' } } };

describe('frontend calls backend', () => {
  const fleet = new Fleet();
  let frontend: Envoy;
  let backend: Envoy;
  beforeAll(async () => {
    backend = await fleet.start('backend', shipped(BACKEND));
    const port = await backend.port('inbound:10.42.0.12:3001');
    frontend = await fleet.start('frontend', shipped(FRONTEND, { [SERVICES.backend]: port }));
    const { body } = await send(await frontend.port('outbound:10.43.118.7:3001'), { path: '/1' });
    expect(body).toBe('Hello from backend.\n');
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  test('backend knows the service that called, and only what was chosen', async () => {
    const { caller, caller_id } = await logged(backend, '/1');
    expect(caller_id).toBe(SERVICES.frontend);
    expect(caller.value).toEqual(TOLD);
  });

  test('frontend knows the service that answered', async () => {
    const { server, server_id } = await logged(frontend, '/1');
    expect(server_id).toBe(SERVICES.backend);
    expect(server.value).toEqual(TOLD);
  });
});

test('the filter is the one that mesh-proxy-patch.yaml adds, first in the chain', () => {
  const { spec } = parse(readFileSync(join(ROOT, 'envoy/kuma/mesh-proxy-patch.yaml'), 'utf8'));
  const sides = { inbound: BACKEND, outbound: FRONTEND };
  const modifications = spec.default.appendModifications;
  expect(modifications).toHaveLength(2);
  for (const { httpFilter } of modifications) {
    expect(httpFilter.operation).toBe('AddFirst');
    const patch = parse(httpFilter.value);
    // In a pod the module is where somebody has put it.
    patch.typed_config.config.vm_config.code.local.filename = 'build/metadata_exchange.wasm';
    const [listener] = shipped(sides[httpFilter.match.origin as keyof typeof sides]).static_resources.listeners;
    expect(listener.filter_chains[0].filters[0].typed_config.http_filters[0]).toEqual(patch);
  }
});
