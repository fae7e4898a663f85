// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { httpCluster } from '../../../testkit/envoy/config.ts';
import { TAKES_PREFACES } from '../../../testkit/envoy/tcp.ts';
import { preface } from '../../../testkit/preface.ts';
import { WorkloadServer } from '../../../testkit/xds/server.ts';
import { CLIENT, SERVER } from '../../support/discovery.ts';
import { PEER, PEER_ID, TcpStand, untilMetric } from '../../support/tcp.ts';
import { OLDEST_AND_NEWEST } from '../../support/traffic.ts';

/** Peers of connections that send no preface: by what a control plane says of their endpoint, or of their address. */

const PREFACE = preface({ metadata: PEER, id: PEER_ID });
const RATINGS = { filter_metadata: { istio: { workload: 'ratings-v1;default;ratings;v1;Kubernetes' } } };
const BY_ENDPOINT = { upstream_discovery: [{ istio_headers: {} }, { endpoint_metadata: {} }] };

/** A question, and an answer that begins as told; what the proxy learned. */
async function converse(
  stand: TcpStand,
  answer: Uint8Array | string,
  asked: Uint8Array | string = 'question',
  from?: string,
) {
  const { client, server, n } = await stand.open(from);
  using _ = client;
  await client.send(asked);
  client.end();
  await server.untilEnd();
  await server.send(answer);
  server.end();
  const answered = await client.untilEnd();
  return { asked: server.text, answered: answered.toString(), ...(await stand.logged(n)) };
}

describe.each(OLDEST_AND_NEWEST)('Envoy %s', (_, version) => {
  test('a server is known by what the control plane says of its endpoint', async () => {
    await using stand = await TcpStand.start({
      version,
      direction: 'OUTBOUND',
      config: BY_ENDPOINT,
      endpoint: RATINGS,
    });
    const { asked, answered, upstream } = await converse(stand, 'answer');
    expect([asked, answered]).toEqual(['question', 'answer']);
    expect(upstream).toMatchObject({ struct: { WORKLOAD_NAME: 'ratings-v1', NAMESPACE: 'default' }, id: undefined });
  });

  test('what it says itself, in a preface, comes first where the list says so', async () => {
    const config = { ...BY_ENDPOINT, upstream_propagation: [{ istio_headers: {} }], preface: 'endpoint_metadata' };
    const endpoint = { filter_metadata: { ...RATINGS.filter_metadata, ...TAKES_PREFACES.filter_metadata } };
    await using stand = await TcpStand.start({ version, direction: 'OUTBOUND', config, endpoint });
    const told = await converse(stand, Buffer.concat([PREFACE, Buffer.from('answer')]));
    expect([told.answered, told.upstream]).toMatchObject(['answer', { struct: PEER, id: PEER_ID }]);
    const silent = await converse(stand, 'answer');
    expect([silent.answered, silent.upstream]).toMatchObject(['answer', { struct: { WORKLOAD_NAME: 'ratings-v1' } }]);
  });

  test('both sides are known by their addresses, as the control plane tells of workloads', async () => {
    const workloads = [CLIENT, { ...SERVER, addresses: ['127.0.0.1'] }];
    await using control = await WorkloadServer.start({ workloads });
    const by = [{ istio_headers: {} }, { workload_discovery: {} }];
    await using stand = await TcpStand.start({
      version,
      config: { downstream_discovery: by, upstream_discovery: by },
      clusters: [httpCluster('workload-discovery', { port: control.port, http2: true })],
    });
    await untilMetric(stand.envoy, 'discovery_updates', 2);
    const from = CLIENT.addresses[0];
    const names = { downstream: { struct: { NAME: CLIENT.name } }, upstream: { struct: { NAME: SERVER.name } } };
    expect(await converse(stand, 'answer', 'question', from)).toMatchObject({ asked: 'question', ...names });
    // Its own word is worth more than its address.
    const asked = Buffer.concat([PREFACE, Buffer.from('question')]);
    const told = await converse(stand, 'answer', asked, from);
    expect(told).toMatchObject({ asked: 'question', answered: 'answer', downstream: { struct: PEER } });
  });
});
