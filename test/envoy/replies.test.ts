// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { expectPeer, learned, NOBODY } from '../../testkit/access_log.ts';
import { lua, metadataExchange } from '../../testkit/envoy/config.ts';
import { ID, METADATA, send } from '../../testkit/http.ts';
import { OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const TO_APP = { match: { prefix: '/' }, route: { cluster: 'app' } };

describe('a response that the application did not write is answered too', () => {
  test.each([
    ['a route that is not there', 404, { routes: [{ match: { prefix: '/nowhere' }, route: { cluster: 'app' } }] }],
    ['an upstream that is down', 503, { clusters: { app: { port: 1 } } }],
    ['a direct response', 418, { routes: [{ match: { prefix: '/' }, direct_response: { status: 418 } }] }],
    [
      'a filter after ours that replies by itself',
      403,
      {
        after: [
          lua('deny', { inline_string: 'function envoy_on_request(h) h:respond({[":status"] = "403"}, "no") end' }),
        ],
      },
    ],
  ])('%s: %i', async (_, status, options) => {
    await using inbound = await ProxyStand.start({ direction: 'INBOUND', ...options });
    const { answer, learned } = await inbound.exchange({ headers: FROM_PEER });
    expect(answer.status).toBe(status);
    expect(answer.headers.peer()).toEqual(OWN_HEADERS);
    expectPeer(learned.downstream, PEER, PEER_ID);

    await using outbound = await ProxyStand.start({ direction: 'OUTBOUND', ...options });
    const second = await outbound.exchange({ headers: FROM_PEER });
    expect(second.answer.status).toBe(status);
    expect(second.answer.headers.peer()).toEqual({});
    expect([second.learned.downstream, second.learned.upstream]).toEqual([NOBODY, NOBODY]);
  });
});

describe('retries', () => {
  test('each try says who we are, and the answer of the last one counts', async () => {
    let tries = 0;
    const routes = [
      { match: { prefix: '/' }, route: { cluster: 'app', retry_policy: { retry_on: '5xx', num_retries: 3 } } },
    ];
    await using stand = await ProxyStand.start({
      direction: 'OUTBOUND',
      routes,
      answer: () => {
        tries++;
        return tries < 3 ? { status: 503, headers: [ID, `try-${tries}`] } : { headers: FROM_PEER };
      },
    });
    const { answer, learned } = await stand.exchange();
    expect([answer.status, tries]).toEqual([200, 3]);
    expect(stand.app.seen.map((seen) => seen.headers.peer())).toEqual([OWN_HEADERS, OWN_HEADERS, OWN_HEADERS]);
    expectPeer(learned.upstream, PEER, PEER_ID);
    expect(answer.headers.peer()).toEqual({});
  });
});

describe('internal redirects, which run the filters a second time on what they made of the request', () => {
  const redirecting = (direction?: 'INBOUND' | 'OUTBOUND') =>
    ProxyStand.start({
      direction,
      routes: [{ match: { prefix: '/' }, route: { cluster: 'app', internal_redirect_policy: {} } }],
      answer: (request) =>
        request.path.startsWith('/from')
          ? { status: 302, headers: ['location', `http://test${request.path.replace('from', 'to')}`] }
          : { headers: [] },
    });

  test.each([
    ['both', FROM_PEER, OWN_HEADERS],
    ['an id alone', [ID, PEER_ID], { [ID]: [OWN_ID] }],
    ['metadata alone', [METADATA, PEER_HEADER], { [METADATA]: [OWN_HEADER] }],
    ['nothing', [] as string[], {}],
  ])('inbound: the client that sent %s is answered as if there had been none', async (_, headers, answered) => {
    await using stand = await redirecting('INBOUND');
    const answer = await send(stand.port, { path: '/from', headers });
    expect([answer.status, stand.app.last.path]).toEqual([200, '/to']);
    expect(answer.headers.peer()).toEqual(answered);
    expect(stand.app.seen.map((seen) => seen.headers.peer())).toEqual([{}, {}]);
    await stand.envoy.until('both runs are logged', () => learned(stand.envoy).length === 2);
    const last = learned(stand.envoy)[1];
    expect(last.path).toBe('/to');
    expect(last.downstream.id).toBe(headers.includes(ID) ? PEER_ID : undefined);
    expect(last.downstream.struct).toEqual(headers.includes(METADATA) ? PEER : undefined);
  });

  test.each([
    ['both', FROM_PEER, OWN_HEADERS, PEER, PEER_ID],
    ['nothing', [], {}, undefined, undefined],
  ])('in the middle: who sent %s is not taken for ourselves', async (_, headers, answered, struct, id) => {
    await using stand = await redirecting();
    const answer = await send(stand.port, { path: '/from', headers });
    expect([answer.status, stand.app.last.path]).toEqual([200, '/to']);
    expect(answer.headers.peer()).toEqual(answered);
    expect(stand.app.seen.map((seen) => seen.headers.peer())).toEqual([OWN_HEADERS, OWN_HEADERS]);
    await stand.envoy.until('both runs are logged', () => learned(stand.envoy).length === 2);
    expect(learned(stand.envoy)[1].downstream.struct).toEqual(struct);
    expect(learned(stand.envoy)[1].downstream.id).toBe(id);
  });

  test('two configurations in one chain: each answers under its names what it was asked for', async () => {
    const second = { headers: { metadata: 'x-second-metadata', id: 'x-second-id' } };
    await using stand = await ProxyStand.start({
      direction: 'INBOUND',
      routes: [{ match: { prefix: '/' }, route: { cluster: 'app', internal_redirect_policy: {} } }],
      after: [metadataExchange(second, 'second')],
      answer: ({ path }) => (path === '/from' ? { status: 302, headers: ['location', 'http://test/to'] } : {}),
    });
    const answer = await send(stand.port, { path: '/from', headers: [...FROM_PEER, 'x-second-id', 'second-peer'] });
    expect(stand.app.last.path).toBe('/to');
    expect(answer.headers.peer()).toEqual(OWN_HEADERS);
    expect(answer.headers.all('x-second-id')).toEqual([OWN_ID]);
    expect(answer.headers.all('x-second-metadata')).toEqual([]);
  });

  test('a request right after a broken one is heard as any other', async () => {
    let broken = 0;
    await using stand = await ProxyStand.start({
      direction: 'INBOUND',
      routes: [TO_APP],
      answer: (request) => {
        if (request.path !== '/broken') return {};
        broken++;
        return undefined;
      },
    });
    const controller = new AbortController();
    const request = fetch(`http://127.0.0.1:${stand.port}/broken`, {
      signal: controller.signal,
      headers: { [METADATA]: PEER_HEADER, [ID]: PEER_ID },
    }).catch(() => undefined);
    await stand.envoy.until('the application has the request', () => broken === 1);
    controller.abort();
    await request;
    await stand.envoy.until('it is given up', () => learned(stand.envoy).length === 1);
    const { answer, learned: line } = await stand.exchange({ path: '/next' });
    expect(answer.headers.peer(), 'it said nothing and gets no answer').toEqual({});
    expect(line.downstream).toEqual(NOBODY);
  });
});
