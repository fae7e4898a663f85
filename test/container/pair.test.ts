// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { GenericContainer, Network, Wait } from 'testcontainers';
import { expect, it } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { accessLog, usersOf } from './containers.ts';
import { envoyImage } from './image.ts';

const OURS = /x-istio-peer/i;

/** One of the pair's Envoys, with its configuration as shipped. */
function envoy(image: string, name: string, ...args: string[]): GenericContainer {
  const mounts = ['build', 'envoy'].map((folder) => ({
    source: join(ROOT, folder),
    target: `/project/${folder}`,
    mode: 'ro' as const,
  }));
  return (
    new GenericContainer(image)
      .withCommand(['envoy', '-c', `envoy/sidecar-pair/${name}.yaml`, '--file-flush-interval-msec', '100', ...args])
      .withWorkingDir('/project')
      .withBindMounts(mounts)
      // Not the usual wait for open ports: that runs a shell inside, and there may be none.
      .withWaitStrategy(Wait.forLogMessage(/all dependencies initialized\. starting workers/))
      .withStartupTimeout(60_000)
  );
}

it('introduces two sidecars to each other that run in containers', { timeout: 240_000 }, async () => {
  const image = await envoyImage();
  await using network = await new Network().start();
  await using reviews = await envoy(image, 'reviews').withNetwork(network).withNetworkAliases('reviews').start();
  // The application shares its sidecar's network, as in a pod: so it needs a base id of its own.
  await using app = await envoy(image, 'app', '--base-id', '1').withNetworkMode(`container:${reviews.getId()}`).start();
  await using productpage = await envoy(image, 'productpage').withNetwork(network).withExposedPorts(15001).start();

  const url = `http://${productpage.getHost()}:${productpage.getMappedPort(15001)}/reviews/1`;
  const response = await answered(url);
  const body = await response.text();

  expect(response.status).toBe(200);
  expect(body, 'what the application saw').toContain('":path": "/reviews/1"');
  expect(body, 'what the application saw').not.toMatch(OURS);
  expect([...response.headers.keys()].join(), 'what the client saw').not.toMatch(OURS);

  const client = shippedIdentity('envoy/sidecar-pair/productpage.yaml');
  const { downstream_peer } = await accessLog(reviews.getId(), '/reviews/1');
  expect(downstream_peer.id).toBe(client.id);
  expect(downstream_peer.metadata.value).toEqual(client.metadata);

  const server = shippedIdentity('envoy/sidecar-pair/reviews.yaml');
  const { upstream_peer } = await accessLog(productpage.getId(), '/reviews/1');
  expect(upstream_peer.id).toBe(server.id);
  expect(upstream_peer.metadata.value).toEqual(server.metadata);

  for (const container of [reviews, app, productpage]) {
    expect(await usersOf(container.getId()), 'who runs Envoy').toEqual([101]);
  }
});

/** The first answer: the port is open before Envoy listens behind it, and closes connections until then. */
async function answered(url: string): Promise<Response> {
  for (const end = Date.now() + 30_000; ; await sleep(100)) {
    const response = await fetch(url, { signal: AbortSignal.timeout(10_000) }).catch((error: Error) => error);
    if (response instanceof Response) return response;
    if (Date.now() > end) throw response;
  }
}
