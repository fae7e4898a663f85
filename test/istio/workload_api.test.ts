// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Authority, spiffe } from '../../testkit/envoy/certificates.ts';
import { Cluster } from './cluster.ts';
import { DeltaClient, type DeltaOptions, type Response, workloadsOf } from './delta_client.ts';
import { deployed, moved, relabelled } from './pods.ts';

/** What istiod itself does, asked by a plain client: the ground that workload discovery stands on. */

const RATINGS = deployed('ratings', 'v1', '10.1.0.1');
const REVIEWS = deployed('reviews', 'v1', '10.1.0.2');
const uid = (pod: { metadata: { name: string } }) => `Kubernetes//Pod/default/${pod.metadata.name}`;

/** Names, and the versions that istiod gives them. */
function versionsOf({ resources }: Response): Record<string, string> {
  return Object.fromEntries(resources.map(({ name, version }) => [name, version ?? '']));
}

/** A service account makes istiod's plain port take its clients for it. */
const accounts = ['bookinfo-ratings', 'vm'].map((name) => ({
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name, namespace: 'default' },
}));

describe('what istiod tells', () => {
  let cluster: Cluster;

  beforeAll(async () => {
    cluster = await Cluster.start([...accounts, RATINGS, REVIEWS]);
  });
  afterAll(() => cluster?.[Symbol.asyncDispose]());

  test('all pods to who names none', async () => {
    using client = new DeltaClient(cluster.address);
    const workloads = workloadsOf(await client.until(1));
    expect(Object.keys(workloads).sort()).toEqual([uid(RATINGS), uid(REVIEWS)]);
    expect(workloads[uid(RATINGS)]).toMatchObject({
      uid: uid(RATINGS),
      name: RATINGS.metadata.name,
      namespace: 'default',
      addresses: [Buffer.from([10, 1, 0, 1])],
      network: '',
      trustDomain: '',
      serviceAccount: 'bookinfo-ratings',
      canonicalName: 'ratings',
      canonicalRevision: 'v1',
      // Whatever made the pod: what is known as its owner is so a pod of the Deployment's name.
      workloadType: 'POD',
      workloadName: 'ratings-v1',
      clusterId: 'Kubernetes',
      networkMode: 'STANDARD',
    });
  });

  test('what changes, and what is gone', async () => {
    using client = new DeltaClient(cluster.address);
    await client.until(1);
    const told = async (change: () => Promise<void>) => {
      await cluster.acknowledged(change);
      const { resources, removed } = client.responses.at(-1) as Response;
      expect(resources.length + removed.length).toBe(1);
      return removed[0] ?? Object.values(workloadsOf(client.responses.at(-1) as Response))[0];
    };
    const pod = deployed('details', 'v1', '10.1.0.3');
    expect(await told(() => cluster.put(pod))).toMatchObject({ canonicalRevision: 'v1' });
    const second = relabelled(pod, { version: 'v2' });
    expect(await told(() => cluster.put(second))).toMatchObject({ canonicalRevision: 'v2' });
    const later = moved(second, '10.1.0.4');
    expect(await told(() => cluster.put(later))).toMatchObject({ addresses: [Buffer.from([10, 1, 0, 4])] });
    expect(await told(() => cluster.remove(later))).toBe(uid(pod));
  });

  test('no more than is new to who says what it has', async () => {
    using first = new DeltaClient(cluster.address);
    const versions = versionsOf(await first.until(1));
    const { [uid(RATINGS)]: version } = versions;
    expect(version).toMatch(/^[0-9a-f]+$/);
    using same = new DeltaClient(cluster.address, {
      versions: { ...versions, 'Kubernetes//Pod/default/gone': version },
    });
    expect(await same.until(1)).toMatchObject({ resources: [], removed: ['Kubernetes//Pod/default/gone'] });
    using older = new DeltaClient(cluster.address, { versions: { ...versions, [uid(RATINGS)]: 'older' } });
    expect(versionsOf(await older.until(1))).toEqual({ [uid(RATINGS)]: version });
  });

  test('the same versions after it was killed', async () => {
    using before = new DeltaClient(cluster.address);
    const versions = versionsOf(await before.until(1));
    await cluster.killIstiod();
    await cluster.remove(REVIEWS);
    await cluster.startIstiod();
    using again = new DeltaClient(cluster.address, { versions });
    expect(await again.until(1)).toMatchObject({ resources: [], removed: [uid(REVIEWS)] });
    await cluster.put(REVIEWS);
  });

  const refused: [string, DeltaOptions['node'], RegExp][] = [
    ['of another form', { id: 'vm-1' }, /INVALID_ARGUMENT: missing parts/],
    ['without an address', { id: 'sidecar~vm-1~vm-1.default~cluster.local' }, /INVALID_ARGUMENT: no valid IP address/],
    ['of another type', { id: 'proxy~10.0.0.1~vm-1.default~cluster.local' }, /INVALID_ARGUMENT: invalid node type/],
    [
      'of another namespace',
      { id: 'sidecar~10.0.0.1~vm-1.other~other.svc.cluster.local' },
      /PERMISSION_DENIED: authorization failed/,
    ],
  ];
  test.each(refused)('nothing to a node %s', async (_, node, reason) => {
    using client = new DeltaClient(cluster.address, { node });
    await expect(client.until(1)).rejects.toThrow(reason);
  });

  test('to a node whose address is in its metadata', async () => {
    const node = { id: 'sidecar~vm-1~vm-1.default~default.svc.cluster.local', metadata: { INSTANCE_IPS: '10.0.0.1' } };
    using client = new DeltaClient(cluster.address, { node });
    expect((await client.until(1)).resources.length).toBeGreaterThan(0);
  });
});

test('this istiod tells of no change without AMBIENT_SCOPED_ADDRESS_PUSHES: if this fails, the value can go', async () => {
  await using cluster = await Cluster.start([...accounts, RATINGS], { env: { AMBIENT_SCOPED_ADDRESS_PUSHES: 'true' } });
  using client = new DeltaClient(cluster.address);
  await client.until(1);
  const change = cluster.acknowledged(() => cluster.put(REVIEWS), 3_000);
  await expect(change).rejects.toThrow(/was not answered/);
});

test('an istiod without PILOT_ENABLE_AMBIENT tells of nobody', async () => {
  await using cluster = await Cluster.start([...accounts, RATINGS], { env: { PILOT_ENABLE_AMBIENT: 'false' } });
  using client = new DeltaClient(cluster.address);
  expect(await client.until(1)).toMatchObject({ resources: [], removed: [] });
});

describe('the secure port', () => {
  let folder: string;
  let authority: Authority;
  let cluster: Cluster;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), 'authority-'));
    authority = new Authority(folder);
    cluster = await Cluster.start([...accounts, RATINGS], { authority });
    await cluster.setTokens({ good: 'default:vm', other: 'other:vm' });
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
    rmSync(folder, { recursive: true });
  });

  const node = { id: 'sidecar~10.0.0.1~vm-1.default~default.svc.cluster.local', metadata: { SERVICE_ACCOUNT: 'vm' } };

  async function expectIdentity(options: DeltaOptions): Promise<void> {
    using client = new DeltaClient(cluster.secure, { node, root: authority.root, ...options });
    expect((await client.until(1)).resources).toHaveLength(1);
    expect((await cluster.watchers()).map((each) => each.identity)).toContain(spiffe('default', 'vm'));
  }

  async function expectRefusal(reason: RegExp, options: DeltaOptions): Promise<void> {
    using client = new DeltaClient(cluster.secure, { node, root: authority.root, ...options });
    await expect(client.until(1)).rejects.toThrow(reason);
  }

  test('takes a certificate of the node’s account', async () => {
    await expectIdentity({ certificate: authority.issue('vm', { uris: [spiffe('default', 'vm')] }) });
    const other = authority.issue('other', { uris: [spiffe('default', 'other')] });
    await expectRefusal(/PERMISSION_DENIED/, { certificate: other });
  });

  test('takes a token of the node’s account', async () => {
    await expectIdentity({ token: 'good' });
    await expectRefusal(/UNAUTHENTICATED/, { token: 'bad' });
    await expectRefusal(/PERMISSION_DENIED/, { token: 'other' });
  });

  test('takes nobody without either', async () => {
    await expectRefusal(/UNAUTHENTICATED/, {});
  });
});
