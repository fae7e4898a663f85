// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { learnedOf, NOBODY } from '../../testkit/access_log.ts';
import { ID, METADATA, send } from '../../testkit/http.ts';
import { PEER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

/** Who a client is, as W3C baggage with Istio's keys says it. */

const BAGGAGE = [
  'k8s.deployment.name=reviews-v1,service.name=reviews,service.version=v1',
  'k8s.namespace.name=default,k8s.cluster.name=Kubernetes,k8s.instance.name=reviews-v1-7f6d',
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
const REFUSED = 'wasmcustom.metadata_exchange.refused_baggage';
const OVERSIZE = 'wasmcustom.metadata_exchange.oversize';
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

  test('encoded values, spaces and several headers are read as the one list that they are', async () => {
    await using stand = await inbound(IN_BAGGAGE);
    const first = 'k8s.cluster.name=one , k8s.instance.name = a%2Cb';
    const { learned } = await stand.exchange({ headers: ['baggage', first, 'baggage', 'k8s.namespace.name=new'] });
    expect(learned.downstream.struct).toEqual({ NAME: 'a,b', NAMESPACE: 'new', CLUSTER_ID: 'one', LABELS: {} });
  });

  test('members of two workloads are nobody’s: which is whose cannot be told', async () => {
    await using stand = await inbound(IN_BAGGAGE);
    const other = 'k8s.namespace.name=other,k8s.instance.name=other';
    const { seen, learned } = await stand.exchange({ headers: ['baggage', BAGGAGE, 'baggage', other] });
    expect(learned.downstream).toEqual(NOBODY);
    expect(seen?.headers.all('baggage'), 'it goes on as it came').toEqual([BAGGAGE, other]);
    await stand.envoy.until('it is counted', async () => (await stand.envoy.stat(REFUSED)) === 1);
  });

  test('larger than max_header_size is not read, and counted', async () => {
    const config = { downstream_discovery: [IN_BAGGAGE], max_header_size: BAGGAGE.length };
    await using stand = await ProxyStand.start({ direction: 'INBOUND', config });
    expect((await stand.exchange({ headers: ['baggage', BAGGAGE] })).learned.downstream.struct).toEqual(SAID);
    expect((await stand.exchange({ headers: ['baggage', `${BAGGAGE},a=b`] })).learned.downstream).toEqual(NOBODY);
    await stand.envoy.until('it is counted', async () => (await stand.envoy.stat(OVERSIZE)) === 1);
  });

  test('a client known by baggage alone is not answered with headers that it did not ask for', async () => {
    const config = { downstream_discovery: [HEADERS, IN_BAGGAGE], downstream_propagation: [HEADERS] };
    await using stand = await ProxyStand.start({ direction: 'INBOUND', config });
    const { answer, learned } = await stand.exchange({ headers: ['baggage', BAGGAGE] });
    expect(learned.downstream.struct).toEqual(SAID);
    expect(answer.headers.peer()).toEqual({});
  });

  test.each([
    ['userId=alice', 'nothing of ours'],
    ['k8s.namespace.name=', 'an empty value'],
    ['k8s.namespace.name', 'no value'],
    ['k8s.namespace.name=%ff', 'no UTF-8'],
    ['k8s.namespace.name=a%00b', 'NUL'],
    ['k8s.namespace.name=a%0d%0ab', 'a line break'],
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

test('a server is known by the baggage of its response, which goes on', async () => {
  const config = { upstream_discovery: [HEADERS, IN_BAGGAGE] };
  const answer = () => ({ headers: ['baggage', `${BAGGAGE},mine=1`] });
  await using stand = await ProxyStand.start({ direction: 'OUTBOUND', config, answer });
  const { answer: got, learned } = await stand.exchange();
  expect(learned.upstream.struct).toEqual(SAID);
  expect(got.headers.all('baggage')).toEqual([`${BAGGAGE},mine=1`]);
});

test('a client that says who it is in baggage is answered in baggage, beside what the application says', async () => {
  const config = { downstream_discovery: [IN_BAGGAGE], downstream_propagation: [IN_BAGGAGE] };
  const answer = () => ({ headers: ['baggage', 'mine=1'] });
  await using stand = await ProxyStand.start({ direction: 'INBOUND', config, answer, metadata: SAID });
  const asked = await stand.exchange({ headers: ['baggage', 'k8s.namespace.name=client'] });
  expect(asked.answer.headers.all('baggage')).toEqual([`mine=1,${BAGGAGE}`]);
  expect((await stand.exchange()).answer.headers.all('baggage')).toEqual(['mine=1']);
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

  test('goes behind whatever else the application said, in place of what any workload said of itself', async () => {
    await using stand = await outbound();
    const forwarded = ['baggage', 'userId=alice', 'baggage', `k8s.pod.name=client,${BAGGAGE}`, 'baggage', 'b=c;d'];
    const { seen } = await stand.exchange({ headers: forwarded });
    expect(seen?.headers.all('baggage')).toEqual([`userId=alice,b=c;d,${BAGGAGE}`]);
  });

  test('a server behind an application that passes baggage on learns who called it, and nothing of who called that', async () => {
    await using last = await ProxyStand.start({ direction: 'INBOUND', config: { downstream_discovery: [IN_BAGGAGE] } });
    const metadata = { NAME: 'b', NAMESPACE: 'books' };
    const config = { upstream_propagation: [IN_BAGGAGE] };
    await using middle = await ProxyStand.start({
      direction: 'OUTBOUND',
      config,
      metadata,
      clusters: { app: { port: last.port } },
    });
    await send(middle.port, { path: '/passed-on', headers: ['baggage', `userId=alice,${BAGGAGE}`] });
    expect((await learnedOf(last.envoy, '/passed-on')).downstream.struct).toEqual({ ...metadata, LABELS: {} });
  });

  test('is written once, however many tries and redirects there are', async () => {
    let tries = 0;
    await using stand = await ProxyStand.start({
      direction: 'OUTBOUND',
      config: { upstream_propagation: [IN_BAGGAGE] },
      metadata: SAID,
      routes: [
        {
          match: { prefix: '/' },
          route: {
            cluster: 'app',
            internal_redirect_policy: { max_internal_redirects: 3 },
            retry_policy: { retry_on: '5xx', num_retries: 2 },
          },
        },
      ],
      answer: ({ path }) => {
        if (path.startsWith('/end')) return {};
        tries++;
        return tries % 2
          ? { status: 503 }
          : { status: 302, headers: ['location', `http://test/${tries > 3 ? 'end' : 'on'}`] };
      },
    });
    await send(stand.port, { path: '/start', headers: ['baggage', 'userId=alice'] });
    expect(stand.app.seen.length).toBe(5);
    for (const seen of stand.app.seen) expect(seen.headers.all('baggage')).toEqual([`userId=alice,${BAGGAGE}`]);
  });

  test('is not sent where it is larger than max_header_size, with a warning', async () => {
    const config = { upstream_propagation: [IN_BAGGAGE], max_header_size: 120 };
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND', config, metadata: { NAME: ' '.repeat(60) } });
    expect((await stand.exchange()).seen?.headers.all('baggage')).toEqual([]);
    expect(stand.envoy.log()).toContain(
      'the own baggage takes 198 bytes, which is more than max_header_size: none is sent',
    );
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
