// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import { describe, expect, test } from 'vitest';
import { httpListener, metadataExchange, proxy } from '../../../testkit/envoy/config.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { tcpExchange } from '../../../testkit/envoy/tcp.ts';
import { App, ID, METADATA } from '../../../testkit/http.ts';
import { preface } from '../../../testkit/preface.ts';
import { struct } from '../../../testkit/struct.ts';
import { OWN, OWN_ID, PEER, PEER_ID } from '../../support/tcp.ts';
import { OLDEST_AND_NEWEST } from '../../support/traffic.ts';
import { Wire } from '../../support/wire.ts';

/**
 * HTTP behind the exchange over TCP: what a connection said holds for all of its requests, what a request said for that
 * request alone, and neither is taken for the other.
 */

const CONNECTION = 'wasm.envoy.wasm.metadata_exchange.connection.downstream';
const REQUEST = 'wasm.envoy.wasm.metadata_exchange.downstream';

const LOG = {
  connection_name: `%CEL(filter_state['${CONNECTION}'].NAME)%`,
  connection_id: `%FILTER_STATE(${CONNECTION}_id:PLAIN)%`,
  connection_plain: `%FILTER_STATE(${CONNECTION}.NAME:PLAIN)%`,
  request_name: `%CEL(filter_state['${REQUEST}'].NAME)%`,
  request_id: `%FILTER_STATE(${REQUEST}_id:PLAIN)%`,
};

/** A proxy before an HTTP server, with the exchange on connections, and on requests where that is wanted. */
async function start(app: App, version?: string, onRequests = true): Promise<{ envoy: Envoy; port: number }> {
  const config = { publish_fields: ['NAME'] };
  const filters = onRequests ? [metadataExchange(config)] : [];
  const listener = httpListener({ name: 'listener', direction: 'INBOUND', filters, log: LOG });
  listener.filter_chains[0].filters.unshift(tcpExchange(config, 'connections'));
  const base = proxy({
    node: { id: OWN_ID, metadata: { 'istio.io/metadata': OWN } },
    listeners: [],
    clusters: { app: { port: app.port } },
  });
  base.static_resources.listeners = [listener];
  const envoy = await Envoy.start(base, { version });
  return { envoy, port: await envoy.port('listener') };
}

/** One request in bytes, with the headers of a peer of this name, if it has one. */
function request(path: string, name?: string): string {
  const headers = name ? `${METADATA}: ${struct.header({ NAME: name })}\r\n${ID}: ${name}-id\r\n` : '';
  return `GET ${path} HTTP/1.1\r\nhost: test\r\n${headers}\r\n`;
}

/** Whom the proxy knew in the request with this path. */
async function knownIn(envoy: Envoy, path: string) {
  const line = () => envoy.log().match(new RegExp(`^\\{.*"path":"${path}".*\\}$`, 'm'))?.[0];
  await envoy.until(`${path} is logged`, () => line() !== undefined);
  const { connection_name, connection_id, connection_plain, request_name, request_id } = JSON.parse(line() ?? '');
  return { connection: [connection_name, connection_id, connection_plain], request: [request_name, request_id] };
}

/** Sends requests on one connection, each after the answer to the one before. */
async function converse(wire: Wire, requests: string[]): Promise<void> {
  for (const [i, each] of requests.entries()) {
    await wire.send(each);
    await wire.untilIt((text) => text.split('HTTP/1.1 200 OK').length === i + 2);
  }
}

const CLIENT = [PEER.NAME, PEER_ID, PEER.NAME];
const NOBODY = [null, null];

describe.each(OLDEST_AND_NEWEST)('Envoy %s', (_, version) => {
  test('a connection’s peer is known in each of its requests, and is answered once, before the first response', async () => {
    await using app = await App.start();
    const { envoy, port } = await start(app, version, false);
    await using _ = envoy;
    using wire = await Wire.open(port);
    await wire.send(preface({ metadata: PEER, id: PEER_ID }));
    await converse(wire, [request('/1'), request('/2'), request('/3')]);
    const own = preface({ metadata: OWN, id: OWN_ID });
    expect(wire.received.subarray(0, own.length)).toEqual(own);
    expect(wire.received.subarray(own.length).includes(own)).toBe(false);
    for (const path of ['/1', '/2', '/3']) {
      expect(await knownIn(envoy, path)).toEqual({ connection: CLIENT, request: NOBODY });
    }
  });

  test('what requests say stays theirs: not the next one’s on the same connection, nor the connection’s', async () => {
    await using app = await App.start();
    const { envoy, port } = await start(app, version);
    await using _ = envoy;
    using wire = await Wire.open(port);
    await wire.send(preface({ metadata: PEER, id: PEER_ID }));
    await converse(wire, [
      request('/1'),
      request('/2', 'first'),
      request('/3'),
      request('/4', 'second'),
      request('/5'),
    ]);
    const known: [string, (string | null)[]][] = [
      ['/1', NOBODY],
      ['/2', ['first', 'first-id']],
      ['/3', NOBODY],
      ['/4', ['second', 'second-id']],
      ['/5', NOBODY],
    ];
    for (const [path, asked] of known) {
      expect(await knownIn(envoy, path), path).toEqual({ connection: CLIENT, request: asked });
    }
    for (const { headers } of app.seen) expect(headers.peer()).toEqual({});
  });

  test('what one connection said is not the next one’s', async () => {
    await using app = await App.start();
    const { envoy, port } = await start(app, version);
    await using _ = envoy;
    for (const [i, name] of ['one', undefined, 'two'].entries()) {
      using wire = await Wire.open(port);
      if (name) await wire.send(preface({ metadata: { NAME: name }, id: `${name}-id` }));
      await converse(wire, [request(`/${i}`)]);
      const connection = name ? [name, `${name}-id`, name] : [null, null, null];
      expect(await knownIn(envoy, `/${i}`)).toEqual({ connection, request: NOBODY });
    }
  });

  test('clients of HTTP that know nothing of it are served as ever', async () => {
    await using app = await App.start();
    const { envoy, port } = await start(app, version);
    await using _ = envoy;
    const agent = new http.Agent({ keepAlive: true, maxSockets: 1 });
    const statuses: (number | undefined)[] = [];
    for (let i = 0; i < 3; i++) {
      statuses.push(
        await new Promise((resolve, reject) => {
          const asked = http.get({ host: '127.0.0.1', port, path: `/${i}`, agent }, (response) => {
            response.resume().on('end', () => resolve(response.statusCode));
          });
          asked.on('error', reject);
        }),
      );
    }
    agent.destroy();
    expect(statuses).toEqual([200, 200, 200]);
    expect((await knownIn(envoy, '/2')).connection).toEqual([null, null, null]);
  });
});
