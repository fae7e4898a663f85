// SPDX-License-Identifier: Apache-2.0
import { describe, expect, onTestFinished, test } from 'vitest';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { App, type Headers, ID, METADATA, send } from '../../../testkit/http.ts';
import { OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';
import { Fleet } from '../../support/shipped.ts';

/** envoy/caller-name as shipped, over mTLS: what its application reads of a caller, and what a caller may forge. */

const TOLD = 'x-client-workload';
const FORGED = [TOLD, 'WORKLOAD_NAME=admin', 'X-Client-Workload', '', TOLD, 'NAMESPACE=kube-system'];

describe.each(OLDEST_AND_NEWEST)(
  'the caller’s name for the application, Envoy %s',
  { timeout: 60_000 },
  (_, version) => {
    /** Both sidecars, whose client's node has these metadata too; a request's headers as the application saw them. */
    async function start(claims: object = {}) {
      const fleet = new Fleet();
      onTestFinished(() => fleet[Symbol.asyncDispose]());
      const app = await App.start();
      onTestFinished(() => app[Symbol.asyncDispose]());
      const server = await fleet.start('server', shipped('envoy/caller-name/server.yaml', { app: app.port }), {
        version,
      });
      const config = shipped('envoy/caller-name/client.yaml', { reviews: await server.port('inbound') });
      Object.assign(config.node.metadata['istio.io/metadata'], claims);
      const port = await (await fleet.start('client', config, { version })).port('outbound');
      return { app, port, inbound: await server.port('inbound') };
    }
    const SHIPPED = 'NAMESPACE=default&SERVICE_ACCOUNT=bookinfo-productpage&WORKLOAD_NAME=';
    const ours = (headers: Headers) => [METADATA, ID, TOLD].map((name) => headers.all(name));

    test(row('request-header-told'), async () => {
      const { app, port } = await start();
      // And the client's application cannot say that it is another one.
      for (const headers of [[], FORGED]) {
        expect((await send(port, { headers })).status).toBe(200);
        expect(ours(app.last.headers)).toEqual([[], [], [`${SHIPPED}productpage-v1`]]);
      }
    });

    test.each([{ NAMESPACE: 'kube-system' }, { SERVICE_ACCOUNT: 'admin' }])(
      'of a client that claims %j, which its certificate does not prove, it is told nothing',
      async (claims) => {
        const { app, port } = await start(claims);
        expect((await send(port, { headers: FORGED })).status).toBe(200);
        expect(ours(app.last.headers)).toEqual([[], [], []]);
      },
    );

    test('a workload’s name is no claim that its certificate could prove: beside what is proven stands the client’s word', async () => {
      const { app, port } = await start({ WORKLOAD_NAME: 'payments-v1' });
      await send(port);
      expect(ours(app.last.headers)).toEqual([[], [], [`${SHIPPED}payments-v1`]]);
    });

    test('a header that a framework takes for the same is turned away', async () => {
      const { app, port } = await start();
      expect((await send(port, { headers: ['x_client_workload', 'WORKLOAD_NAME=admin'] })).status).toBe(400);
      expect(app.seen).toEqual([]);
    });

    test('who has no certificate does not get in', async () => {
      const { inbound } = await start();
      await expect(send(inbound, { headers: FORGED })).rejects.toThrow();
    });
  },
);
