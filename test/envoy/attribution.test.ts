// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FailingApp } from '../../envoy/attribution/app.ts';
import { type Bootstrap, Envoy } from '../../testkit/envoy/process.ts';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { send } from '../../testkit/http.ts';
import { OLDEST_AND_NEWEST } from '../support/consumers.ts';

/**
 * envoy/attribution: what the logs of both sides say about each other when requests fail. Three clients share the
 * connections to two servers, so that whoever was there before could be taken for the next one.
 */

const ROUNDS = 3;
const CLIENTS = ['productpage', 'loadtest', 'stranger'];
const SERVERS = ['reviews', 'details'];

/** How many requests are under way at reviews. */
const ACTIVE = 'http.reviews.downstream_rq_active';

interface Expected {
  /** The client proxy's status, and whether it knows the server. */
  client: [status: number, knows: boolean];
  /** The server proxy's status, and whether it knows the client; nothing if no request comes to it. */
  server?: [status: number, knows: boolean];
}

/** By the first part of the path. */
const CASES: Record<string, Expected> = {
  ok: { client: [200, true], server: [200, true] },
  // Refused by RBAC after the exchange, and before it.
  refused: { client: [403, true], server: [403, true] },
  'refused-first': { client: [403, false], server: [403, false] },
  'no-route': { client: [404, true], server: [404, true] },
  // No application behind the server's proxy.
  down: { client: [503, true], server: [503, true] },
  // The application resets before its headers.
  reset: { client: [503, true], server: [503, true] },
  // The server's proxy gives up, and the client's proxy does.
  late: { client: [504, true], server: [504, true] },
  hold: { client: [504, false], server: [0, true] },
};

/** By the host: where there is no proxy on the other side. */
const NO_PROXY: Record<string, Record<string, Expected>> = {
  app: { ok: { client: [200, false] }, reset: { client: [503, false] } },
  down: { ok: { client: [503, false] } },
};

interface Sent extends Expected {
  listener: string;
  host: string;
  path: string;
}

/** One request of each kind. */
function requests(round: number): Sent[] {
  const all = Object.fromEntries(SERVERS.map((server) => [server, CASES]));
  return Object.entries({ ...all, ...NO_PROXY }).flatMap(([host, cases]) =>
    Object.entries(cases).flatMap(([what, expected]) =>
      CLIENTS.map((listener) => ({ listener, host, path: `/${what}/${listener}-${host}-${round}`, ...expected })),
    ),
  );
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of the access log
type Line = any;

type Lines = Map<string, Line[]>;

/** The lines of an access log, by path. */
function linesOf(envoy: Envoy): Lines {
  const lines: Lines = new Map();
  for (const [text] of envoy.log().matchAll(/^\{.*\}$/gm)) {
    const line = JSON.parse(text);
    lines.set(line.path, [...(lines.get(line.path) ?? []), line]);
  }
  return lines;
}

/** The lines of an access log, once so many are there. */
async function logged(envoy: Envoy, requests: { path: string }[], tries = 1): Promise<Lines> {
  await envoy.until('all is logged', () => {
    const lines = linesOf(envoy);
    return requests.every(({ path }) => (lines.get(path) ?? []).length >= tries);
  });
  return linesOf(envoy);
}

/** What a line says of a peer of this name, or of nobody. */
const naming = (side: 'client' | 'server', name: string | false) => ({
  [side]: name || null,
  [`${side}_by_filter_state`]: name || null,
  [`${side}_id`]: name ? `${side}-node` : null,
});

/** The same with HTTP/2, where streams of all clients are under way on one connection at once. */
function overHttp2(config: Bootstrap): Bootstrap {
  const options = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  for (const cluster of config.static_resources.clusters) {
    if (!SERVERS.includes(cluster.name)) continue;
    cluster.typed_extension_protocol_options = {
      [options]: { '@type': `type.googleapis.com/${options}`, explicit_http_config: { http2_protocol_options: {} } },
    };
  }
  return config;
}

const VARIANTS = [
  ...OLDEST_AND_NEWEST.map(([name, version]) => ({ name, version, change: (config: Bootstrap) => config })),
  { name: 'over HTTP/2', version: OLDEST_AND_NEWEST.at(-1)?.[1], change: overHttp2 },
];

describe.each(VARIANTS)('when requests fail, Envoy $name', ({ version, change }) => {
  let app: FailingApp;
  let server: Envoy;
  let client: Envoy;
  let ports: Map<string, number>;

  beforeAll(async () => {
    app = await FailingApp.start();
    server = await Envoy.start(shipped('envoy/attribution/server.yaml', { app: app.port }), {
      name: 'server',
      version,
    });
    const [reviews, details] = await Promise.all(SERVERS.map((name) => server.port(name)));
    const config = change(shipped('envoy/attribution/client.yaml', { reviews, details, app: app.port }));
    client = await Envoy.start(config, { name: 'client', version });
    ports = new Map(await Promise.all(CLIENTS.map(async (name) => [name, await client.port(name)] as const)));
  });
  afterAll(async () => {
    await client?.stop();
    await server?.stop();
    await app?.[Symbol.asyncDispose]();
  });

  test('both sides name the right peer or nobody, never the one before', async () => {
    const sent: Sent[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const now = requests(round);
      const statuses = now.map(async ({ listener, host, path }) => {
        return (await send(ports.get(listener)!, { host, path })).status;
      });
      expect(await Promise.all(statuses)).toEqual(now.map((each) => each.client[0]));
      sent.push(...now);
    }
    const atClient = await logged(client, sent);
    const atServer = await logged(
      server,
      sent.filter((each) => each.server),
    );
    for (const { listener, host, path, ...expected } of sent) {
      const [status, knows] = expected.client;
      const known = listener !== 'stranger';
      expect(atClient.get(path), path).toMatchObject([{ status, ...naming('server', known && knows && host) }]);
      if (!expected.server) {
        expect(atServer.has(path), path).toBe(false);
        continue;
      }
      const [serverStatus, serverKnows] = expected.server;
      const line = { proxy: host, status: serverStatus, ...naming('client', known && serverKnows && listener) };
      expect(atServer.get(path), path).toMatchObject([line]);
    }
    const connections = await client.stat('cluster.reviews.upstream_cx_total');
    const requestsToReviews = await client.stat('cluster.reviews.upstream_rq_total');
    expect(connections, 'connections were shared').toBeLessThan(requestsToReviews / 2);
  });

  test('a first try that was answered does not speak for a second that was not', async () => {
    const sent = SERVERS.flatMap((host) =>
      CLIENTS.map((listener) => ({ listener, host, path: `/retry/${listener}-${host}` })),
    );
    const answers = await Promise.all(sent.map(({ listener, ...request }) => send(ports.get(listener)!, request)));
    expect(answers.map(({ status }) => status)).toEqual(sent.map(() => 504));
    expect(await client.stat('cluster.reviews.upstream_rq_retry')).toBe(CLIENTS.length);
    const atClient = await logged(client, sent);
    const atServer = await logged(server, sent, 2);
    for (const { listener, host, path } of sent) {
      expect(atClient.get(path), path).toMatchObject([{ status: 504, ...naming('server', false) }]);
      const known = naming('client', listener !== 'stranger' && listener);
      const tries = [503, 0].map((status) => ({ proxy: host, status, ...known }));
      expect(atServer.get(path), path).toMatchObject(tries);
    }
  });

  test('who hung up is known to the server, and the server to nobody', async () => {
    const path = '/wait/gone';
    const options = { host: '127.0.0.1', port: ports.get('productpage'), path, headers: { host: 'reviews' } };
    const request = http.request(options).on('error', () => undefined);
    request.end();
    await server.until('the request is under way', async () => (await server.stat(ACTIVE)) === 1);
    request.destroy();
    const atClient = await logged(client, [{ path }]);
    const atServer = await logged(server, [{ path }]);
    expect(atClient.get(path)).toMatchObject([{ status: 0, ...naming('server', false) }]);
    expect(atServer.get(path)).toMatchObject([{ status: 0, ...naming('client', 'productpage') }]);
  });
});
