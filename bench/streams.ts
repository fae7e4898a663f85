// SPDX-License-Identifier: Apache-2.0
import http2 from 'node:http2';
import type { AddressInfo } from 'node:net';
import type { Contender } from './contenders.ts';
import { inbound, LoadStand } from './load_stand.ts';
import { measure } from './measure.ts';
import type { Comparison } from './statistics.ts';

/** What a request costs while others wait for their answers: streams that are under way must cost nobody anything. */

/** How many streams are under way. */
export const ACTIVE = [1, 100, 5000];
const STREAMS_OF_ONE_CLIENT = 500;

/** Opens streams that get no answer; the answer closes them. */
async function open(port: number, streams: number, headers: [string, string][]): Promise<() => void> {
  const clients: http2.ClientHttp2Session[] = [];
  for (let left = streams; left > 0; left -= STREAMS_OF_ONE_CLIENT) {
    const client = http2.connect(`http://127.0.0.1:${port}`);
    client.on('error', () => undefined);
    clients.push(client);
    for (let i = 0; i < Math.min(left, STREAMS_OF_ONE_CLIENT); i++) {
      client.request({ ':path': '/hold', ...Object.fromEntries(headers) }).on('error', () => undefined);
    }
  }
  return () => {
    for (const client of clients) client.destroy();
  };
}

/** What an inbound request costs with so many others waiting, at each contender. */
export async function withActive(
  contenders: Contender[],
  streams: number,
  rounds: number,
  requests: number,
  say: (round: number) => void,
): Promise<Comparison> {
  const server = http2.createServer();
  server.on('stream', (stream) => stream.on('error', () => undefined));
  server.on('session', (session) => session.on('error', () => undefined));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const holding = (server.address() as AddressInfo).port;
  const traffic = inbound(600);
  const stands: LoadStand[] = [];
  const closes: (() => void)[] = [];
  try {
    for (const contender of contenders) {
      const stand = await LoadStand.start(contender, { holding });
      stands.push(stand);
      closes.push(await open(stand.port('in'), streams, traffic.headers));
      await stand.envoy.until('all streams are under way', async () => {
        return (await stand.envoy.stat('http.in.downstream_rq_active')) === streams;
      });
    }
    return await measure(stands, traffic, rounds, requests, say);
  } finally {
    for (const close of closes) close();
    for (const stand of stands) await stand[Symbol.asyncDispose]();
    server.close();
  }
}
