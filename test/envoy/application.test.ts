// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { ProxyStand } from '../support/proxy_stand.ts';

/**
 * An application that reads in a header who called it: what stands there is what its proxy knows, and nothing that a
 * client wrote.
 */

const TOLD = 'x-client-workload';
const FORGED = [TOLD, 'WORKLOAD_NAME=admin', 'X-Client-Workload', '', TOLD, 'WORKLOAD_NAME=root'];
const CLIENT = { WORKLOAD_NAME: 'productpage-v1', NAMESPACE: 'default' };
const LINE = 'WORKLOAD_NAME=productpage-v1&NAMESPACE=default';
const claim = (fields: object) => [METADATA, struct.header(fields), ID, 'id'];
const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);

describe.each(TESTED)('the name of the caller, Envoy %s', (_, version) => {
  test('is told by the proxy, in place of every copy that the client sent', async () => {
    await using stand = await ProxyStand.start({ version, direction: 'INBOUND', config: { tell_application: {} } });
    const told = async (...headers: string[]) => (await stand.exchange({ headers })).seen?.headers.all(TOLD);
    expect(await told(...claim(CLIENT))).toEqual([LINE]);
    expect(await told(...FORGED, ...claim(CLIENT), ...FORGED)).toEqual([LINE]);
    expect(await told(...FORGED), 'of whom nothing is known').toEqual([]);
    expect(await told(...FORGED, ID, 'id'), 'of whom an id is known').toEqual([]);
    expect(await told(...FORGED, METADATA, '!!!!'), 'who sends what cannot be read').toEqual([]);
    const hop = ['connection', `close, ${TOLD}`];
    expect(await told(...hop, ...FORGED, ...claim(CLIENT)), 'who asks to have it removed on the way').toEqual([LINE]);
    const many = Array.from({ length: 40 }, (_, i) => [`x-${i}`, 'x']).flat();
    expect(await told(...many, ...FORGED), 'who sends many headers').toEqual([]);
    expect(await told(...many, ...FORGED, ...claim(CLIENT))).toEqual([LINE]);
  });

  test('whatever a client calls itself, is one line that a library reads back', async () => {
    await using stand = await ProxyStand.start({ version, direction: 'INBOUND', config: { tell_application: {} } });
    for (const name of ['a&NAMESPACE=kube-system', 'a, b;"c"\\', 'größe \u{1f600}', ' %0d%0a ', '=']) {
      const { seen } = await stand.exchange({ headers: claim({ WORKLOAD_NAME: name, NAMESPACE: 'default' }) });
      const [line, ...more] = seen?.headers.all(TOLD) ?? [];
      expect(more).toEqual([]);
      expect(Object.fromEntries(new URLSearchParams(line))).toEqual({ WORKLOAD_NAME: name, NAMESPACE: 'default' });
    }
    for (const name of ['a\r\nx-admin: 1', 'a\0b']) {
      const { seen, answer } = await stand.exchange({ headers: [...FORGED, ...claim({ WORKLOAD_NAME: name })] });
      expect([answer.status, seen?.headers.all(TOLD), seen?.headers.all('x-admin')]).toEqual([200, [], []]);
    }
  });

  test('is the same after a redirect, and behind a second filter of ours', async () => {
    const redirecting = { status: 302, headers: ['location', 'http://test/end', TOLD, 'of the application'] };
    await using app = await App.start(({ path }) => (path === '/from' ? redirecting : {}));
    const policy = { internal_redirect_policy: { max_internal_redirects: 1 } };
    const telling = metadataExchange({ tell_application: {} }, 'telling');
    const other = metadataExchange({ headers: { metadata: 'x-a', id: 'x-b' } }, 'other');
    for (const filters of [[telling], [telling, telling], [metadataExchange(), telling], [other, telling]]) {
      await using envoy = await Envoy.start(
        proxy({
          listeners: [
            {
              name: 'listener',
              direction: 'INBOUND',
              filters,
              routes: [{ match: { prefix: '/' }, route: { cluster: 'app', ...policy } }],
            },
          ],
          clusters: { app: { port: app.port } },
        }),
        { version },
      );
      const port = await envoy.port('listener');
      for (const [headers, expected] of [
        [claim(CLIENT), [LINE]],
        [['x-a', struct.header(CLIENT)], filters[0] === other ? [LINE] : []],
        [[ID, 'id'], []],
      ] as const) {
        const before = app.seen.length;
        const { status } = await send(port, { path: '/from', headers: [...FORGED, ...headers] });
        const seen = app.seen.slice(before).map(({ path, headers }) => [path, headers.all(TOLD)]);
        expect([status, seen]).toEqual([
          200,
          [
            ['/from', expected],
            ['/end', expected],
          ],
        ]);
      }
    }
  });

  test('is what a route may be chosen by, since the route is chosen after it', async () => {
    const byCaller = { name: TOLD, string_match: { prefix: 'WORKLOAD_NAME=productpage-v1&' } };
    await using stand = await ProxyStand.start({
      version,
      direction: 'INBOUND',
      config: { tell_application: {} },
      routes: [
        { match: { prefix: '/', headers: [byCaller] }, route: { cluster: 'app' } },
        { match: { prefix: '/' }, direct_response: { status: 403 } },
      ],
    });
    const status = async (...headers: string[]) => (await stand.exchange({ headers })).answer.status;
    expect(await status(...claim(CLIENT))).toBe(200);
    expect(await status(...claim({ ...CLIENT, WORKLOAD_NAME: 'ratings-v1' }))).toBe(403);
    expect(await status(TOLD, LINE)).toBe(403);
  });
});
