// SPDX-License-Identifier: Apache-2.0
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { expect, test } from 'vitest';
import { connections } from '../../../testkit/connection_log.ts';
import { memoryOf } from '../../../testkit/process_memory.ts';
import { CLIENT, CLIENT_ID, SERVER, SERVER_ID, TcpPair, untilMetric } from '../../support/tcp.ts';
import { echo, Wire } from '../../support/wire.ts';

/** Much at once: what one connection carries, and how many connections come and go. */

const BYTES = 2 ** 30;
const CONNECTIONS = 10_000;
/** How many of them are open at the same time. */
const TOGETHER = 100;
const TIMEOUT = 300_000;

/** A pool of random bytes, of which each chunk begins elsewhere. */
const POOL = randomBytes(2 ** 20);
const CHUNK = 2 ** 16;

/** Sends so many bytes, no two gigabytes alike, and ends; their checksum. */
async function pour(socket: Socket, seed: number): Promise<string> {
  const hash = createHash('sha256');
  for (let sent = 0; sent < BYTES; sent += CHUNK) {
    const from = (sent / CHUNK + seed) * 7919;
    const chunk = POOL.subarray(from % (POOL.length - CHUNK), (from % (POOL.length - CHUNK)) + CHUNK);
    hash.update(chunk);
    if (!socket.write(chunk)) await once(socket, 'drain');
  }
  socket.end();
  return hash.digest('hex');
}

/** Reads to the end: how many bytes there were, and their checksum. */
async function drink(socket: Socket): Promise<[number, string]> {
  const hash = createHash('sha256');
  let bytes = 0;
  // It may still send when the other side has no more to say.
  for await (const chunk of socket.iterator({ destroyOnReturn: false })) {
    hash.update(chunk);
    bytes += chunk.length;
  }
  return [bytes, hash.digest('hex')];
}

test('a gigabyte there and another one back arrive as they were sent', { timeout: TIMEOUT }, async () => {
  const server = net.createServer({ allowHalfOpen: true });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const accepted = once(server, 'connection');
  await using pair = await TcpPair.start({ to: (server.address() as AddressInfo).port });
  const client = net.connect({ host: '127.0.0.1', port: pair.port, allowHalfOpen: true });
  const asked = pour(client, 1);
  const [socket] = (await accepted) as [Socket];
  expect(await drink(socket)).toEqual([BYTES, await asked]);
  const answered = pour(socket, 2);
  expect(await drink(client)).toEqual([BYTES, await answered]);
  const logged = await pair.logged();
  expect(logged.server.downstream).toMatchObject({ struct: CLIENT });
  expect(logged.client).toMatchObject({ received: BYTES, sent: BYTES, upstream: { struct: SERVER } });
  server.close();
});

/** What the second half of the connections may leave behind in an Envoy. */
const MOST_GROWTH = 8 * 2 ** 20;

test(`${CONNECTIONS} connections: each side knows the other in all of them, and none is left`, {
  timeout: TIMEOUT,
}, async () => {
  await using pair = await TcpPair.start({ serve: echo, workers: 2 });
  let begun = 0;
  const talk = async (until: number) => {
    while (begun < until) {
      const question = `question ${begun++}`;
      using wire = await Wire.open(pair.port);
      await wire.send(question);
      wire.end();
      expect((await wire.untilEnd()).toString()).toBe(`heard ${question}`);
    }
  };
  const memory = () => [pair.client, pair.server].map(({ pid }) => memoryOf(pid).anonymous);
  const many = (until: number) => Promise.all(Array.from({ length: TOGETHER }, () => talk(until)));
  await many(CONNECTIONS / 2);
  const before = memory();
  await many(CONNECTIONS);
  for (const [envoy, side, peer] of [
    [pair.server, 'downstream', { struct: CLIENT, id: CLIENT_ID }],
    [pair.client, 'upstream', { struct: SERVER, id: SERVER_ID }],
  ] as const) {
    await untilMetric(envoy, 'connections', 0);
    await untilMetric(envoy, 'preface_found', CONNECTIONS);
    await untilMetric(envoy, 'preface_sent', CONNECTIONS);
    await envoy.until('all are logged', () => envoy.log().split('"connection":').length > CONNECTIONS);
    const known = new Set(connections(envoy).map((each) => JSON.stringify(each[side])));
    expect([...known].map((each) => JSON.parse(each))).toEqual([peer]);
  }
  for (const [i, bytes] of memory().entries()) expect(bytes - before[i]).toBeLessThan(MOST_GROWTH);
});
