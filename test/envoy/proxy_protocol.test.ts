// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import net, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { Authority, spiffe } from '../../testkit/envoy/certificates.ts';
import { type Bootstrap, Envoy } from '../../testkit/envoy/process.ts';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { OLDEST_AND_NEWEST } from '../support/consumers.ts';
import { Fleet } from '../support/shipped.ts';
import { transportSocket } from '../support/tls.ts';

/**
 * envoy/proxy-protocol as shipped: who a TCP client is, told by stock Envoys alone, and how far that can be trusted. The
 * test plays client and database.
 */

const CLIENT = 'envoy/proxy-protocol/client.yaml';
const SERVER = 'envoy/proxy-protocol/server.yaml';
/** What version 2 of the PROXY protocol begins with. */
const SIGNATURE = Buffer.from('0d0a0d0a000d0a515549540a', 'hex');

/** A server of bytes: it answers `pong` to whatever comes first, which it remembers. */
async function database() {
  const seen: Buffer[] = [];
  const server = net.createServer((socket) => {
    socket.on('error', () => socket.destroy());
    socket.once('data', (bytes) => {
      seen.push(bytes);
      socket.end('pong');
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  onTestFinished(() => void server.close());
  return { seen, port: (server.address() as AddressInfo).port };
}

/** What comes back on a new connection that begins with these bytes; nothing, if it is closed at once. */
async function talk(port: number, bytes: Buffer | string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  let text = '';
  socket.on('data', (part) => {
    text += part;
  });
  socket.on('error', () => socket.destroy());
  socket.write(bytes);
  // Not `once`, which takes a reset for a failure of the test.
  await new Promise((resolve) => socket.once('close', resolve));
  return text;
}

/** A preface as anybody can write it: from 10.1.2.3:1, with these fields. */
function preface(...fields: [number, Buffer][]): Buffer {
  const addresses = Buffer.from('0a010203' + '0a040506' + '0001' + '0002', 'hex');
  const sized = (size: number) => Buffer.from([size >> 8, size & 255]);
  const body = [addresses, ...fields.flatMap(([type, value]) => [Buffer.from([type]), sized(value.length), value])];
  const size = body.reduce((sum, { length }) => sum + length, 0);
  return Buffer.concat([SIGNATURE, Buffer.from([0x21, 0x11]), sized(size), ...body]);
}

/** The server's log: a line for each connection, in the order of their ends. */
async function lines(envoy: Envoy, count: number) {
  const found = () => envoy.log().match(/^\{.*\}$/gm) ?? [];
  await envoy.until(`${count} connections are logged`, () => found().length >= count);
  return found().map((line) => JSON.parse(line));
}

interface Change {
  version?: string;
  /** What is different from the configurations as shipped. */
  client?: (config: Bootstrap) => void;
  server?: (config: Bootstrap) => void;
}

/** A database behind the server's sidecar, and a client's sidecar before it. */
async function start({ version, client: changeClient, server: changeServer }: Change) {
  const fleet = new Fleet();
  onTestFinished(() => fleet[Symbol.asyncDispose]());
  const app = await database();
  const serverConfig = shipped(SERVER, { app: app.port });
  changeServer?.(serverConfig);
  const server = await fleet.start('server', serverConfig, { version });
  const inbound = await server.port('inbound');
  const clientConfig = shipped(CLIENT, { ratings_db: inbound });
  changeClient?.(clientConfig);
  const client = await fleet.start('client', clientConfig, { version });
  return { app, server, inbound, outbound: await client.port('outbound') };
}

/** The client's sidecar alone, before a database that has none; what the database saw first. */
async function withoutServer(version?: string, change: (config: Bootstrap) => void = () => {}): Promise<Buffer> {
  const app = await database();
  const config = shipped(CLIENT, { ratings_db: app.port });
  change(config);
  await using client = await Envoy.start(config, { version });
  await talk(await client.port('outbound'), 'ping');
  return app.seen[0];
}

/** The transport socket that writes the preface. */
const writer = ({ static_resources }: Bootstrap) => static_resources.clusters[0].transport_socket.typed_config;
const proxyOf = ({ static_resources }: Bootstrap) =>
  static_resources.listeners[0].filter_chains[0].filters[0].typed_config;

const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);
const KNOWN = { client: 'productpage-v1', namespace: 'default' };
const NOBODY = { client: null, namespace: null };

describe.each(TESTED)('who a TCP client is, Envoy %s', { timeout: 30_000 }, (_, version) => {
  test('is known to the server’s sidecar, and the database gets the client’s bytes alone', async () => {
    const { app, server, outbound } = await start({ version });
    expect(await talk(outbound, 'ping')).toBe('pong');
    expect(app.seen.join()).toBe('ping');
    expect(await lines(server, 1)).toEqual([
      {
        ...KNOWN,
        client_address: expect.stringMatching(/^127\.0\.0\.1:\d+$/),
        sidecar_address: '127.0.0.1',
        received: 4,
      },
    ]);
  });

  test('may be written by the cluster instead, as it is', async () => {
    const client = (config: Bootstrap) => {
      delete proxyOf(config).proxy_protocol_tlvs;
      writer(config).config = { version: 'V2', added_tlvs: [{ type: 0xe0, value: 'cmV2aWV3cy12MQ==' }] };
    };
    const { server, outbound } = await start({ version, client });
    expect(await talk(outbound, 'ping')).toBe('pong');
    expect(await lines(server, 1)).toEqual([expect.objectContaining({ client: 'reviews-v1', namespace: null })]);
  });
});

test.each(TESTED.filter(([, version]) => version))(
  'a format in the cluster’s added_tlvs is taken by Envoy %s, and works from 1.40 on',
  async (_, version) => {
    const client = (config: Bootstrap) => {
      const [workload] = proxyOf(config).proxy_protocol_tlvs;
      delete proxyOf(config).proxy_protocol_tlvs;
      writer(config).config = { version: 'V2', added_tlvs: [workload] };
    };
    const { server, outbound } = await start({ version, client });
    expect(await talk(outbound, 'ping')).toBe('pong');
    const minor = Number(version?.split('.')[1]);
    const [line] = await lines(server, 1);
    expect(line.client).toBe(minor < 40 ? '' : 'productpage-v1');
  },
);

describe.each(OLDEST_AND_NEWEST)('its limits, Envoy %s', { timeout: 30_000 }, (_, version) => {
  test('a server without the listener filter gets the preface as data', async () => {
    const first = await withoutServer(version);
    expect(first.subarray(0, 12)).toEqual(SIGNATURE);
    expect(first.includes('productpage-v1')).toBe(true);
  });

  test('a client without a preface is nobody, or does not get in', async () => {
    const { app, server, inbound } = await start({ version });
    expect(await talk(inbound, 'ping')).toBe('pong');
    expect(await lines(server, 1)).toEqual([expect.objectContaining(NOBODY)]);
    const strict = await start({
      version,
      server: ({ static_resources }) => {
        delete static_resources.listeners[0].listener_filters[0].typed_config.allow_requests_without_proxy_protocol;
      },
    });
    expect(await talk(strict.inbound, 'ping, without a preface')).toBe('');
    expect([app.seen.length, strict.app.seen.length]).toEqual([1, 0]);
  });

  test('whoever can connect is who he says, from where he says', async () => {
    const { server, inbound } = await start({ version });
    const forged = preface([0xe0, Buffer.from('payments-v1')], [0xe1, Buffer.from('payments')]);
    expect(await talk(inbound, Buffer.concat([forged, Buffer.from('ping')]))).toBe('pong');
    const said = { client: 'payments-v1', namespace: 'payments', client_address: '10.1.2.3:1' };
    expect(await lines(server, 1)).toEqual([expect.objectContaining({ ...said, sidecar_address: '127.0.0.1' })]);
  });

  test.each([
    ['remote_ip', 'pong'],
    ['direct_remote_ip', ''],
  ])('a rule that goes by %s believes him, or not', async (key, answer) => {
    const server = ({ static_resources }: Bootstrap) => {
      const principals = [{ [key]: { address_prefix: '10.0.0.0', prefix_len: 8 } }];
      const rules = { policies: { inside: { permissions: [{ any: true }], principals } } };
      const type = 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC';
      const typed_config = { '@type': type, stat_prefix: 'inside', rules };
      static_resources.listeners[0].filter_chains[0].filters.unshift({ name: 'rbac', typed_config });
    };
    const { inbound } = await start({ version, server });
    expect(await talk(inbound, 'ping, without a preface')).toBe('');
    expect(await talk(inbound, Buffer.concat([preface(), Buffer.from('ping')]))).toBe(answer);
  });

  test('what he says may be anything: line breaks and NUL too', async () => {
    const { server, inbound } = await start({ version });
    const hostile = preface([0xe0, Buffer.from('a\r\n\0\xff"', 'latin1')], [0xe0, Buffer.from('second')]);
    expect(await talk(inbound, Buffer.concat([hostile, Buffer.from('ping')]))).toBe('pong');
    // Bytes that are not UTF-8 are replaced. Of two fields of one type the first counts.
    expect(await lines(server, 1)).toEqual([expect.objectContaining({ client: 'a\r\n\0!"' })]);
  });

  test('under mTLS the preface goes before the handshake: readable, and not what the certificate says', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'proxy-protocol-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const authority = new Authority(folder);
    const issue = (account: string) => authority.issue(account, { uris: [spiffe('default', account)] });
    const client = (config: Bootstrap) => {
      writer(config).transport_socket = transportSocket('Upstream', authority, issue('reviews'));
    };
    const first = await withoutServer(version, client);
    expect(first.subarray(0, 12)).toEqual(SIGNATURE);
    expect(first.includes('productpage-v1'), 'in the clear').toBe(true);
    const server = (config: Bootstrap) => {
      const [chain] = config.static_resources.listeners[0].filter_chains;
      chain.transport_socket = transportSocket('Downstream', authority, issue('ratings-db'));
      chain.transport_socket.typed_config.require_client_certificate = true;
      const [log] = proxyOf(config).access_log;
      log.typed_config.log_format.json_format.certificate = '%DOWNSTREAM_PEER_URI_SAN%';
    };
    const pair = await start({ version, client, server });
    expect(await talk(pair.outbound, 'ping')).toBe('pong');
    const both = { ...KNOWN, certificate: spiffe('default', 'reviews') };
    expect(await lines(pair.server, 1)).toEqual([expect.objectContaining(both)]);
  });
});
