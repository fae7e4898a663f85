// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { NOBODY } from '../../testkit/access_log.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { PEER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

/** Who a client is, as W3C baggage with Istio's keys says it. */

const BAGGAGE = [
  'k8s.deployment.name=reviews-v1,k8s.namespace.name=default,k8s.cluster.name=Kubernetes',
  'service.name=reviews,service.version=v1,app.name=reviews,app.version=v1,k8s.instance.name=reviews-v1-7f6d',
].join(',');
const SAID = {
  NAME: 'reviews-v1-7f6d',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'reviews-v1',
  CLUSTER_ID: 'Kubernetes',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
  LABELS: {
    app: 'reviews',
    version: 'v1',
    'service.istio.io/canonical-name': 'reviews',
    'service.istio.io/canonical-revision': 'v1',
  },
};
const [HEADERS, IN_BAGGAGE] = [{ istio_headers: {} }, { baggage: {} }];

describe('baggage as a way to learn about clients', () => {
  const inbound = (...methods: object[]) =>
    ProxyStand.start({ direction: 'INBOUND', config: { downstream_discovery: methods } });

  test('says who the client is, in the fields that headers have; the application still gets it', async () => {
    await using stand = await inbound(IN_BAGGAGE);
    const { seen, learned } = await stand.exchange({ headers: ['baggage', `userId=alice,${BAGGAGE};ttl=1`] });
    expect(learned.downstream.struct).toEqual(SAID);
    expect(learned.downstream.dynamic).toEqual(SAID);
    expect(seen?.headers.all('baggage')).toEqual([`userId=alice,${BAGGAGE};ttl=1`]);
  });

  test('encoded values, spaces and several headers are read as the one list that they are; the last value counts', async () => {
    await using stand = await inbound(IN_BAGGAGE);
    const first = 'k8s.namespace.name=old , k8s.instance.name = a%2Cb';
    const { learned } = await stand.exchange({ headers: ['baggage', first, 'baggage', 'k8s.namespace.name=new'] });
    expect(learned.downstream.struct).toEqual({ NAME: 'a,b', NAMESPACE: 'new', LABELS: {} });
  });

  test.each([
    ['userId=alice', 'nothing of ours'],
    ['k8s.namespace.name=', 'an empty value'],
    ['k8s.namespace.name', 'no value'],
    ['k8s.namespace.name=%ff', 'no UTF-8'],
    ['=,;,===', 'nothing at all'],
  ])('%j says nothing: %s', async (baggage) => {
    await using stand = await inbound(IN_BAGGAGE);
    const { answer, learned } = await stand.exchange({ headers: ['baggage', baggage] });
    expect([answer.status, learned.downstream]).toEqual([200, NOBODY]);
  });

  test.each([
    ['headers first', [HEADERS, IN_BAGGAGE], PEER],
    ['baggage first', [IN_BAGGAGE, HEADERS], SAID],
  ])('the first method that finds something counts: %s', async (_, methods, expected) => {
    await using stand = await inbound(...methods);
    const both = ['baggage', BAGGAGE, METADATA, PEER_HEADER, ID, PEER_ID];
    const { seen, learned } = await stand.exchange({ headers: both });
    expect(learned.downstream.struct).toEqual(expected);
    expect(seen?.headers.peer(), 'the headers are stripped either way').toEqual({});
    const alone = await stand.exchange({ headers: ['baggage', BAGGAGE] });
    expect(alone.learned.downstream.struct).toEqual(SAID);
  });
});

describe('baggage as a way to tell servers who we are', () => {
  const outbound = () =>
    ProxyStand.start({ direction: 'OUTBOUND', config: { upstream_propagation: [IN_BAGGAGE] }, metadata: SAID });

  test('says what the own metadata says', async () => {
    await using stand = await outbound();
    const { seen } = await stand.exchange();
    expect(seen?.headers.all('baggage')).toEqual([BAGGAGE]);
    expect(seen?.headers.peer()).toEqual({});
  });

  test('goes behind whatever the application said', async () => {
    await using stand = await outbound();
    const { seen } = await stand.exchange({ headers: ['baggage', 'userId=alice', 'baggage', 'k8s.pod.name=forged'] });
    expect(seen?.headers.all('baggage')).toEqual([`userId=alice,k8s.pod.name=forged,${BAGGAGE}`]);
  });

  test('values that baggage cannot hold are encoded', async () => {
    const config = { upstream_propagation: [IN_BAGGAGE] };
    await using stand = await ProxyStand.start({
      direction: 'OUTBOUND',
      config,
      metadata: { NAME: 'a, "b"; 100 % ä' },
    });
    const { seen } = await stand.exchange();
    expect(seen?.headers.all('baggage')).toEqual(['k8s.instance.name=a%2C%20%22b%22%3B%20100%20%25%20%C3%A4']);
  });
});
