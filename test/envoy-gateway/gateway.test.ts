// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT, testedVersions } from '../../testkit/envoy/binary.ts';
import { shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { logged } from '../support/shipped.ts';
import { type Resource, resourcesOf, Stand } from './stand.ts';

/** Envoy Gateway itself, with the resources of envoy/envoy-gateway: it configures and starts a stock Envoy. */

/** As `make push` writes it: with the image and its digest. */
const pushedPolicy = () => resourcesOf('policy.yaml', join(ROOT, 'build/envoy-gateway'));

const REVIEWS = shippedIdentity('envoy/quick-start/server.yaml');

/** What README has kubectl make of the bridge. */
const script: Resource = {
  apiVersion: 'v1',
  kind: 'ConfigMap',
  metadata: { name: 'metadata-exchange-bridge', namespace: 'shop' },
  data: { lua: readFileSync(join(ROOT, 'envoy/dynamic_metadata.lua'), 'utf8') },
};

const isServed = (answer: string) => answer.startsWith('HTTP/1.1 200');

describe('with Lua switched on', () => {
  let stand: Stand;
  beforeAll(async () => {
    stand = await Stand.start({ enableLua: true });
    stand.apply('policy', pushedPolicy());
    await stand.untilAnswer('the gateway serves', '/ready', isServed);
  });
  afterAll(() => stand?.[Symbol.asyncDispose]());

  test('the service hears who the gateway is, and the gateway who answered', async () => {
    await stand.ask('/reviews/1');
    const { caller_app, caller_namespace, caller_id } = await logged(stand.server, '/reviews/1');
    expect({ caller_app, caller_namespace }).toEqual({ caller_app: 'shop-gateway', caller_namespace: 'shop' });
    expect(caller_id, 'the id is Envoy Gateway’s').toMatch(/^shop-shop-\w+$/);
    expect(await stand.logged('/reviews/1')).toMatchObject({
      status: 200,
      server: REVIEWS.metadata.WORKLOAD_NAME,
      server_id: REVIEWS.id,
      from_bridge: null,
    });
  });

  test('a stranger is told nothing, and what it claims is replaced', async () => {
    const forged = [`${METADATA}: ${struct.header({ LABELS: { app: 'forged' } })}`, `${ID}: forged`];
    const { output } = await stand.ask('/reviews/forged', forged);
    expect(isServed(output.toString())).toBe(true);
    expect(output.toString()).not.toMatch(/x-istio-peer/i);
    const { caller_app, caller_id } = await logged(stand.server, '/reviews/forged');
    expect(caller_app).toBe('shop-gateway');
    expect(caller_id).not.toBe('forged');
  });

  test('with the bridge, the route has the server in dynamic metadata too', async () => {
    stand.apply('bridge', [...resourcesOf('bridge.yaml'), script]);
    let count = 0;
    await stand.gateway.until('the bridge is there', async () => {
      const path = `/reviews/bridged-${count++}`;
      await stand.ask(path);
      const { server, from_bridge } = await stand.logged(path);
      // The gateway's policy stays: the route's is merged into it.
      return [server, from_bridge].every((name) => name === REVIEWS.metadata.WORKLOAD_NAME);
    });
  });

  test('another image under its name is not taken, and requests go on without the exchange', async () => {
    const policy = pushedPolicy();
    policy[0].spec.wasm[0].code.image.sha256 = 'a'.repeat(64);
    stand.apply('policy', policy);
    let count = 0;
    await stand.gateway.until('the exchange is gone', async () => {
      const path = `/reviews/gone-${count++}`;
      expect(isServed((await stand.ask(path)).output.toString())).toBe(true);
      return (await logged(stand.server, path)).caller_app === null;
    });
  });
});

test('where Lua is not switched on, the bridge’s route answers 500, as its comment says', async () => {
  // The version before the newest is the one that Envoy Gateway 1.9 starts by itself.
  await using stand = await Stand.start({}, testedVersions().at(-2));
  stand.apply('policy', pushedPolicy());
  await stand.untilAnswer('the gateway serves', '/ready', isServed);
  expect(await stand.logged('/ready')).toMatchObject({ server: REVIEWS.metadata.WORKLOAD_NAME });
  stand.apply('bridge', [...resourcesOf('bridge.yaml'), script]);
  await stand.untilAnswer('the route is refused', '/refused', (answer) => answer.startsWith('HTTP/1.1 500'));
});
