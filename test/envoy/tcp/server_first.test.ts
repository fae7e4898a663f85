// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { NOBODY } from '../../../testkit/connection_log.ts';
import { tcpExchange } from '../../../testkit/envoy/tcp.ts';
import { CLIENT, CLIENT_ID, metric, SERVER, SERVER_ID, TcpPair, untilMetric } from '../../support/tcp.ts';
import { OLDEST_AND_NEWEST } from '../../support/traffic.ts';
import { greet, Wire } from '../../support/wire.ts';

/** Servers that speak first, as MySQL's and SMTP's do: nobody may wait for a client that waits for them. */

const client = { struct: CLIENT, id: CLIENT_ID };
const server = { struct: SERVER, id: SERVER_ID };

/** Waits for the greeting, and asks only then. */
async function conversation({ port, app }: TcpPair): Promise<[asked: string, answered: string]> {
  using wire = await Wire.open(port);
  await wire.until('welcome\n');
  await wire.send('hello');
  await wire.until('welcome\nheard hello');
  wire.end();
  await wire.untilEnd();
  return [(await app.wire()).text, wire.text];
}

describe.each(OLDEST_AND_NEWEST)('a server that greets its clients, Envoy %s', (_, version) => {
  test('is not waited for, and learns who the client is; what it is comes too late to be told', async () => {
    await using pair = await TcpPair.start({ version, serve: greet });
    expect(await conversation(pair)).toEqual(['hello', 'welcome\nheard hello']);
    const logged = await pair.logged();
    expect(logged.server.downstream).toMatchObject(client);
    expect(logged.client.upstream).toEqual(NOBODY);
    expect(await metric(pair.server, 'preface_sent')).toBe(0);
    await untilMetric(pair.client, 'preface_not_found', 1);
  });

  test('tells it in front of its greeting, where its sidecar says so to all: each side knows the other', async () => {
    await using pair = await TcpPair.start({ version, serve: greet, server: { config: { preface: 'always' } } });
    expect(await conversation(pair)).toEqual(['hello', 'welcome\nheard hello']);
    const logged = await pair.logged();
    expect(logged.server.downstream).toMatchObject(client);
    expect(logged.client).toMatchObject({ upstream: server, received: 5, sent: 19 });
  });

  test('is known by its client’s sidecar while the client is still silent', async () => {
    await using pair = await TcpPair.start({ version, serve: greet, server: { config: { preface: 'always' } } });
    using wire = await Wire.open(pair.port);
    expect((await wire.until('welcome\n')).toString()).toBe('welcome\n');
    await untilMetric(pair.client, 'preface_found', 1);
    expect(await metric(pair.client, 'preface_sent')).toBe(0);
  });

  test('that says goodbye at once, to a client that never spoke', async () => {
    const serve = (wire: Wire) => void wire.send('too many connections\n').then(() => wire.end());
    await using pair = await TcpPair.start({ version, serve, server: { config: { preface: 'always' } } });
    using wire = await Wire.open(pair.port);
    expect((await wire.untilEnd()).toString()).toBe('too many connections\n');
    wire.end();
    const logged = await pair.logged();
    expect(logged.client.upstream).toMatchObject(server);
    expect(logged.server.downstream).toEqual(NOBODY);
  });

  test('greets also whom RBAC will turn away: that is asked at the client’s first byte, and not before', async () => {
    const rules = { policies: { nobody: { permissions: [{ any: true }], principals: [{ not_id: { any: true } }] } } };
    const type = 'type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC';
    const rbac = { name: 'rbac', typed_config: { '@type': type, stat_prefix: 'tcp', rules } };
    const filters = [tcpExchange({ preface: 'always' }), rbac];
    await using pair = await TcpPair.start({ version, serve: greet, server: { filters } });
    using wire = await Wire.open(pair.port);
    expect((await wire.until('welcome\n')).toString()).toBe('welcome\n');
    await wire.send('hello');
    expect((await wire.untilEnd()).toString()).toBe('welcome\n');
    expect((await pair.app.wire()).text).toBe('');
    expect(await pair.server.stat('tcp.rbac.denied')).toBe(1);
  });
});
