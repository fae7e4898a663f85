// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { spiffe } from '../../../testkit/envoy/certificates.ts';
import type { Envoy } from '../../../testkit/envoy/process.ts';
import { tcpExchange } from '../../../testkit/envoy/tcp.ts';
import { Certificates, negotiatingChains, TcpPair, type TcpPairOptions, untilMetric } from '../../support/tcp.ts';
import { counting, expectCounts, OLDEST_AND_NEWEST, series, workload } from '../../support/traffic.ts';
import { Wire } from '../../support/wire.ts';

/**
 * Istio's metrics of TCP, and what Istio's own tests ask of them: bytes and connections by peer, on both sides, whatever
 * was negotiated.
 */

let certificates: Certificates;
beforeAll(() => {
  certificates = new Certificates();
});
afterAll(() => certificates?.[Symbol.dispose]());

const CLIENT = workload('productpage', { SERVICE_ACCOUNT: 'productpage' });
const SERVER = workload('redis', { SERVICE_ACCOUNT: 'redis' });

const METRICS = [
  'istio_tcp_connections_opened_total',
  'istio_tcp_connections_closed_total',
  'istio_tcp_received_bytes_total',
  'istio_tcp_sent_bytes_total',
];

/** Envoy's own rules that make labels of names. */
function rules() {
  const { stats_config, stats_flush_interval } = counting({ listeners: [] });
  return { stats_config, stats_flush_interval };
}

/** What Istio's test server does: it greets whoever says something. */
const hello = (wire: Wire) => {
  wire.socket.on('data', (chunk) => wire.socket.write(`hello ${chunk}`));
  wire.socket.on('end', () => wire.socket.end());
};

/** A pair of sidecars that count. */
function startPair(options: TcpPairOptions = {}): Promise<TcpPair> {
  const bootstrap = rules();
  const client = {
    metadata: CLIENT,
    bootstrap,
    config: { metrics: {}, preface: 'endpoint_metadata' },
    ...options.client,
  };
  const server = { metadata: SERVER, bootstrap, config: { metrics: {} }, ...options.server };
  return TcpPair.start({ serve: hello, ...options, client, server });
}

/** Connections one after the other: `world` in, `hello world` out. */
async function talk(port: number, times: number): Promise<void> {
  for (let i = 0; i < times; i++) {
    using wire = await Wire.open(port);
    await wire.send('world\n');
    expect((await wire.until('hello world\n')).toString()).toBe('hello world\n');
    wire.end();
    await wire.untilEnd();
  }
}

/** Expects all four metrics of ten such connections, between these two. */
async function expectTen(envoy: Envoy, labels: string, values: string): Promise<void> {
  for (const [name, count] of METRICS.map((name, i) => [name, [10, 10, 60, 120][i]] as const)) {
    await expectCounts(envoy, labels, { [values]: count }, name);
  }
}

describe.each(OLDEST_AND_NEWEST)('Envoy %s', (_, version) => {
  test('ten connections: bytes and connections on both sides, without prefaces, by source and destination', async () => {
    await using pair = await startPair({ certificates, version });
    await talk(pair.port, 10);
    const labels = 'reporter source_workload source_app destination_workload destination_app request_protocol';
    await expectTen(pair.client, labels, 'source productpage-v1 productpage redis-v1 redis tcp');
    await expectTen(pair.server, labels, 'destination productpage-v1 productpage redis-v1 redis tcp');
    const names = ['default', 'productpage', 'redis'];
    const [client, server] = [spiffe(names[0], names[1]), spiffe(names[0], names[2])];
    const security = 'source_principal destination_principal connection_security_policy';
    await expectTen(pair.client, security, `${client} ${server} unknown`);
    await expectTen(pair.server, security, `${client} ${server} mutual_tls`);
    for (const { labels } of await series(pair.server, METRICS[2])) {
      expect(Object.keys(labels)).toEqual(
        expect.arrayContaining(['source_canonical_service', 'destination_service', 'response_flags']),
      );
      expect(labels).not.toHaveProperty('response_code');
      expect(labels).not.toHaveProperty('grpc_response_status');
    }
  });

  test('a client that negotiates nothing: its bytes are left alone, and counted as nobody’s', async () => {
    const filter = tcpExchange({ metrics: {} });
    const chains = (filters: object[]) => {
      const [exchange, others] = negotiatingChains(certificates, filters);
      return [exchange, { ...others, filters: [filter, ...others.filters] }];
    };
    const plain = { endpoint: undefined };
    await using pair = await startPair({ certificates, version, client: plain, server: { chains }, offers: ['other'] });
    await talk(pair.port, 10);
    await expectTen(pair.server, 'source_workload destination_workload', 'unknown redis-v1');
    await expectTen(pair.client, 'source_workload destination_workload', 'productpage-v1 unknown');
    await untilMetric(pair.server, 'preface_not_found', 10);
    expect((await pair.logged()).server).toMatchObject({ chain: 'others', received: 6, sent: 12 });
  });

  test('a label that both agreed on arrives', async () => {
    const config = { dialect: 'istio', additional_labels: ['role'], preface: 'always' };
    const { LABELS, ...more } = CLIENT;
    const flat = { ...more, LABELS: { ...LABELS, role: 'client', unasked: 'x' } };
    const node = { id: 'client-node', cluster: 'c', metadata: flat };
    await using pair = await startPair({ version, client: { config, bootstrap: { node } }, server: { config } });
    await talk(pair.port, 1);
    expect((await pair.logged()).server.downstream.struct).toMatchObject({ LABELS: { role: 'client' } });
    expect((await pair.logged()).server.downstream.struct).not.toHaveProperty('LABELS.unasked');
  });
});

test('a connection that stays open is counted while it is open, and nothing twice', async () => {
  await using pair = await startPair();
  using wire = await Wire.open(pair.port);
  await wire.send('world\n');
  await wire.until('hello world\n');
  const labels = 'source_workload destination_workload';
  const who = 'productpage-v1 redis-v1';
  const reported = async (envoy: Envoy, metric: string) => (await series(envoy, metric))[0]?.value ?? 0;
  for (const envoy of [pair.client, pair.server]) {
    await envoy.until('it is counted', async () => (await reported(envoy, METRICS[2])) > 0);
    await expectCounts(envoy, labels, { [who]: 1 }, METRICS[0]);
    await expectCounts(envoy, labels, { [who]: 6 }, METRICS[2]);
    await expectCounts(envoy, labels, { [who]: 12 }, METRICS[3]);
    expect(await reported(envoy, METRICS[1])).toBe(0);
  }
  await wire.send('again\n');
  await wire.until('hello world\nhello again\n');
  wire.end();
  await wire.untilEnd();
  for (const envoy of [pair.client, pair.server]) {
    for (const [i, count] of [1, 1, 12, 24].entries()) await expectCounts(envoy, labels, { [who]: count }, METRICS[i]);
  }
});

test('connections that say nothing are counted, too, as those of somebody unknown', async () => {
  await using pair = await startPair();
  for (let i = 0; i < 3; i++) {
    using wire = await Wire.open(pair.port);
    await pair.app.wire(i);
    wire.end();
    await wire.untilEnd();
  }
  await expectCounts(pair.server, 'source_workload', { unknown: 3 }, METRICS[0]);
  await expectCounts(pair.server, 'source_workload', { unknown: 3 }, METRICS[1]);
});
