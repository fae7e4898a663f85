// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { NOBODY } from '../../../testkit/connection_log.ts';
import { TAKES_PREFACES } from '../../../testkit/envoy/tcp.ts';
import { preface } from '../../../testkit/preface.ts';
import {
  CLIENT,
  CLIENT_ID,
  OWN,
  OWN_ID,
  PEER,
  PEER_ID,
  SERVER,
  SERVER_ID,
  TcpPair,
  TcpStand,
  untilMetric,
} from '../../support/tcp.ts';
import { Wire } from '../../support/wire.ts';

/** Connections that end in one direction, too early, or within a preface. */

const PREFACE = preface({ metadata: PEER, id: PEER_ID });
const client = { struct: CLIENT, id: CLIENT_ID };
const server = { struct: SERVER, id: SERVER_ID };

describe('through two sidecars', () => {
  test('a client that has no more to say is still answered', async () => {
    await using pair = await TcpPair.start({ serve: (wire) => void wire.untilEnd().then(() => answer(wire)) });
    const answer = (wire: Wire) => void wire.send(`all of ${wire.received.length}`).then(() => wire.end());
    using wire = await Wire.open(pair.port);
    await wire.send('12345');
    wire.end();
    expect((await wire.untilEnd()).toString()).toBe('all of 5');
    const logged = await pair.logged();
    expect([logged.server.downstream, logged.client.upstream]).toMatchObject([client, server]);
  });

  test('a server that has no more to say still hears', async () => {
    await using pair = await TcpPair.start();
    using wire = await Wire.open(pair.port);
    await wire.send('question');
    const app = await pair.app.wire();
    await app.until('question');
    app.end();
    expect((await wire.untilEnd()).length).toBe(0);
    await wire.send(' and more');
    wire.end();
    expect((await app.untilEnd()).toString()).toBe('question and more');
    expect((await pair.logged()).server.downstream).toMatchObject(client);
  });

  test('who connects and says nothing tells nothing, and leaves nothing behind', async () => {
    await using pair = await TcpPair.start();
    for (const how of ['end', 'break'] as const) {
      const wire = await Wire.open(pair.port);
      const app = await pair.app.wire(how === 'end' ? 0 : 1);
      if (how === 'end') wire.end();
      else wire[Symbol.dispose]();
      expect((await app.untilEnd()).length, how).toBe(0);
      app.end();
      wire[Symbol.dispose]();
    }
    const logged = await pair.logged(1);
    expect([logged.server.downstream, logged.client.upstream]).toEqual([NOBODY, NOBODY]);
    for (const envoy of [pair.client, pair.server]) await untilMetric(envoy, 'connections', 0);
  });

  test('a server that is not there: the client is let go', async () => {
    const gone = await TcpPair.start();
    await using _ = gone;
    await gone.app[Symbol.asyncDispose]();
    using wire = await Wire.open(gone.port);
    await wire.send('question');
    expect((await wire.untilEnd()).length).toBe(0);
    for (const envoy of [gone.client, gone.server]) await untilMetric(envoy, 'connections', 0);
  });
});

describe('an end within a preface', () => {
  const pieces = [1, 4, 7, 8, 9, PREFACE.length - 1];

  test.each(pieces)('of a client, after %i bytes: the server gets them as they are', async (size) => {
    await using stand = await TcpStand.start({ direction: 'INBOUND' });
    const { client, server } = await stand.open();
    const piece = PREFACE.subarray(0, size);
    await client.send(piece);
    client.end();
    expect(await server.untilEnd()).toEqual(piece);
    server.end();
    expect((await stand.logged()).downstream).toEqual(NOBODY);
    await untilMetric(stand.envoy, 'connections', 0);
  });

  test.each(pieces)('of a server, after %i bytes: the client gets them as they are', async (size) => {
    const config = { preface: 'endpoint_metadata' };
    await using stand = await TcpStand.start({ direction: 'OUTBOUND', config, endpoint: TAKES_PREFACES });
    const { client, server } = await stand.open();
    const piece = PREFACE.subarray(0, size);
    await client.send('question');
    await server.until(preface({ metadata: OWN, id: OWN_ID }));
    await server.send(piece);
    server.end();
    expect(await client.untilEnd()).toEqual(piece);
    client.end();
    expect((await stand.logged()).upstream).toEqual(NOBODY);
    await untilMetric(stand.envoy, 'connections', 0);
  });
});
