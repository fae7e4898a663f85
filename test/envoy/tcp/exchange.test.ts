// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NOBODY } from '../../../testkit/connection_log.ts';
import { preface } from '../../../testkit/preface.ts';
import { Certificates, CLIENT, CLIENT_ID, metric, SERVER, SERVER_ID, TcpPair, untilMetric } from '../../support/tcp.ts';
import { EVERY } from '../../support/traffic.ts';
import { echo, Wire } from '../../support/wire.ts';

/** Two sidecars around a connection of TCP, on every Envoy that the filter runs on. */

let certificates: Certificates;
beforeAll(() => {
  certificates = new Certificates();
});
afterAll(() => certificates?.[Symbol.dispose]());

/** One question and its answer: what the application got, and what its client did. */
async function ask({ port, app }: TcpPair): Promise<[asked: string, answered: string]> {
  const asked = app.wires.length;
  using client = await Wire.open(port);
  await client.send('question');
  await client.until('heard question');
  client.end();
  await client.untilEnd();
  return [(await app.wire(asked)).text, client.text];
}

const VERIFY = { verify_peer: { mode: 'mark' } };
const client = { struct: CLIENT, id: CLIENT_ID, verified: undefined };
const server = { struct: SERVER, id: SERVER_ID, verified: undefined };

describe.each(EVERY)('a client’s sidecar and a server’s, Envoy %s', (_, version) => {
  test('know each other, and neither application sees anything of it', async () => {
    await using pair = await TcpPair.start({ serve: echo, version });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    const logged = await pair.logged();
    expect(logged.client).toMatchObject({ downstream: NOBODY, upstream: server, received: 8, sent: 14 });
    // Envoy counts what comes to its listener, prefaces included.
    const [asked, answered] = [
      preface({ metadata: CLIENT, id: CLIENT_ID }),
      preface({ metadata: SERVER, id: SERVER_ID }),
    ];
    const bytes = { received: 8 + asked.length, sent: 14 + answered.length };
    expect(logged.server).toMatchObject({ downstream: client, upstream: NOBODY, ...bytes });
    for (const envoy of [pair.client, pair.server]) {
      await untilMetric(envoy, 'preface_found', 1);
      await untilMetric(envoy, 'preface_sent', 1);
      await untilMetric(envoy, 'connections', 0);
    }
  });

  test('over mTLS they know by certificates that it is true', async () => {
    const [config, verified] = [{ ...VERIFY, preface: 'endpoint_metadata' }, 'verified'];
    const sides = { client: { config }, server: { config: VERIFY } };
    await using pair = await TcpPair.start({ serve: echo, version, certificates, ...sides });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    const logged = await pair.logged();
    expect(logged.server).toMatchObject({ chain: 'exchange', downstream: { ...client, verified } });
    expect(logged.client.upstream).toEqual({ ...server, verified });
  });

  test('a client without the exchange is served, and is nobody', async () => {
    await using pair = await TcpPair.start({ serve: echo, version, client: { filters: [] } });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    expect((await pair.logged()).server).toMatchObject({ downstream: NOBODY, received: 8, sent: 14 });
    await untilMetric(pair.server, 'preface_not_found', 1);
    expect(await metric(pair.server, 'preface_sent')).toBe(0);
  });

  test('a server without the exchange, of which nobody says that it takes prefaces, gets none', async () => {
    const plain = { client: { endpoint: undefined }, server: { filters: [] } };
    await using pair = await TcpPair.start({ serve: echo, version, ...plain });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    expect((await pair.logged()).client).toMatchObject({ upstream: NOBODY, received: 8, sent: 14 });
    expect(await metric(pair.client, 'preface_sent')).toBe(0);
  });
});

describe('over mTLS', () => {
  test('a client that does not offer the exchange comes to the chain without it: its bytes are left alone', async () => {
    const plain = { client: { endpoint: undefined }, offers: ['istio'] };
    await using pair = await TcpPair.start({ serve: echo, certificates, ...plain });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    const logged = await pair.logged();
    expect(logged.server).toMatchObject({ chain: 'others', downstream: NOBODY });
    expect(logged.client.upstream).toEqual(NOBODY);
  });

  test('one that offers it and sends none is served by the chain with it', async () => {
    await using pair = await TcpPair.start({ serve: echo, certificates, client: { config: {} } });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    expect((await pair.logged()).server).toMatchObject({ chain: 'exchange', downstream: NOBODY });
    await untilMetric(pair.server, 'preface_not_found', 1);
  });

  test('who claims to be of another namespace is found out, and with `enforce` is nobody', async () => {
    const metadata = { ...CLIENT, NAMESPACE: 'kube-system' };
    const config = { verify_peer: { mode: 'enforce' } };
    await using pair = await TcpPair.start({
      serve: echo,
      certificates,
      client: { metadata },
      server: { config },
    });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    expect((await pair.logged()).server.downstream).toMatchObject({ struct: undefined, verified: 'mismatch' });
  });
});

describe('who is told what they are', () => {
  test('by `answer`, a server’s word and the default: a client that told; nobody else', async () => {
    for (const config of [{}, { preface: 'answer' }, { preface: 'endpoint_metadata' }]) {
      await using pair = await TcpPair.start({ serve: echo, server: { config } });
      expect(await ask(pair)).toEqual(['question', 'heard question']);
      expect((await pair.logged()).client.upstream, JSON.stringify(config)).toEqual(server);
    }
  });

  test('by `always`, both sides: whoever is there', async () => {
    const config = { preface: 'always' };
    const always = { client: { config, endpoint: undefined }, server: { config } };
    await using pair = await TcpPair.start({ serve: echo, ...always });
    expect(await ask(pair)).toEqual(['question', 'heard question']);
    const logged = await pair.logged();
    expect([logged.server.downstream, logged.client.upstream]).toEqual([client, server]);
  });

  test('a client’s side that only answers takes no part', async () => {
    for (const config of [{}, { preface: 'answer' }]) {
      await using pair = await TcpPair.start({ serve: echo, client: { config } });
      expect(await ask(pair)).toEqual(['question', 'heard question']);
      const logged = await pair.logged();
      expect([logged.server.downstream, logged.client.upstream]).toEqual([NOBODY, NOBODY]);
    }
  });

  test('lists decide where they are: one who only tells learns nothing, one who only learns tells nothing', async () => {
    const headers = [{ istio_headers: {} }];
    const preface = 'endpoint_metadata';
    await using tells = await TcpPair.start({
      serve: echo,
      client: { config: { preface, upstream_propagation: headers } },
      server: { config: { downstream_discovery: headers } },
    });
    expect(await ask(tells)).toEqual(['question', 'heard question']);
    const logged = await tells.logged();
    expect([logged.server.downstream, logged.client.upstream]).toEqual([client, NOBODY]);
    expect(await metric(tells.server, 'preface_sent')).toBe(0);
  });
});
