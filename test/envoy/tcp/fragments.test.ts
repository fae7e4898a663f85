// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NOBODY } from '../../../testkit/connection_log.ts';
import { TAKES_PREFACES } from '../../../testkit/envoy/tcp.ts';
import { HEAD, preface, readPreface } from '../../../testkit/preface.ts';
import { Random } from '../../../testkit/random.ts';
import { OWN, OWN_ID, PEER, PEER_ID, TcpStand, untilMetric } from '../../support/tcp.ts';
import { Wire } from '../../support/wire.ts';

/** Prefaces that come in pieces: what is held is held no longer than needed, and nothing is lost or shifted. */

const PREFACE = preface({ metadata: PEER, id: PEER_ID });
const peer = { struct: PEER, id: PEER_ID };
const DATA = 'what the application says';
const WHOLE = Buffer.concat([PREFACE, Buffer.from(DATA)]);

/** A piece for each byte. */
const everyByte = (bytes: Uint8Array) => Array.from(bytes.keys()).slice(1);

/** Ends of pieces, some of them near the edges of the head and of the preface. */
function somewhere(random: Random): number[] {
  const edges = [1, 4, HEAD - 1, HEAD, HEAD + 1, PREFACE.length - 1, PREFACE.length, PREFACE.length + 1];
  const ends = Array.from({ length: 1 + random.below(4) }, () =>
    random.oneIn(2) ? random.pick(edges) : 1 + random.below(WHOLE.length - 1),
  );
  return [...new Set(ends)].sort((a, b) => a - b);
}

describe('a client’s preface in pieces', () => {
  let stand: TcpStand;
  beforeAll(async () => {
    stand = await TcpStand.start({ direction: 'INBOUND' });
  });
  afterAll(() => stand?.[Symbol.asyncDispose]());

  /** What of these bytes the server gets, and what the proxy learned. */
  async function deliver(ends: number[], bytes: Buffer = WHOLE) {
    const { client, server, n } = await stand.open();
    using _ = client;
    await client.sendInPieces(bytes, ends);
    client.end();
    const got = await server.untilEnd();
    server.end();
    await client.untilEnd();
    return { got: got.toString('latin1'), ...(await stand.logged(n)) };
  }

  test('byte by byte', async () => {
    expect(await deliver(everyByte(WHOLE))).toMatchObject({ got: DATA, downstream: peer });
  });

  test('anywhere', async () => {
    const random = new Random(1);
    for (let i = 0; i < 40; i++) {
      const ends = somewhere(random);
      expect(await deliver(ends), `pieces that end at ${ends}`).toMatchObject({ got: DATA, downstream: peer });
    }
  });

  test('a preface and nothing behind it', async () => {
    expect(await deliver([5, 20], PREFACE)).toMatchObject({ got: '', downstream: peer });
  });

  test('a second preface is what the application says: only the first bytes are looked at', async () => {
    const twice = Buffer.concat([PREFACE, PREFACE, Buffer.from('x')]);
    const found = await deliver([PREFACE.length + 3], twice);
    expect(found.got).toBe(twice.subarray(PREFACE.length).toString('latin1'));
  });

  test('the beginning of the magic number, and then something else', async () => {
    const almost = Buffer.from([0x3d, 0x23, 0x04, 0x68, 1, 2, 3]);
    expect(await deliver([1, 2, 3], almost)).toMatchObject({ got: almost.toString('latin1'), downstream: NOBODY });
  });
});

describe('a server’s preface in pieces', () => {
  let stand: TcpStand;
  beforeAll(async () => {
    const config = { preface: 'endpoint_metadata' };
    stand = await TcpStand.start({ direction: 'OUTBOUND', config, endpoint: TAKES_PREFACES });
  });
  afterAll(() => stand?.[Symbol.asyncDispose]());

  /** What of these bytes the client gets, after its question, and what the proxy learned. */
  async function deliver(ends: number[], bytes: Buffer = WHOLE) {
    const { client, server, n } = await stand.open();
    using _ = client;
    await client.send('question');
    const own = preface({ metadata: OWN, id: OWN_ID });
    const asked = await server.until(Buffer.concat([own, Buffer.from('question')]));
    expect(readPreface(asked)).toEqual({ said: { metadata: OWN, id: OWN_ID }, rest: Buffer.from('question') });
    expect(asked.subarray(0, own.length), 'what protobufjs would have written').toEqual(own);
    await server.sendInPieces(bytes, ends);
    server.end();
    const got = await client.untilEnd();
    client.end();
    return { got: got.toString('latin1'), ...(await stand.logged(n)) };
  }

  test('byte by byte', async () => {
    expect(await deliver(everyByte(WHOLE))).toMatchObject({ got: DATA, upstream: peer });
  });

  test('anywhere', async () => {
    const random = new Random(2);
    for (let i = 0; i < 40; i++) {
      const ends = somewhere(random);
      expect(await deliver(ends), `pieces that end at ${ends}`).toMatchObject({ got: DATA, upstream: peer });
    }
  });
});

describe('a preface that goes on no further', () => {
  const HALF = PREFACE.subarray(0, PREFACE.length - 3);

  test('of a client: after five seconds the server gets what there is, and all that follows', async () => {
    await using stand = await TcpStand.start({ direction: 'INBOUND' });
    const { client, server } = await stand.open();
    using _ = client;
    await client.send(HALF);
    expect(await server.until(HALF)).toEqual(HALF);
    await untilMetric(stand.envoy, 'preface_stalled', 1);
    await client.send(WHOLE.subarray(HALF.length));
    expect(await server.until(WHOLE)).toEqual(WHOLE);
    await server.send('goes on');
    await client.until('goes on');
    client.end();
    server.end();
    expect((await stand.logged()).downstream).toEqual(NOBODY);
  });

  test('of a server: the connection is closed, because Envoy cannot give its bytes on', async () => {
    const config = { preface: 'endpoint_metadata' };
    await using stand = await TcpStand.start({ direction: 'OUTBOUND', config, endpoint: TAKES_PREFACES });
    const { client, server } = await stand.open();
    using _ = client;
    await client.send('question');
    await server.until(preface({ metadata: OWN, id: OWN_ID }));
    await server.send(HALF);
    expect((await client.untilEnd()).length).toBe(0);
    await server.untilEnd();
    await untilMetric(stand.envoy, 'preface_stalled', 1);
    await untilMetric(stand.envoy, 'connections', 0);
  });

  test('who says nothing at all is not stalled: a connection may be silent as long as it likes', async () => {
    await using stand = await TcpStand.start({ direction: 'INBOUND' });
    const [silent, half] = [await stand.open(), await stand.open()];
    await half.client.send(HALF);
    // Once the second one is given up, the first one has been silent for longer than that.
    await half.server.until(HALF);
    await silent.client.send(WHOLE);
    expect((await silent.server.until(DATA)).toString()).toBe(DATA);
    await untilMetric(stand.envoy, 'preface_found', 1);
    for (const { client } of [silent, half]) client[Symbol.dispose]();
  });

  test('of many clients and of many servers at once: all are let go, and the filter serves the next one', async () => {
    const config = { preface: 'endpoint_metadata' };
    await using stand = await TcpStand.start({ config, endpoint: TAKES_PREFACES, workers: 2 });
    const MANY = 200;
    const clients = await Promise.all(Array.from({ length: MANY }, () => Wire.open(stand.port)));
    // The first half stops within its preface; the servers of the others do.
    await Promise.all(clients.map((wire, i) => wire.send(i % 2 ? 'question' : HALF)));
    const own = preface({ metadata: OWN, id: OWN_ID });
    await stand.envoy.until('all servers are there', () => stand.server.wires.length === MANY);
    const asked = () => stand.server.wires.filter(({ text }) => text.endsWith('question'));
    await stand.envoy.until('half of them are asked', () => asked().length === MANY / 2);
    await Promise.all(asked().map((wire) => wire.send(HALF)));
    await untilMetric(stand.envoy, 'preface_stalled', MANY);
    const [asking, stopping] = [1, 0].map((odd) => clients.filter((_, i) => i % 2 === odd));
    await Promise.all(asking.map((wire) => wire.untilEnd()));
    for (const { received } of asking) expect(received.length).toBe(0);
    const held = Buffer.concat([own, HALF]);
    await stand.envoy.until('the others arrived', () => {
      return stand.server.wires.filter(({ received }) => received.equals(held)).length === MANY / 2;
    });
    for (const wire of stopping) wire.end();
    for (const wire of stand.server.wires) wire.end();
    await Promise.all(stopping.map((wire) => wire.untilEnd()));
    await untilMetric(stand.envoy, 'connections', 0);
    const next = await Wire.open(stand.port);
    await next.send(Buffer.concat([PREFACE, Buffer.from('next')]));
    const server = await stand.server.wire(MANY);
    expect(await server.until(Buffer.concat([own, Buffer.from('next')]))).toEqual(
      Buffer.concat([own, Buffer.from('next')]),
    );
    next[Symbol.dispose]();
  });
});
