// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Registry } from './registry.ts';
import { MeshStand, shippedResource } from './stand.ts';

let registry: Registry;
let digest: string;

beforeAll(async () => {
  registry = await Registry.start();
  digest = (await registry.push('mesh/metadata-exchange:1')).digest!;
});
afterAll(() => registry?.[Symbol.asyncDispose]());

test('debug', { timeout: 120_000 }, async () => {
  const plugin = shippedResource('wasmplugin.yaml');
  plugin.spec.url = `oci://${registry.host}/mesh/metadata-exchange:1`;
  plugin.spec.sha256 = digest.slice(7);
  await using stand = await MeshStand.start([plugin, shippedResource('bridge.yaml'), shippedResource('access-log.yaml')]);
  const x = await stand.exchange('/reviews/1').catch(String);
  console.log(JSON.stringify(x), JSON.stringify(await stand.reviews.logged('/reviews/1')), JSON.stringify(await stand.productpage.logged('/reviews/1')));
  console.log(JSON.stringify(await stand.productpage.extensions(), null, 1), JSON.stringify((await stand.productpage.httpFilters(9080)).map((f: any) => f.name)), JSON.stringify((await stand.reviews.httpFilters(8080)).map((f: any) => [f.name, !!f.config_discovery])));
  console.log(stand.reviews.log().split('\n').filter((l) => /wasm|warn|error/i.test(l)).join('\n')); expect(1).toBe(1);
});
