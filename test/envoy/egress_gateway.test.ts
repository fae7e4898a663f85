// SPDX-License-Identifier: Apache-2.0
import { describe, expect, onTestFinished, test } from 'vitest';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { App, type Headers, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { OLDEST_AND_NEWEST } from '../support/consumers.ts';
import { Fleet, logged } from '../support/shipped.ts';

/**
 * envoy/egress-gateway as shipped: a pod's sidecar, an egress gateway, and a host outside, which the test plays. The
 * gateway knows the pod and lets it go or not; the outside hears nothing of either.
 */

const GATEWAY = 'envoy/egress-gateway/gateway.yaml';
const SIDECAR = 'envoy/egress-gateway/sidecar.yaml';
const API = 'api.example.com';
const PRODUCTPAGE = { pod: 'productpage-v1-84975bc778-pxz2w', workload: 'productpage-v1', namespace: 'default' };

/** What an application, or a host outside, may try: to be somebody else. */
const FORGED = [METADATA, struct.header({ WORKLOAD_NAME: 'payments-v1', NAMESPACE: 'payments' }), ID, 'forged'];

/** Everything in headers that would tell who is inside. */
const tells = (headers: Headers) =>
  headers.pairs.filter((pair) =>
    /istio|peer|spiffe|productpage|payments|egress|default|x-envoy|client-cert/i.test(pair.join()),
  );

describe.each(OLDEST_AND_NEWEST)('an egress gateway, Envoy %s', { timeout: 60_000 }, (_, version) => {
  /** All three; the pod's sidecar claims these too, and shows this service account's certificate. */
  async function start({ claims = {}, account = 'bookinfo-productpage' } = {}) {
    const fleet = new Fleet();
    onTestFinished(() => fleet[Symbol.asyncDispose]());
    const outside = await App.start(() => ({ headers: FORGED }));
    onTestFinished(() => outside[Symbol.asyncDispose]());
    const gateway = await fleet.start('gateway', shipped(GATEWAY, { api: outside.port }), { version });
    const config = shipped(SIDECAR, { egress_gateway: await gateway.port('egress') });
    Object.assign(config.node.metadata['istio.io/metadata'], claims);
    const text = JSON.stringify(config).replaceAll('mesh/bookinfo-productpage', `mesh/${account}`);
    const port = await (await fleet.start('sidecar', JSON.parse(text), { version })).port('outbound');
    return { outside, gateway, port };
  }

  test('knows the pod, whatever its application says, and the outside hears nothing', async () => {
    const { outside, gateway, port } = await start();
    for (const headers of [[], FORGED]) {
      const path = `/prices/${headers.length}`;
      const answer = await send(port, { host: API, path, headers });
      expect(answer.status).toBe(200);
      expect(outside.last.headers.all('host')).toEqual([API]);
      expect(tells(outside.last.headers)).toEqual([]);
      expect(answer.headers.peer(), 'nor does the application hear whom the outside claims to be').toEqual({});
      const line = { ...PRODUCTPAGE, claims: 'verified', host: API, path, status: 200, details: 'via_upstream' };
      expect(await logged(gateway, path)).toEqual(line);
    }
  });

  test.each<[string, { claims?: object; account?: string }, object]>([
    [
      'another workload of the mesh',
      { account: 'bookinfo-reviews', claims: { SERVICE_ACCOUNT: 'bookinfo-reviews', WORKLOAD_NAME: 'reviews-v1' } },
      { ...PRODUCTPAGE, workload: 'reviews-v1', claims: 'verified' },
    ],
    [
      'another workload that claims to be the one that may',
      { account: 'bookinfo-reviews' },
      { pod: null, workload: null, namespace: null, claims: 'mismatch' },
    ],
    ['one that names no service account', { claims: { SERVICE_ACCOUNT: '' } }, { ...PRODUCTPAGE, claims: 'verified' }],
  ])('refuses %s, and logs who it was', async (_, client, known) => {
    const { outside, gateway, port } = await start(client);
    const { status } = await send(port, { host: API, path: '/prices' });
    const line = { ...known, host: API, path: '/prices', status: 403 };
    expect([status, await logged(gateway, '/prices')]).toEqual([403, expect.objectContaining(line)]);
    expect(outside.seen).toEqual([]);
  });

  test('who has no certificate of the mesh does not get in', async () => {
    const { outside, gateway } = await start();
    await expect(send(await gateway.port('egress'), { host: API, headers: FORGED })).rejects.toThrow();
    expect(outside.seen).toEqual([]);
  });
});
