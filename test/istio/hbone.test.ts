// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import getPort from 'get-port';
import { expect, onTestFinished, test } from 'vitest';
import { MODULE } from '../../testkit/envoy/binary.ts';
import { Authority } from '../../testkit/envoy/certificates.ts';
import { Cluster } from './cluster.ts';
import { endpointsOf, podAddresses, type Resource } from './mesh.ts';
import { discoveryCluster, MeshStand, shippedResource } from './mesh_stand.ts';
import { deployed, serviceOf } from './pods.ts';

/** Sidecars of Istio's profile ambient: they reach other pods by HBONE, through a listener inside of the proxy. */

const HBONE = { ISTIO_META_ENABLE_HBONE: 'true' };
/** Without this the agent wants a part of Istio's own Envoy to do what our module does. */
const NOT_NATIVE = { PEER_METADATA_DISCOVERY: 'false' };

const [RATINGS] = podAddresses(1);
const service = serviceOf('ratings', 8080);

/** A pod that ztunnel stands before. */
function ambientPod(): Resource {
  const pod = deployed('ratings', 'v1', RATINGS);
  pod.metadata.annotations = { 'ambient.istio.io/redirection': 'enabled' };
  return pod;
}

/** The module as a file, with the method alone. */
function plugin(): Resource {
  const filter = shippedResource('other-ways/file.yaml');
  const { config } = filter.spec.configPatches[0].patch.value.typed_config;
  config.vm_config.code.local.filename = MODULE;
  config.configuration.value = { upstream_discovery: [{ workload_discovery: {} }] };
  return filter;
}

async function startStand(env: Record<string, string>): Promise<MeshStand & { cluster: Cluster }> {
  const folder = mkdtempSync(join(tmpdir(), 'authority-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const authority = new Authority(folder);
  const securePort = await getPort();
  let cluster: Cluster | undefined;
  const pod = ambientPod();
  const resources = [plugin(), discoveryCluster(securePort), shippedResource('access-log.yaml')];
  const stand = await MeshStand.start([...resources, pod, service, endpointsOf(service, pod)], {
    authority,
    env,
    istiod: async (all) => {
      cluster = await Cluster.start(all, { authority, securePort });
      return cluster;
    },
  });
  return Object.assign(stand, { cluster: cluster as Cluster });
}

test('the pod that a request went to is known, though nobody is there', async () => {
  await using stand = await startStand({ ...HBONE, ...NOT_NATIVE });
  const { productpage, cluster } = stand;
  await productpage.until('it watches', async () => {
    const watcher = (await cluster.watchers()).find(({ node }) => node.startsWith('productpage'));
    return watcher?.sent && watcher.sent === watcher.acked;
  });
  await productpage.until('it has the endpoint', async () => {
    return (await productpage.admin('/clusters'))?.includes(`envoy://connect_originate/${RATINGS}:8080`);
  });
  expect((await stand.exchange('/1', {}, 'ratings')).status).toBe(503);
  const { upstream_peer } = await productpage.logged('/1');
  expect(upstream_peer).toMatchObject({ app: 'ratings', workload: 'ratings-v1' });
});

test('a stock Envoy does not start where the agent wants the native discovery', async () => {
  await expect(startStand(HBONE)).rejects.toThrow(/registered implementation for 'metadata_discovery'/);
});
