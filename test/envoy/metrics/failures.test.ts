// SPDX-License-Identifier: Apache-2.0
import net, { type AddressInfo } from 'node:net';
import { describe, test } from 'vitest';
import { type Answering, App, send } from '../../../testkit/http.ts';
import { FaultyServer } from '../../support/faults.ts';
import { counter, EVERY, expectCounts, startCounting, workload } from '../../support/traffic.ts';

/**
 * Requests that fail: the code and the flags in the metrics are those of Envoy's access log, which are Istio's. productpage
 * calls reviews, which is dead, slow or broken.
 */

const LABELS = 'reporter destination_workload response_code response_flags';
const toApp = (path: string, more: object = {}) => ({ match: { prefix: path }, route: { cluster: 'app', ...more } });

/** A port of this machine at which nobody listens. */
async function deadPort(): Promise<number> {
  const server = net.createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe.each(EVERY)('requests that fail, Envoy %s', (_, version) => {
  const productpage = (port: number, routes: object[], manager: object = {}) =>
    startCounting({
      version,
      workers: 2,
      direction: 'OUTBOUND',
      own: workload('productpage'),
      filters: [counter()],
      routes,
      manager,
      clusters: { app: { port } },
    });

  test('nobody listens there', async () => {
    const { envoy, port } = await productpage(await deadPort(), [toApp('/')]);
    await using _ = envoy;
    for (let i = 0; i < 3; i++) await send(port, {});
    await expectCounts(envoy, LABELS, { 'source unknown 503 UF': 3 });
  });

  test('there is no route', async () => {
    const { envoy, port } = await productpage(await deadPort(), [toApp('/reviews')]);
    await using _ = envoy;
    await send(port, { path: '/elsewhere' });
    await expectCounts(envoy, LABELS, { 'source unknown 404 NR': 1 });
  });

  test('resets, and answers that come too late or break off', async () => {
    await using server = await FaultyServer.start();
    const { envoy, port } = await productpage(server.port, [
      toApp('/hold', { timeout: '0.2s' }),
      toApp('/half', { timeout: '0.5s' }),
      toApp('/'),
    ]);
    await using _ = envoy;
    await send(port, { path: '/reset/1' });
    await send(port, { path: '/hold/1' });
    await send(port, { path: '/half/1' }).catch(() => undefined);
    await expectCounts(envoy, LABELS, {
      'source unknown 503 UC': 1,
      'source unknown 504 UT': 1,
      'source unknown 200 UT': 1,
    });
  });

  test('tries that failed are one request, with the code and the server of the last', async () => {
    const tries: Record<string, number> = {};
    const answer: Answering = ({ path }) => {
      tries[path] = (tries[path] ?? 0) + 1;
      return { status: path === '/never' || tries[path] < 3 ? 503 : 200 };
    };
    await using app = await App.start(answer);
    const retry_policy = { retry_on: '5xx', num_retries: 2 };
    const { envoy, port } = await productpage(app.port, [toApp('/', { retry_policy })]);
    await using _ = envoy;
    for (const path of ['/a', '/b', '/never']) await send(port, { path });
    await expectCounts(envoy, LABELS, { 'source unknown 200 -': 2, 'source unknown 503 URX': 1 });
  });

  test('a client that leaves before the answer: the code is 0, and DC says why', async () => {
    await using server = await FaultyServer.start();
    const { envoy, port } = await productpage(server.port, [toApp('/', { timeout: '0s' })]);
    await using _ = envoy;
    const socket = net.connect(port, '127.0.0.1');
    socket.write('GET /hold/7 HTTP/1.1\r\nhost: test\r\n\r\n');
    await envoy.until('the request came', () => server.has('/hold/7'));
    socket.resetAndDestroy();
    await expectCounts(envoy, LABELS, { 'source unknown 0 DC': 1 });
  });
});
