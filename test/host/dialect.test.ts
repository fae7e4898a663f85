// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { node } from '../../testkit/host/node.ts';
import { struct } from '../../testkit/struct.ts';

/** What a proxy says of itself whose node has the flat keys that Istio's agent writes. */

const PREFIX = 'kubernetes://apis/apps/v1/namespaces';
const FLAT = {
  NAME: 'reviews-v1-7f6d-abcde',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'reviews-v1',
  CLUSTER_ID: 'Kubernetes',
  OWNER: `${PREFIX}/default/deployments/reviews-v1`,
  LABELS: { app: 'reviews', version: 'v1', 'pod-template-hash': '7f6d', team: 'books' },
  ANNOTATIONS: { some: 'annotation' },
  INSTANCE_IPS: '10.0.0.1',
  PROXY_CONFIG: { concurrency: 2 },
};
const OUTBOUND = { 'xds.listener_direction': Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]) };

/** The request headers that a proxy adds: names and values. */
function sent(fields: Parameters<typeof node>[0], config: object = { dialect: 'istio' }): [string, string][] {
  const host = new Host({ 'xds.node': node({ id: 'own-id', ...fields }), ...OUTBOUND });
  const root = host.configure(JSON.stringify(config));
  if (root === undefined) throw new Error(host.complaints().join('\n'));
  return host.stream(root).onRequest().request;
}

function metadataOf(fields: Parameters<typeof node>[0], config?: object): Record<string, unknown> {
  return struct.read(Buffer.from(sent(fields, config)[0][1], 'base64'));
}

describe("Istio's dialect", () => {
  test('has the header names and the fields that Istio’s own sidecars exchange, and no others', () => {
    const headers = sent({ metadata: FLAT });
    expect(headers.map(([name]) => name)).toEqual(['x-envoy-peer-metadata', 'x-envoy-peer-metadata-id']);
    const { NAME, NAMESPACE, WORKLOAD_NAME, CLUSTER_ID, OWNER } = FLAT;
    const LABELS = { app: 'reviews', version: 'v1' };
    expect(metadataOf({ metadata: FLAT })).toEqual({ NAME, NAMESPACE, WORKLOAD_NAME, CLUSTER_ID, OWNER, LABELS });
    expect(Object.keys(metadataOf({ metadata: FLAT })), 'keys in order').toEqual([
      'CLUSTER_ID',
      'LABELS',
      'NAME',
      'NAMESPACE',
      'OWNER',
      'WORKLOAD_NAME',
    ]);
  });

  test('sends LABELS even where there are none', () => {
    expect(metadataOf({ metadata: { NAME: 'pod' } })).toEqual({ NAME: 'pod', LABELS: {} });
  });

  test('drops what is empty or no string, and nothing with it', () => {
    const metadata = { ...FLAT, NAME: 7, NAMESPACE: '', LABELS: { app: null, version: 'v1' } };
    expect(metadataOf({ metadata })).toMatchObject({ CLUSTER_ID: 'Kubernetes', LABELS: { version: 'v1' } });
    expect(metadataOf({ metadata })).not.toHaveProperty('NAME');
    expect(metadataOf({ metadata })).not.toHaveProperty('NAMESPACE');
  });

  test('the labels that Kubernetes recommends win, and go by the short names', () => {
    const LABELS = { app: 'old', 'app.kubernetes.io/name': 'new', 'app.kubernetes.io/version': 'v2' };
    expect(metadataOf({ metadata: { ...FLAT, LABELS } }).LABELS).toEqual({ app: 'new', version: 'v2' });
  });

  test('canonical names, and labels that are asked for', () => {
    const canonical = { 'service.istio.io/canonical-name': 'reviews', 'service.istio.io/canonical-revision': 'v1' };
    const LABELS = { ...FLAT.LABELS, ...canonical };
    const config = { dialect: 'istio', additional_labels: ['team', 'absent'] };
    const expected = { app: 'reviews', version: 'v1', team: 'books', ...canonical };
    expect(metadataOf({ metadata: { ...FLAT, LABELS } }, config).LABELS).toEqual(expected);
  });

  test('a label that is asked for twenty times is sent once, and a hundred labels are sent', () => {
    const team = 't'.repeat(500);
    const twenty = { dialect: 'istio', additional_labels: Array(20).fill('team') };
    expect(metadataOf({ metadata: { NAME: 'a', LABELS: { team } } }, twenty)).toEqual({ NAME: 'a', LABELS: { team } });
    const labels = Object.fromEntries(Array.from({ length: 100 }, (_, i) => [`label-${i}`, `${i}`]));
    const hundred = { dialect: 'istio', additional_labels: Object.keys(labels) };
    expect(metadataOf({ metadata: { NAME: 'a', LABELS: labels } }, hundred).LABELS).toEqual(labels);
  });

  test.each([
    ['kubernetes://apis/batch/v1/namespaces/default/jobs/reviews-v1', `${PREFIX}/default/jobs/reviews-v1`],
    ['x/cronjobs/reviews-v1', `${PREFIX}/default/cronjobs/reviews-v1`],
    ['x/pods/reviews-v1', `${PREFIX}/default/pods/reviews-v1`],
    [`${PREFIX}/default/statefulsets/reviews-v1`, undefined],
    ['deployments/reviews-v1', undefined],
    ['reviews-v1', undefined],
    ['', undefined],
  ])('OWNER %j is sent as %j', (owner, expected) => {
    expect(metadataOf({ metadata: { ...FLAT, OWNER: owner } }).OWNER).toBe(expected);
  });

  test('the region and the zone: of the metadata, or else of the node’s locality', () => {
    const locality = { region: 'us-east4', zone: 'us-east4-b' };
    expect(metadataOf({ metadata: FLAT, locality })).toMatchObject({
      REGION: 'us-east4',
      AVAILABILITY_ZONE: 'us-east4-b',
    });
    const metadata = { ...FLAT, REGION: 'said' };
    expect(metadataOf({ metadata, locality })).toMatchObject({ REGION: 'said', AVAILABILITY_ZONE: 'us-east4-b' });
  });

  test('header names that are configured stay', () => {
    const config = { dialect: 'istio', headers: { id: 'x-my-id' } };
    expect(sent({ metadata: FLAT }, config).map(([name]) => name)).toEqual(['x-envoy-peer-metadata', 'x-my-id']);
  });
});

describe('which metadata is sent', () => {
  const metadata = { ...FLAT, 'istio.io/metadata': { NAME: 'keyed' } };

  test('without a dialect the Struct under istio.io/metadata; where there is none, the flat keys', () => {
    expect(metadataOf({ metadata }, {})).toEqual({ NAME: 'keyed' });
    expect(metadataOf({ metadata: FLAT }, {})).toMatchObject({ NAME: FLAT.NAME, LABELS: { app: 'reviews' } });
  });

  test('in Istio’s dialect the flat keys; where there are none, the Struct', () => {
    expect(metadataOf({ metadata })).toMatchObject({ NAME: FLAT.NAME });
    expect(metadataOf({ metadata: { 'istio.io/metadata': { NAME: 'keyed' } } })).toEqual({ NAME: 'keyed' });
  });

  test('a node with neither sends its id', () => {
    expect(sent({ metadata: { other: 'x' } }, {})).toEqual([['x-istio-peer-id', 'own-id']]);
  });

  test('in Istio’s dialect such a node sends what the native filter sends, so that it is answered', () => {
    // The Struct that `convertWorkloadMetadataToStruct` makes of nothing: LABELS without any.
    const [empty, id] = [
      ['x-envoy-peer-metadata', 'CgwKBkxBQkVMUxICKgA='],
      ['x-envoy-peer-metadata-id', 'own-id'],
    ];
    expect(sent({ metadata: { other: 'x' } })).toEqual([empty, id]);
    expect(sent({})).toEqual([empty, id]);
    const locality = { region: 'us-east4', zone: 'us-east4-b' };
    expect(metadataOf({ locality })).toEqual({ LABELS: {}, REGION: 'us-east4', AVAILABILITY_ZONE: 'us-east4-b' });
  });
});
