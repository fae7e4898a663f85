// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { expectPeer, NOBODY } from '../../testkit/access_log.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

const LISTED = [{ istio_headers: {} }];
const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const PEER_HEADERS = { [METADATA]: [PEER_HEADER], [ID]: [PEER_ID] };
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const answer = () => ({ headers: FROM_PEER });

describe('lists alone decide what a stream does, whatever its direction', () => {
  test("upstream lists: a client sidecar's configuration, on an inbound listener too", async () => {
    const config = { upstream_discovery: LISTED, upstream_propagation: LISTED };
    await using stand = await ProxyStand.start({ direction: 'INBOUND', config, answer });
    const { answer: got, seen, learned } = await stand.exchange({ headers: FROM_PEER });
    expect(seen?.headers.peer(), 'what the client sent is replaced').toEqual(OWN_HEADERS);
    expectPeer(learned.upstream, PEER, PEER_ID);
    expect(learned.downstream).toEqual(NOBODY);
    expect(got.headers.peer(), 'and gets no answer').toEqual({});
  });

  test("downstream lists: a server sidecar's configuration, in camel case, on an outbound listener", async () => {
    const config = { downstreamDiscovery: [{ istioHeaders: {} }], downstreamPropagation: [{ istioHeaders: {} }] };
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND', config, answer });
    const { answer: got, seen, learned } = await stand.exchange({ headers: FROM_PEER });
    expect(seen?.headers.peer()).toEqual({});
    expectPeer(learned.downstream, PEER, PEER_ID);
    expect(learned.upstream).toEqual(NOBODY);
    expect(got.headers.peer(), 'ours, in place of those that the server sent').toEqual(OWN_HEADERS);
    const silent = await stand.exchange();
    expect(silent.answer.headers.peer()).toEqual({});
  });

  test('downstream_discovery alone: the client is heard and gets no answer', async () => {
    await using stand = await ProxyStand.start({ config: { downstream_discovery: LISTED }, answer });
    const { answer: got, seen, learned } = await stand.exchange({ headers: FROM_PEER });
    expectPeer(learned.downstream, PEER, PEER_ID);
    expect(seen?.headers.peer()).toEqual({});
    expect(got.headers.peer(), 'responses are no business of this list').toEqual(PEER_HEADERS);
  });

  test('downstream_propagation alone: the client is answered without being heard', async () => {
    await using stand = await ProxyStand.start({ config: { downstream_propagation: LISTED } });
    const { answer: got, seen, learned } = await stand.exchange({ headers: FROM_PEER });
    expect(got.headers.peer()).toEqual(OWN_HEADERS);
    expect(learned.downstream).toEqual(NOBODY);
    expect(seen?.headers.peer(), 'requests are no business of this list').toEqual(PEER_HEADERS);
    const silent = await stand.exchange();
    expect(silent.answer.headers.peer()).toEqual({});
  });

  test('upstream_discovery alone: the server is heard without being spoken to', async () => {
    await using stand = await ProxyStand.start({ config: { upstream_discovery: LISTED }, answer });
    const { answer: got, seen, learned } = await stand.exchange();
    expect(seen?.headers.peer()).toEqual({});
    expectPeer(learned.upstream, PEER, PEER_ID);
    expect(got.headers.peer()).toEqual({});
  });

  test('upstream_propagation alone: the server is spoken to without being heard', async () => {
    await using stand = await ProxyStand.start({ config: { upstream_propagation: LISTED }, answer });
    const { answer: got, seen, learned } = await stand.exchange();
    expect(seen?.headers.peer()).toEqual(OWN_HEADERS);
    expect(learned.upstream).toEqual(NOBODY);
    expect(got.headers.peer(), 'responses are no business of this list').toEqual(PEER_HEADERS);
  });

  test('an empty list is a list: nothing is touched', async () => {
    await using stand = await ProxyStand.start({ config: { downstream_discovery: [] }, answer });
    const { answer: got, seen, learned } = await stand.exchange({ headers: FROM_PEER });
    expect(seen?.headers.peer()).toEqual(PEER_HEADERS);
    expect(got.headers.peer()).toEqual(PEER_HEADERS);
    expect([learned.downstream, learned.upstream]).toEqual([NOBODY, NOBODY]);
  });
});
