// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ID, METADATA } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { BY_ADDRESS, CLIENT, FIELDS, filter, listening, SERVER, STRANGER, VERSIONS } from '../../support/discovery.ts';
import { DiscoveryStand, namesOf } from '../../support/discovery_stand.ts';

/** Peers that say nothing of themselves are known by their addresses. */

const labels = (name: string, revision: string) => ({
  app: name,
  version: revision,
  'service.istio.io/canonical-name': name,
  'service.istio.io/canonical-revision': revision,
});

/** What is published of the two: the same fields as in Istio's own dialect. */
const PRODUCTPAGE = {
  NAME: 'productpage-v1-0',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'productpage-v1',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/productpage-v1',
  CLUSTER_ID: 'Kubernetes',
  IDENTITY: 'spiffe://cluster.local/ns/default/sa/bookinfo-productpage',
  LABELS: labels('productpage', 'v1'),
};
const RATINGS = {
  NAME: 'ratings-v1-0',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'ratings-v1',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/ratings-v1',
  CLUSTER_ID: 'ratings-cluster',
  IDENTITY: 'spiffe://cluster.global/ns/default/sa/ratings',
  LABELS: labels('ratings', 'version-1'),
};

/** Of whom only this is known. */
const BARE = { uid: 'Kubernetes//Pod/default/bare', namespace: 'default', addresses: ['127.0.0.6'] };

/** What istiod tells sidecars, word for word. */
const SEED =
  '{"upstream_discovery": [{"istio_headers": {}}, {"workload_discovery": {}}], "upstream_propagation": [{"istio_headers": {}}]}';

const HEADERS_FIRST = {
  downstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }],
  upstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }],
};

const TOLD = { NAME: 'told', NAMESPACE: 'by-header' };
const HEADERS = [METADATA, struct.header(TOLD), ID, 'told-id'];

describe.each(VERSIONS)('peers without headers, on Envoy %s', (_, version) => {
  let stand: DiscoveryStand;

  beforeAll(async () => {
    stand = await DiscoveryStand.start({
      version,
      workers: 2,
      workloads: [CLIENT, SERVER, BARE],
      listeners: [
        listening('main', filter({ ...BY_ADDRESS, publish_fields: FIELDS })),
        listening('headers first', filter(HEADERS_FIRST)),
        listening('seed', filter(SEED), { direction: 'OUTBOUND' }),
      ],
      answer: ({ path }) => (path.startsWith('/told') ? { headers: HEADERS } : {}),
    });
    await stand.untilKnown();
  });
  afterAll(() => stand[Symbol.asyncDispose]());

  test('both sides are in the access log, in plain fields and in dynamic metadata', async () => {
    const { answer, log } = await stand.ask();
    expect(answer.status).toBe(200);
    expect(log.downstream.struct).toEqual(PRODUCTPAGE);
    expect(log.upstream.struct).toEqual(RATINGS);
    expect(log.downstream.dynamic).toEqual(PRODUCTPAGE);
    expect(log.upstream.dynamic).toEqual(RATINGS);
    expect(log.plain).toEqual({
      downstream: { NAME: PRODUCTPAGE.NAME, IDENTITY: PRODUCTPAGE.IDENTITY, 'LABELS.app': 'productpage' },
      upstream: { NAME: RATINGS.NAME, IDENTITY: RATINGS.IDENTITY, 'LABELS.app': 'ratings' },
    });
    expect([log.downstream.id ?? '', log.upstream.id ?? ''], 'an id is what a peer says of itself').toEqual(['', '']);
    expect(stand.app.last.headers.peer(), 'nobody is told who we are').toEqual({});
  });

  test('of whom only uid and namespace are known, the identity is known', async () => {
    const { log } = await stand.ask({ from: '127.0.0.6' });
    expect(log.downstream.struct).toMatchObject({
      NAMESPACE: 'default',
      IDENTITY: 'spiffe://cluster.local/ns/default/sa/default',
    });
    for (const field of ['NAME', 'WORKLOAD_NAME', 'OWNER', 'CLUSTER_ID', 'REGION'])
      expect(log.downstream.struct).not.toHaveProperty(field);
    expect(log.plain.downstream['LABELS.app']).toBe(null);
  });

  test('an address that nobody has is nobody', async () => {
    const { answer, log } = await stand.ask({ from: STRANGER });
    expect(answer.status).toBe(200);
    expect(namesOf(log)).toEqual([undefined, SERVER.name]);
    expect(log.plain.downstream).toEqual({ NAME: null, IDENTITY: null, 'LABELS.app': null });
  });

  test('who says who it is, is who it says; the others are found by address', async () => {
    const listener = 'headers first';
    expect(await stand.names({ listener })).toEqual([CLIENT.name, SERVER.name]);
    expect(await stand.names({ listener, headers: HEADERS })).toEqual(['told', SERVER.name]);
    const { log } = await stand.ask({ listener, headers: HEADERS, path: '/told/both' });
    expect([log.downstream.struct, log.upstream.struct]).toEqual([TOLD, TOLD]);
    expect([log.downstream.id, log.upstream.id]).toEqual(['told-id', 'told-id']);
  });

  test('the configuration that istiod gives to sidecars works word for word', async () => {
    const { log } = await stand.ask({ listener: 'seed' });
    expect([log.downstream.struct, log.upstream.struct]).toEqual([undefined, RATINGS]);
    expect(Object.keys(stand.app.last.headers.peer()), 'and the server is told who asks').toContain(ID);
    const { log: told } = await stand.ask({ listener: 'seed', path: '/told/seed' });
    expect(told.upstream.struct).toEqual(TOLD);
  });

  test('all of them together asked for one stream', () => {
    expect(stand.server.streams).toHaveLength(1);
    expect(stand.server.open).toHaveLength(1);
  });
});
