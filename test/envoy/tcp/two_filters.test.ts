// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { NOBODY } from '../../../testkit/connection_log.ts';
import { TAKES_PREFACES, tcpExchange } from '../../../testkit/envoy/tcp.ts';
import { preface } from '../../../testkit/preface.ts';
import { OWN, OWN_ID, PEER, PEER_ID, TcpStand } from '../../support/tcp.ts';

/** Two filters of ours in one chain, as two configurations of a mesh may bring them: one preface, once read. */

const PREFACE = preface({ metadata: PEER, id: PEER_ID });
const OWN_PREFACE = preface({ metadata: OWN, id: OWN_ID });
const peer = { struct: PEER, id: PEER_ID };

const two = (config: object) => [tcpExchange(config, 'first'), tcpExchange(config, 'second')];

test('before a server: the client is known, is answered once, and the server sees nothing of it', async () => {
  await using stand = await TcpStand.start({ direction: 'INBOUND', filters: two({}) });
  const { client, server } = await stand.open();
  await client.send(Buffer.concat([PREFACE, Buffer.from('question')]));
  expect((await server.until('question')).toString()).toBe('question');
  await server.send('answer');
  await client.until(Buffer.concat([OWN_PREFACE, Buffer.from('answer')]));
  server.end();
  expect(await client.untilEnd()).toEqual(Buffer.concat([OWN_PREFACE, Buffer.from('answer')]));
  client.end();
  expect((await stand.logged()).downstream).toMatchObject(peer);
});

test('before a client: the server is told once, and known', async () => {
  const filters = two({ preface: 'endpoint_metadata' });
  await using stand = await TcpStand.start({ direction: 'OUTBOUND', filters, endpoint: TAKES_PREFACES });
  const { client, server } = await stand.open();
  await client.send('question');
  client.end();
  expect(await server.untilEnd()).toEqual(Buffer.concat([OWN_PREFACE, Buffer.from('question')]));
  await server.send(Buffer.concat([PREFACE, Buffer.from('answer')]));
  server.end();
  expect((await client.untilEnd()).toString()).toBe('answer');
  expect((await stand.logged()).upstream).toMatchObject(peer);
});

test('in the middle, of no direction: both neighbours know it, and it knows both', async () => {
  const filters = two({ preface: 'always' });
  await using stand = await TcpStand.start({ filters });
  const { client, server } = await stand.open();
  await client.send(Buffer.concat([PREFACE, Buffer.from('question')]));
  client.end();
  expect(await server.untilEnd()).toEqual(Buffer.concat([OWN_PREFACE, Buffer.from('question')]));
  await server.send(Buffer.concat([PREFACE, Buffer.from('answer')]));
  server.end();
  expect(await client.untilEnd()).toEqual(Buffer.concat([OWN_PREFACE, Buffer.from('answer')]));
  expect(await stand.logged()).toMatchObject({ downstream: peer, upstream: peer });
});

test('a client without a preface gets none from either', async () => {
  await using stand = await TcpStand.start({ direction: 'INBOUND', filters: two({}) });
  const { client, server } = await stand.open();
  await client.send('question');
  await server.until('question');
  await server.send('answer');
  server.end();
  expect((await client.untilEnd()).toString()).toBe('answer');
  client.end();
  expect((await stand.logged()).downstream).toEqual(NOBODY);
});
