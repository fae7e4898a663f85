// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import type { WorkloadFields } from '../../../testkit/xds/messages.ts';
import { BOTH_SIDES, Discovery, exchange, pod } from '../../support/hosted_discovery.ts';

/** What is published of a workload: the fields that a sidecar would send of itself, made as the native filter does. */

const RATINGS = {
  name: 'ratings-v1-5f6d8c9b7-x2x4z',
  namespace: 'shop',
  addresses: ['127.0.0.2'],
  hostname: 'ratings.shop.svc.cluster.local',
  tunnelProtocol: 'HBONE',
  trustDomain: 'cluster.global',
  serviceAccount: 'ratings-account',
  node: 'node-7',
  canonicalName: 'ratings',
  canonicalRevision: 'version-1',
  workloadType: 'DEPLOYMENT',
  workloadName: 'ratings-v1',
  nativeTunnel: true,
  authorizationPolicies: ['shop/deny'],
  status: 'UNHEALTHY',
  clusterId: 'ratings-cluster',
  uid: 'ratings-cluster//Pod/shop/ratings-v1-5f6d8c9b7-x2x4z',
  services: { 'shop/ratings.shop.svc.cluster.local': { ports: [{ servicePort: 80, targetPort: 8080 }] } },
  locality: { region: 'eu-west-1', zone: 'eu-west-1b', subzone: 'rack-3' },
} as const satisfies WorkloadFields;

/** Who has an address, if this is what the control plane says of it. */
function published(fields: WorkloadFields & { uid: string }) {
  const discovery = new Discovery();
  discovery.istiod.serve({ addresses: ['127.0.0.2'], ...fields });
  const [client, server] = [discovery.client('127.0.0.2:40600'), discovery.server('127.0.0.2:9080')];
  expect(server, 'both sides say the same').toEqual(client);
  return client;
}

test('all that a control plane may say of a workload', () => {
  expect(
    published({ ...RATINGS, addresses: ['127.0.0.2'], authorizationPolicies: [], networkMode: 'STANDARD' }),
  ).toEqual({
    NAME: 'ratings-v1-5f6d8c9b7-x2x4z',
    NAMESPACE: 'shop',
    WORKLOAD_NAME: 'ratings-v1',
    OWNER: 'kubernetes://apis/apps/v1/namespaces/shop/deployments/ratings-v1',
    CLUSTER_ID: 'ratings-cluster',
    IDENTITY: 'spiffe://cluster.global/ns/shop/sa/ratings-account',
    LABELS: {
      app: 'ratings',
      version: 'version-1',
      'service.istio.io/canonical-name': 'ratings',
      'service.istio.io/canonical-revision': 'version-1',
    },
    REGION: 'eu-west-1',
    AVAILABILITY_ZONE: 'eu-west-1b',
  });
});

test('only a uid and a namespace: there is an identity, and the rest is unknown', () => {
  expect(published({ uid: 'x', namespace: 'default' })).toEqual({
    NAMESPACE: 'default',
    IDENTITY: 'spiffe://cluster.local/ns/default/sa/default',
    LABELS: {},
  });
});

test('only a uid: the namespace is the default one', () => {
  expect(published({ uid: 'x' })).toEqual({
    NAMESPACE: 'default',
    IDENTITY: 'spiffe://cluster.local/ns/default/sa/default',
    LABELS: {},
  });
});

describe('the identity', () => {
  const whose = (fields: WorkloadFields) => published({ uid: 'x', ...fields })?.IDENTITY;

  test.each<[WorkloadFields, string]>([
    [{ trustDomain: 'cluster.local' }, 'spiffe://cluster.local/ns/default/sa/default'],
    [{ trustDomain: 'other.domain', namespace: 'shop' }, 'spiffe://other.domain/ns/shop/sa/default'],
    [{ serviceAccount: 'bookinfo', namespace: 'shop' }, 'spiffe://cluster.local/ns/shop/sa/bookinfo'],
  ])('of %j is %s', (fields, identity) => {
    expect(whose(fields)).toBe(identity);
  });
});

describe('the owner', () => {
  test.each([
    ['DEPLOYMENT', 'deployments'],
    ['CRONJOB', 'cronjobs'],
    ['POD', 'pods'],
    ['JOB', 'jobs'],
  ] as const)('of a %s', (workloadType, kind) => {
    expect(published({ uid: 'x', namespace: 'shop', workloadType, workloadName: 'w' })).toMatchObject({
      WORKLOAD_NAME: 'w',
      OWNER: `kubernetes://apis/apps/v1/namespaces/shop/${kind}/w`,
    });
  });

  test('is not made up where there is no workload name', () => {
    expect(published({ uid: 'x', workloadType: 'JOB' })).not.toHaveProperty('OWNER');
  });
});

describe('labels', () => {
  test('of a canonical name alone', () => {
    expect(published({ uid: 'x', canonicalName: 'ratings' })?.LABELS).toEqual({
      app: 'ratings',
      'service.istio.io/canonical-name': 'ratings',
    });
  });

  test('of a canonical revision alone', () => {
    expect(published({ uid: 'x', canonicalRevision: 'v1' })?.LABELS).toEqual({
      version: 'v1',
      'service.istio.io/canonical-revision': 'v1',
    });
  });
});

describe('the locality', () => {
  test.each([
    [{}, {}],
    [{ region: 'r' }, { REGION: 'r' }],
    [{ zone: 'z' }, { AVAILABILITY_ZONE: 'z' }],
    [{ subzone: 's' }, {}],
  ])('of %j', (locality, expected) => {
    const { REGION, AVAILABILITY_ZONE } = published({ uid: 'x', locality }) ?? {};
    expect({ REGION, AVAILABILITY_ZONE }).toEqual({ REGION: undefined, AVAILABILITY_ZONE: undefined, ...expected });
  });
});

test('texts as long as they may be come whole, in any script', () => {
  // 253 bytes, and of two bytes a character as many as fit.
  const long = (letter: string) => letter.repeat(253);
  const name = 'é'.repeat(126);
  expect(
    published({
      uid: 'u'.repeat(1024),
      name,
      namespace: long('n'),
      trustDomain: long('t'),
      serviceAccount: long('s'),
      canonicalName: long('c'),
      canonicalRevision: long('r'),
      workloadName: long('w'),
      clusterId: long('k'),
      locality: { region: long('x'), zone: long('z') },
    }),
  ).toEqual({
    NAME: name,
    NAMESPACE: long('n'),
    WORKLOAD_NAME: long('w'),
    OWNER: `kubernetes://apis/apps/v1/namespaces/${long('n')}/deployments/${long('w')}`,
    CLUSTER_ID: long('k'),
    IDENTITY: `spiffe://${long('t')}/ns/${long('n')}/sa/${long('s')}`,
    LABELS: {
      app: long('c'),
      version: long('r'),
      'service.istio.io/canonical-name': long('c'),
      'service.istio.io/canonical-revision': long('r'),
    },
    REGION: long('x'),
    AVAILABILITY_ZONE: long('z'),
  });
});

test('names that begin alike, as those of a workload and its pods do, are told apart', () => {
  const discovery = new Discovery();
  const fields = { namespace: 'a', workloadName: 'a-b', canonicalName: 'a-b-c', serviceAccount: 'a-b-c-d' };
  discovery.istiod.serve(
    pod('a-b-c-d', ['10.0.0.1'], fields),
    pod('a', ['10.0.0.2'], { namespace: 'a', workloadName: 'a', canonicalName: '', serviceAccount: 'ab' }),
    pod('', ['10.0.0.3'], { namespace: 'a', workloadName: 'a' }),
  );
  expect(discovery.client('10.0.0.1:1')).toMatchObject({
    NAME: 'a-b-c-d',
    NAMESPACE: 'a',
    WORKLOAD_NAME: 'a-b',
    LABELS: { app: 'a-b-c' },
    IDENTITY: 'spiffe://cluster.local/ns/a/sa/a-b-c-d',
  });
  const second = discovery.client('10.0.0.2:1');
  expect(second).toMatchObject({ NAME: 'a', WORKLOAD_NAME: 'a', IDENTITY: 'spiffe://cluster.local/ns/a/sa/ab' });
  expect(second?.LABELS, 'always there, as the native filter has it').toEqual({});
  const third = discovery.client('10.0.0.3:1');
  expect(third).toMatchObject({ NAMESPACE: 'a', WORKLOAD_NAME: 'a' });
  expect(third).not.toHaveProperty('NAME');
});

test('plain fields come of it as of any peer', () => {
  const config = { ...BOTH_SIDES, publish_fields: ['NAME', 'LABELS.app', 'NAMESPACE'] };
  const discovery = new Discovery({ config });
  discovery.istiod.serve(pod('sleep', ['10.0.0.1'], { canonicalName: 'sleep-app' }));
  const { filterState } = exchange(discovery.worker, { 'source.address': Buffer.from('10.0.0.1:1') });
  const plain = (name: string) => filterState[`envoy.wasm.metadata_exchange.downstream.${name}`]?.toString();
  expect([plain('NAME'), plain('LABELS.app'), plain('NAMESPACE')]).toEqual(['sleep', 'sleep-app', 'default']);
});
