// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import http2 from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { expectPeer, type Learned, learned, NOBODY } from '../../testkit/access_log.ts';
import { metadataExchange, probe, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import {
  type Attempt,
  attempt,
  FaultyServer,
  idOf,
  numberOf,
  type Outcome,
  pathOf,
  peerHeaders,
  saysOf,
} from '../support/faults.ts';
import { Updatable } from '../support/lds.ts';
import { OWN, OWN_HEADER, OWN_ID } from '../support/proxy_stand.ts';

/**
 * A proxy in the middle, which learns about both its sides and answers; every request is of another client, and every
 * answer of another server. Faults come in numbers, mixed with requests that are served as usual.
 */

const FAULTS = 20;
const NODE = { id: OWN_ID, metadata: { 'istio.io/metadata': OWN } };
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const FILTERS = [probe('probe responses'), metadataExchange(), probe()];

function start(port: number, drainSeconds?: number): Promise<Envoy> {
  const to = (prefix: string, route: object) => ({ match: { prefix }, route: { cluster: 'app', ...route } });
  const routes = [
    to('/down', { cluster: 'down' }),
    to('/hold/late', { timeout: '0.3s' }),
    to('/half/late', { timeout: '2s' }),
    to('/flap', { retry_policy: { retry_on: 'reset', num_retries: 1 } }),
    to('/', { timeout: '0s' }),
  ];
  const listeners = [{ name: 'listener', filters: FILTERS, routes }];
  // Envoy's own limit of three retries at once is not what is tested.
  const app = { port, circuit_breakers: { thresholds: [{ max_retries: 1000 }] } };
  const clusters = { app, down: { port: 1 } };
  return Envoy.start(proxy({ node: NODE, listeners, clusters }), { workers: 2, drainSeconds });
}

/** Expects an answer in full, with the proxy's own headers. */
function expectAnswer(outcome: Outcome, status = 200): void {
  expect(outcome, `request ${outcome.n}`).toMatchObject({ status, complete: true });
  expect(outcome.headers?.peer(), `request ${outcome.n}`).toEqual(OWN_HEADERS);
}

/** Expects what a stream learned to be about its own client, and its own server if that one said something. */
function expectLearned(line: Learned | undefined, n: number, serverSpoke: boolean): void {
  if (!line) throw new Error(`request ${n} is not in the access log`);
  expectPeer(line.downstream, saysOf('client', n), idOf('client', n));
  if (serverSpoke) expectPeer(line.upstream, saysOf('server', n), idOf('server', n));
  else expect(line.upstream, `request ${n}`).toEqual(NOBODY);
}

/** Expects the access log to have each of these requests once, and nothing else; by path. */
async function linesOf(envoy: Envoy, requests: number): Promise<Map<string, Learned>> {
  await envoy.until('all requests are logged', () => learned(envoy).length >= requests);
  const lines = learned(envoy);
  expect(lines.length).toBe(requests);
  const byPath = new Map(lines.map((line) => [line.path, line]));
  expect(byPath.size, 'no request is logged twice').toBe(requests);
  expect(await envoy.stat('http.listener.downstream_rq_total')).toBe(requests);
  expect(await envoy.stat('http.listener.downstream_rq_active')).toBe(0);
  // Metrics are written once a second: what they say after that is no older than the last stream.
  await sleep(1200);
  return byPath;
}

describe('a fault ends the stream that it strikes as it must, and no other', () => {
  interface Fault {
    what: string;
    status?: number;
    complete: boolean;
    /** The server said who it is before the fault. */
    serverSpoke: boolean;
    reset?: 'before' | 'mid-answer' | 'by server';
  }
  test.each<[string, Fault]>([
    ['clients reset before the answer', { what: 'hold', complete: false, serverSpoke: false, reset: 'before' }],
    [
      'clients reset mid-answer',
      { what: 'half', status: 200, complete: false, serverSpoke: true, reset: 'mid-answer' },
    ],
    ['the server resets before its answer', { what: 'reset', status: 503, complete: true, serverSpoke: false }],
    [
      'the server resets mid-answer',
      { what: 'half', status: 200, complete: false, serverSpoke: true, reset: 'by server' },
    ],
    ['the server resets once, and is tried again', { what: 'flap', status: 200, complete: true, serverSpoke: true }],
    ['the server is down', { what: 'down', status: 503, complete: true, serverSpoke: false }],
    ['the server does not answer in time', { what: 'hold/late', status: 504, complete: true, serverSpoke: false }],
    ['the server does not end in time', { what: 'half/late', status: 200, complete: false, serverSpoke: true }],
  ])('%s', async (_, { what, status, complete, serverSpoke, reset }) => {
    await using server = await FaultyServer.start();
    await using envoy = await start(server.port);
    const port = await envoy.port('listener');
    const agent = new http.Agent({ keepAlive: true, maxSockets: 2 * FAULTS });

    const numbers = Array.from({ length: 2 * FAULTS }, (_, n) => n);
    const outcomes = await Promise.all(
      numbers.map((n) => {
        if (n % 2) return attempt({ port, path: pathOf('usual', n), n, agent });
        const path = pathOf(what, n);
        const common: Attempt = { port, path, n, agent };
        if (reset === 'mid-answer') return attempt({ ...common, reset });
        if (reset === 'by server') return attempt({ ...common, onAnswer: () => server.breakOff(path) });
        if (reset !== 'before') return attempt(common);
        return attempt({ ...common, reset: envoy.until(`the server has ${path}`, () => server.has(path)) });
      }),
    );
    // The same connections again, as far as they still are, for others.
    const after = await Promise.all(
      numbers.map((n) => attempt({ port, path: pathOf('after', 100 + n), n: 100 + n, agent })),
    );
    agent.destroy();

    const lines = await linesOf(envoy, numbers.length * 2);
    for (const outcome of outcomes) {
      const { n } = outcome;
      if (n % 2) {
        expectAnswer(outcome);
        expectLearned(lines.get(pathOf('usual', n)), n, true);
        continue;
      }
      expect([outcome.status, outcome.complete], `request ${n}`).toEqual([status, complete]);
      if (status) expect(outcome.headers?.peer(), `request ${n}`).toEqual(OWN_HEADERS);
      expectLearned(lines.get(pathOf(what, n)), n, serverSpoke);
    }
    for (const outcome of after) {
      expectAnswer(outcome);
      expectLearned(lines.get(pathOf('after', outcome.n)), outcome.n, true);
    }
  });

  test('streams of one HTTP/2 connection that its client cancels, before and after the answer begins', async () => {
    await using server = await FaultyServer.start();
    await using envoy = await start(server.port);
    const session = http2.connect(`http://127.0.0.1:${await envoy.port('listener')}`);
    const whats = ['usual', 'hold', 'half'];
    const numbers = Array.from({ length: 3 * FAULTS }, (_, n) => n);
    const stream = (n: number) =>
      new Promise<Outcome>((resolve) => {
        const outcome: Outcome = { n, complete: false };
        const path = pathOf(whats[n % 3], n);
        const [metadata, value, id, idValue] = peerHeaders('client', n);
        const request = session.request({ ':path': path, [metadata]: value, [id]: idValue });
        const cancel = () => request.close(http2.constants.NGHTTP2_CANCEL);
        request.on('response', (headers) => {
          outcome.status = headers[':status'];
          expect([headers[METADATA], headers[ID]]).toEqual([OWN_HEADER, OWN_ID]);
          if (n % 3 === 2) cancel();
        });
        request.on('end', () => {
          outcome.complete = request.rstCode === 0;
        });
        request.on('error', () => undefined).on('close', () => resolve(outcome));
        request.resume();
        if (n % 3 === 1) void envoy.until(`the server has ${path}`, () => server.has(path)).then(cancel);
      });
    const outcomes = await Promise.all(numbers.map(stream));
    session.close();
    const lines = await linesOf(envoy, numbers.length);
    for (const { n, status } of outcomes) {
      expect(status, `stream ${n}`).toBe(n % 3 === 1 ? undefined : 200);
      expectLearned(lines.get(pathOf(whats[n % 3], n)), n, n % 3 !== 1);
    }
  });
});

/** Sends requests on connections of their own, eight at a time, until told to stop; how all of them ended. */
function load(port: number, stop: () => boolean): Promise<Outcome[]> {
  const outcomes: Outcome[] = [];
  let next = 1000;
  const one = async () => {
    while (!stop()) {
      const n = next++;
      outcomes.push(await attempt({ port, path: pathOf('usual', n), n }));
    }
  };
  return Promise.all(Array.from({ length: 8 }, one)).then(() => outcomes);
}

describe('changes while requests are under way', () => {
  test('an Envoy that is drained answers all that it took, and then takes no more', async () => {
    await using server = await FaultyServer.start();
    await using envoy = await start(server.port, 1);
    const port = await envoy.port('listener');
    let isDrained = false;
    const outcomes = load(port, () => isDrained);
    await envoy.until('it serves', () => learned(envoy).length > 50);
    await envoy.admin('/drain_listeners?graceful', 'POST');
    await envoy.until('its listeners are closed', async () => {
      return (await attempt({ port, path: pathOf('usual', 0), n: 0 })).status === undefined;
    });
    isDrained = true;

    const answered = (await outcomes).filter(({ status }) => status !== undefined);
    for (const outcome of answered) expectAnswer(outcome);
    await envoy.until('all is logged', async () => {
      return learned(envoy).length === (await envoy.stat('http.listener.downstream_rq_total'));
    });
    const lines = learned(envoy).filter(({ path }) => path !== pathOf('usual', 0));
    expect(lines.length, 'requests in, answers out').toBe(answered.length);
    for (const line of lines) expectLearned(line, numberOf(line.path), true);
  });

  test('listeners that are replaced ten times lose no request, and streams that outlive them are cut', async () => {
    const isInTheMiddle = (generation: number) => generation % 4 < 2;
    const listener = (n: number) => ({
      name: 'listener',
      filters: FILTERS,
      // Every second time the filter chain alone, which is replaced inside of the listener.
      direction: isInTheMiddle(n) ? undefined : ('INBOUND' as const),
      manager: { server_name: `generation-${n}` },
    });
    await using mesh = await Updatable.start([listener(0)], {
      node: NODE,
      workers: 2,
      drainSeconds: 1,
      answer: ({ path }) => {
        const headers = peerHeaders('server', numberOf(path));
        return path.startsWith('/hold') ? undefined : Promise.resolve({ headers });
      },
    });
    const { envoy } = mesh;
    const port = await envoy.port('listener');
    const held = Array.from({ length: 10 }, (_, n) => attempt({ port, path: pathOf('hold', n), n }));
    await envoy.until('the old streams wait', () => mesh.app.seen.length === held.length);
    let isOver = false;
    const outcomes = load(port, () => isOver);
    for (let n = 0; n <= 10; n++) {
      if (n > 0) await mesh.update([listener(n)]);
      const served = mesh.app.seen.length;
      await envoy.until('the next one serves', () => mesh.app.seen.length > served + 50);
    }
    for (const outcome of await Promise.all(held)) expect([outcome.n, outcome.complete]).toEqual([outcome.n, false]);
    isOver = true;
    const answered = await outcomes;
    for (const outcome of answered) expectAnswer(outcome);

    const lines = await linesOf(envoy, answered.length + held.length);
    const generations = new Set<number>();
    for (const { n, headers } of answered) {
      const generation = Number(headers?.all('server')[0].split('-')[1]);
      generations.add(generation);
      // Before a server (INBOUND) nothing is asked of it, and what it says of itself is not believed.
      expectLearned(lines.get(pathOf('usual', n)), n, isInTheMiddle(generation));
    }
    expect(generations.size).toBe(11);
    for (const { n } of await Promise.all(held)) expectLearned(lines.get(pathOf('hold', n)), n, false);
  });
});
