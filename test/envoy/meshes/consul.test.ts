// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { type Envoy, validate } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { send } from '../../../testkit/http.ts';
import { Fleet, logged } from '../../support/shipped.ts';

/** Two sidecars with the nodes that Consul writes: all that there is of a service is told by the node itself. */

const WEB = 'envoy/consul/web.yaml';
const API = 'envoy/consul/api.yaml';
const CLUSTER = 'api.default.dc1.internal.11111111-2222-3333-4444-555555555555.consul';
const WASM = 'envoy.filters.http.wasm';

describe('web calls api', () => {
  const fleet = new Fleet();
  let web: Envoy;
  let api: Envoy;
  beforeAll(async () => {
    api = await fleet.start('api', shipped(API));
    web = await fleet.start('web', shipped(WEB, { [CLUSTER]: await api.port('public_listener:0.0.0.0:21000') }));
    const { body } = await send(await web.port('api:127.0.0.1:9191'), { path: '/1' });
    expect(body).toBe('Hello from api.\n');
  });
  afterAll(() => fleet[Symbol.asyncDispose]());

  test('api knows the service that called, and where it runs', async () => {
    const { caller, caller_id } = await logged(api, '/1');
    expect(caller_id).toBe('web');
    expect(caller.value).toEqual({ node_name: 'worker-1', namespace: 'default', partition: 'default' });
  });

  test('web knows the service that answered', async () => {
    const { server, server_id } = await logged(web, '/1');
    expect(server_id).toBe('api');
    expect(server.value).toEqual({ node_name: 'worker-2', namespace: 'default', partition: 'default' });
  });
});

test('the filter is the one that Consul would make of proxy-defaults.json', () => {
  const { EnvoyExtensions } = JSON.parse(readFileSync(join(ROOT, 'envoy/consul/proxy-defaults.json'), 'utf8'));
  const directions = { inbound: API, outbound: WEB };
  expect(
    EnvoyExtensions.map(({ Arguments }: { Arguments: { ListenerType: string } }) => Arguments.ListenerType),
  ).toEqual(Object.keys(directions));
  for (const { Arguments, Required } of EnvoyExtensions) {
    const { Name, RootID, VmConfig, Configuration } = Arguments.PluginConfig;
    const listener = shipped(directions[Arguments.ListenerType as keyof typeof directions]).static_resources
      .listeners[0];
    const filters = listener.filter_chains[0].filters[0].typed_config.http_filters;
    const at = filters.findIndex(({ name }: { name: string }) => name === WASM);
    expect(filters[at + 1].name, 'it is the last one before the router').toBe('envoy.filters.http.router');
    expect(filters[at].typed_config.config).toMatchObject({
      name: Name,
      root_id: RootID,
      fail_open: !Required,
      vm_config: { runtime: `envoy.wasm.runtime.${VmConfig.Runtime}` },
      configuration: { value: Configuration },
    });
  }
});

test('all of the node without a choice is refused, so that nothing is told by mistake', async () => {
  const config = shipped(API);
  const filters = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.http_filters;
  const plugin = filters.find(({ name }: { name: string }) => name === WASM).typed_config.config;
  plugin.configuration.value = '{"metadata_key": "", "node_key": "cluster"}';
  const { valid, log } = await validate(config);
  expect(valid).toBe(false);
  expect(log).toContain('metadata_fields');
});
