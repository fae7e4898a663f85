// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { expectPeer, NOBODY } from '../../testkit/access_log.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const FORGED = [METADATA, 'Zm9yZ2Vk', ID, 'forged', METADATA, 'YWdhaW4', ID, 'again'];
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const NONE = {};

describe('an inbound listener, before the application', () => {
  test('reads and strips what the client sent, and answers with what the proxy is', async () => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    const { answer, seen, learned } = await stand.exchange({ headers: FROM_PEER });
    expect(seen?.headers.peer()).toEqual(NONE);
    expectPeer(learned.downstream, PEER, PEER_ID);
    expect(learned.upstream).toEqual(NOBODY);
    expect(answer.headers.peer()).toEqual(OWN_HEADERS);
  });

  test('says nothing to a client that said nothing', async () => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    const { answer, seen, learned } = await stand.exchange();
    expect(seen?.headers.peer()).toEqual(NONE);
    expect(answer.headers.peer()).toEqual(NONE);
    expect(learned.downstream).toEqual(NOBODY);
  });

  test('does not let the application answer in its name', async () => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND', answer: () => ({ headers: FORGED }) });
    const asked = await stand.exchange({ headers: FROM_PEER });
    expect(asked.answer.headers.peer()).toEqual(OWN_HEADERS);
    expect(asked.learned.upstream).toEqual(NOBODY);
    const unasked = await stand.exchange();
    expect(unasked.answer.headers.peer()).toEqual(NONE);
  });
});

describe('an outbound listener, before the mesh', () => {
  test('says what the proxy is, and reads and strips what the server answers', async () => {
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND', answer: () => ({ headers: FROM_PEER }) });
    const { answer, seen, learned } = await stand.exchange();
    expect(seen?.headers.peer()).toEqual(OWN_HEADERS);
    expectPeer(learned.upstream, PEER, PEER_ID);
    expect(learned.downstream).toEqual(NOBODY);
    expect(answer.headers.peer()).toEqual(NONE);
  });

  test('does not let the application speak in its name', async () => {
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND' });
    const { seen, learned, answer } = await stand.exchange({ headers: FORGED });
    expect(seen?.headers.peer()).toEqual(OWN_HEADERS);
    expect(learned.downstream).toEqual(NOBODY);
    expect(learned.upstream).toEqual(NOBODY);
    expect(answer.headers.peer()).toEqual(NONE);
  });
});

describe('a listener without direction, in the middle', () => {
  test('learns both sides, and speaks to both', async () => {
    const server = { NAME: 'server' };
    const headers = [METADATA, struct.header(server), ID, 'server-node'];
    await using stand = await ProxyStand.start({ answer: () => ({ headers }) });
    const { answer, seen, learned } = await stand.exchange({ headers: FROM_PEER });
    expect(seen?.headers.peer()).toEqual(OWN_HEADERS);
    expectPeer(learned.downstream, PEER, PEER_ID);
    expectPeer(learned.upstream, server, 'server-node');
    expect(answer.headers.peer()).toEqual(OWN_HEADERS);
  });

  test('speaks to the server always, to the client only if it spoke', async () => {
    await using stand = await ProxyStand.start({ answer: () => ({ headers: FROM_PEER }) });
    const { answer, seen, learned } = await stand.exchange();
    expect(seen?.headers.peer()).toEqual(OWN_HEADERS);
    expect(learned.downstream).toEqual(NOBODY);
    expectPeer(learned.upstream, PEER, PEER_ID);
    expect(answer.headers.peer()).toEqual(NONE);
  });
});

test('a route that switches the filter off: nothing is read, removed or added', async () => {
  const off = { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', disabled: true };
  await using stand = await ProxyStand.start({
    direction: 'INBOUND',
    routes: [
      { match: { prefix: '/off' }, route: { cluster: 'app' }, typed_per_filter_config: { metadata_exchange: off } },
      { match: { prefix: '/' }, route: { cluster: 'app' } },
    ],
  });
  const { seen, answer, learned } = await stand.exchange({ path: '/off', headers: FROM_PEER });
  expect(seen?.headers.peer()).toEqual({ [METADATA]: [PEER_HEADER], [ID]: [PEER_ID] });
  expect([answer.headers.peer(), learned.downstream]).toEqual([{}, NOBODY]);
  const on = await stand.exchange({ path: '/on', headers: FROM_PEER });
  expect([on.seen?.headers.peer(), on.learned.downstream.id]).toEqual([{}, PEER_ID]);
});
