// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import getPort from 'get-port';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Authority, spiffe } from '../../testkit/envoy/certificates.ts';
import { App } from '../../testkit/http.ts';
import { Cluster } from './cluster.ts';
import { endpointsOf, podAddresses, type Resource, type Sidecar } from './mesh.ts';
import { discoveryCluster, MeshStand, shippedResource, shippedResources } from './mesh_stand.ts';
import { deployed, moved, relabelled, serviceOf } from './pods.ts';
import { Registry } from './registry.ts';

/**
 * Pods without a sidecar, known by their addresses: two sidecars with the resources as shipped, under an istiod whose pods
 * come, change and go. visitor calls reviews, and productpage calls ratings.
 */

const FIELDS = ['NAME', 'NAMESPACE', 'WORKLOAD_NAME', 'IDENTITY', 'LABELS.app', 'LABELS.version'];

/** How long workers keep an answer. */
const KEPT = 1_000;

const [VISITOR, RATINGS, RATINGS_LATER, ADDED, GONE] = podAddresses(5);

let folder: string;
let registry: Registry;
let ratings: App;
let cluster: Cluster;
let stand: MeshStand;
let count = 0;

const visitor = deployed('visitor', 'v1', VISITOR);
const server = deployed('ratings', 'v1', RATINGS);
const gone = deployed('gone', 'v1', GONE);

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), 'authority-'));
  const authority = new Authority(folder);
  registry = await Registry.start();
  await registry.push('mesh/metadata-exchange:1');
  // Wherever ratings moves to, it is there.
  ratings = await App.start(() => ({}), '0.0.0.0');
  const securePort = await getPort();
  const service = serviceOf('ratings', ratings.port);
  const resources = [
    ...plugins(`oci://${registry.host}/mesh/metadata-exchange:1`),
    discoveryCluster(securePort),
    shippedResource('bridge.yaml'),
    accessLog(),
    ...[visitor, server, gone, service, endpointsOf(service, server)],
  ];
  stand = await MeshStand.start(resources, {
    authority,
    istiod: async (all) => {
      cluster = await Cluster.start(all, { authority, securePort });
      return cluster;
    },
  });
  await bothWatch();
});
afterAll(async () => {
  await stand?.[Symbol.asyncDispose]();
  await ratings?.[Symbol.asyncDispose]();
  await registry?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** The plugins as shipped, with plain fields. */
function plugins(url: string): Resource[] {
  const all = shippedResources('workload-discovery/wasmplugin.yaml');
  for (const { spec } of all) {
    spec.url = url;
    spec.pluginConfig.publish_fields = FIELDS;
  }
  return all;
}

/** The access log as shipped, with dynamic metadata and plain fields. */
function accessLog(): Resource {
  const resource = shippedResource('access-log.yaml');
  const [log] = resource.spec.configPatches[0].patch.value.typed_config.access_log;
  const { json_format } = log.typed_config.log_format;
  for (const side of ['downstream', 'upstream']) {
    const peer = `envoy.wasm.metadata_exchange.${side}`;
    json_format[`dynamic_${side}`] = `%DYNAMIC_METADATA(${peer})%`;
    for (const field of FIELDS) json_format[`${side}.${field}`] = `%FILTER_STATE(wasm.${peer}.${field}:PLAIN)%`;
  }
  return resource;
}

const path = () => `/${count++}`;

/** What a sidecar logs of a request on one side: the name, and the version. */
async function seenBy(sidecar: Sidecar, at: string, side: 'downstream' | 'upstream'): Promise<[unknown, unknown]> {
  const line = await sidecar.logged(at);
  return [line[`${side}.NAME`], line[`${side}.LABELS.version`]];
}

/** Who reviews' sidecar says has called it from an address. */
async function caller(from: string): Promise<[unknown, unknown]> {
  const at = path();
  expect(await stand.visit(at, from)).toBe(200);
  return seenBy(stand.reviews, at, 'downstream');
}

/** Who productpage's sidecar says has answered as ratings. */
async function answerer(): Promise<[unknown, unknown]> {
  const at = path();
  expect((await stand.exchange(at, {}, 'ratings')).status).toBe(200);
  return seenBy(stand.productpage, at, 'upstream');
}

const NOBODY = [null, null];

async function metric(sidecar: Sidecar, name: string): Promise<number> {
  const text = await sidecar.admin('/stats?filter=metadata_exchange');
  return Number(new RegExp(`metadata_exchange\\.${name}: (\\d+)$`, 'm').exec(text ?? '')?.[1] ?? Number.NaN);
}

/** Waits until both sidecars have a stream to istiod, and have taken what it sent. */
async function bothWatch(): Promise<void> {
  await stand.reviews.until('both sidecars watch', async () => {
    const all = await cluster.watchers();
    return all.length === 2 && all.every(({ sent, acked }) => sent && sent === acked);
  });
}

/** What a change makes must be there a second after it was acknowledged. */
async function after(change: () => Promise<void>): Promise<void> {
  await cluster.acknowledged(change);
  await sleep(KEPT);
}

test("each sidecar has one stream to istiod, and proves by the agent's certificate who it is", async () => {
  const watchers = await cluster.watchers();
  expect(watchers.map(({ node, identity }) => [node, identity]).sort()).toEqual([
    ['productpage-v1-0.default', spiffe('default', 'bookinfo-productpage')],
    ['reviews-v1-0.default', spiffe('default', 'bookinfo-reviews')],
  ]);
});

test('a request without peer headers is attributed on both sides, wherever it can be read', async () => {
  const peer = (name: string) => ({
    NAME: `${name}-v1-5f6d8c9b7-x2x5c`,
    NAMESPACE: 'default',
    WORKLOAD_NAME: `${name}-v1`,
    CLUSTER_ID: 'Kubernetes',
    // istiod calls every pod's workload a pod.
    OWNER: `kubernetes://apis/apps/v1/namespaces/default/pods/${name}-v1`,
    IDENTITY: spiffe('default', `bookinfo-${name}`),
    LABELS: {
      app: name,
      version: 'v1',
      'service.istio.io/canonical-name': name,
      'service.istio.io/canonical-revision': 'v1',
    },
  });
  const at = path();
  await stand.visit(at, VISITOR);
  await stand.exchange(at, {}, 'ratings');
  for (const [sidecar, side, name] of [
    [stand.reviews, 'downstream', 'visitor'],
    [stand.productpage, 'upstream', 'ratings'],
  ] as const) {
    const line = await sidecar.logged(at);
    const expected = peer(name);
    expect(line[`${side}_peer`].metadata.value, 'access log').toEqual(expected);
    expect(line[`${side}_peer`].id || null, 'an id is what a peer says of itself').toBeNull();
    expect(line[`dynamic_${side}`], 'dynamic metadata').toEqual(expected);
    const plain = Object.fromEntries(FIELDS.map((field) => [field, line[`${side}.${field}`]]));
    expect(plain, 'plain fields').toEqual({
      NAME: expected.NAME,
      NAMESPACE: 'default',
      WORKLOAD_NAME: expected.WORKLOAD_NAME,
      IDENTITY: expected.IDENTITY,
      'LABELS.app': name,
      'LABELS.version': 'v1',
    });
  }
});

test('who sends headers is known by them', async () => {
  const at = path();
  await stand.exchange(at);
  expect((await stand.reviews.logged(at)).downstream_peer.id).toMatch(/^sidecar~.*~productpage-v1-0\.default~/);
  expect((await stand.productpage.logged(at)).upstream_peer.id).toMatch(/^sidecar~.*~reviews-v1-0\.default~/);
});

test('an address that the client only names, in X-Forwarded-For, is nobody', async () => {
  const at = path();
  await stand.visit(at, VISITOR, { 'x-forwarded-for': RATINGS });
  expect(await seenBy(stand.reviews, at, 'downstream')).toEqual(NOBODY);
});

test('a pod is added, relabelled, moved and deleted: the first request knows it', async () => {
  const pod = deployed('added', 'v1', ADDED);
  const { name } = pod.metadata;
  expect(await caller(ADDED)).toEqual(NOBODY);
  await after(() => cluster.put(pod));
  expect(await caller(ADDED)).toEqual([name, 'v1']);

  const second = relabelled(pod, { version: 'v2' });
  await after(() => cluster.put(second));
  expect(await caller(ADDED)).toEqual([name, 'v2']);

  const [elsewhere] = podAddresses(1);
  await after(() => cluster.put(moved(second, elsewhere)));
  expect(await caller(elsewhere)).toEqual([name, 'v2']);
  expect(await caller(ADDED)).toEqual(NOBODY);

  await after(() => cluster.remove(second));
  expect(await caller(elsewhere)).toEqual(NOBODY);
});

test('an address that goes to another pod is that pod’s, even if the first one is deleted later', async () => {
  const [shared] = podAddresses(1);
  const first = deployed('first', 'v1', shared);
  const second = deployed('second', 'v1', shared);
  await after(() => cluster.put(first));
  await after(() => cluster.put(second));
  expect(await caller(shared)).toEqual([second.metadata.name, 'v1']);
  await after(() => cluster.remove(first));
  expect(await caller(shared)).toEqual([second.metadata.name, 'v1']);
});

test('a pod on the network of its host is nobody: its address is that of all others there', async () => {
  const [host] = podAddresses(1);
  const pod = deployed('on-host', 'v1', host);
  pod.spec.hostNetwork = true;
  const before = await metric(stand.reviews, 'discovery_workloads');
  await after(() => cluster.put(pod));
  expect(await caller(host)).toEqual(NOBODY);
  await stand.reviews.until('it is counted', async () => {
    return (await metric(stand.reviews, 'discovery_workloads')) === before + 1;
  });
});

test('a server that moves is known at its new address', async () => {
  const later = relabelled(moved(server, RATINGS_LATER), { version: 'v3' });
  const service = serviceOf('ratings', ratings.port);
  await after(() => cluster.put(later, endpointsOf(service, later)));
  await stand.productpage.until('ratings is at its new address', async () => {
    return (await stand.productpage.admin('/clusters'))?.includes(`${RATINGS_LATER}:`);
  });
  expect(await answerer()).toEqual([server.metadata.name, 'v3']);
});

test('istiod is killed and comes back', async () => {
  const sidecars = [stand.productpage, stand.reviews];
  expect(await caller(GONE)).toEqual([gone.metadata.name, 'v1']);
  await cluster.killIstiod();
  for (const sidecar of sidecars) {
    await sidecar.until('it says so', async () => (await metric(sidecar, 'discovery_connected')) === 0);
    const age = await metric(sidecar, 'discovery_age');
    await sidecar.until('the age grows', async () => (await metric(sidecar, 'discovery_age')) > age + 1);
    expect(await metric(sidecar, 'discovery_failures')).toBeGreaterThan(0);
    expect(await metric(sidecar, 'discovery_workloads')).toBeGreaterThanOrEqual(5);
  }
  // Attribution goes on, of who is gone meanwhile too.
  await cluster.remove(gone);
  expect(await caller(VISITOR)).toEqual([visitor.metadata.name, 'v1']);
  expect(await caller(GONE)).toEqual([gone.metadata.name, 'v1']);
  expect(await answerer()).toEqual([server.metadata.name, 'v3']);

  const newcomer = deployed('newcomer', 'v1', podAddresses(1)[0]);
  await cluster.put(newcomer);
  await cluster.startIstiod();
  await bothWatch();
  await sleep(KEPT);
  expect(await caller(newcomer.status.podIP)).toEqual([newcomer.metadata.name, 'v1']);
  expect(await caller(GONE)).toEqual(NOBODY);
  expect(await caller(VISITOR)).toEqual([visitor.metadata.name, 'v1']);
  for (const sidecar of sidecars) {
    await sidecar.until('it says so', async () => (await metric(sidecar, 'discovery_connected')) === 1);
    expect(await metric(sidecar, 'discovery_reconnects')).toBeGreaterThanOrEqual(1);
    expect(await metric(sidecar, 'discovery_on_worker')).toBe(0);
  }
});
