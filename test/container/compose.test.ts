// SPDX-License-Identifier: Apache-2.0
import getPort from 'get-port';
import { expect, it } from 'vitest';
import { shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { Project, untilReady } from './compose.ts';
import { accessLog, usersOf } from './containers.ts';
import { envoyImage } from './image.ts';

const FILE = 'envoy/sidecar-pair/docker-compose.yaml';
const OURS = /x-istio-peer/i;

/** The pair as users start it, at a free port. */
async function up(image: string) {
  const port = await getPort();
  const project = await Project.of(FILE, { ENVOY_IMAGE: image, PRODUCTPAGE_PORT: String(port) });
  await project.up();
  return { port, container: (service: string) => project.container(service) };
}

it('introduces the two sidecars of docker-compose.yaml to each other', { timeout: 240_000 }, async () => {
  const pair = await up(await envoyImage());

  await untilReady(`http://127.0.0.1:${pair.port}/ready`);
  const response = await fetch(`http://127.0.0.1:${pair.port}/reviews/1`);
  const body = await response.text();

  expect(response.status).toBe(200);
  expect(body, 'what the application saw').toContain('":path": "/reviews/1"');
  expect(body, 'what the application saw').not.toMatch(OURS);
  expect([...response.headers.keys()].join(), 'what the client saw').not.toMatch(OURS);

  const reviews = await pair.container('reviews');
  const client = shippedIdentity('envoy/sidecar-pair/productpage.yaml');
  const { downstream_peer } = await accessLog(reviews, '/reviews/1');
  expect(downstream_peer.id).toBe(client.id);
  expect(downstream_peer.metadata.value).toEqual(client.metadata);

  const productpage = await pair.container('productpage');
  const server = shippedIdentity('envoy/sidecar-pair/reviews.yaml');
  const { upstream_peer } = await accessLog(productpage, '/reviews/1');
  expect(upstream_peer.id).toBe(server.id);
  expect(upstream_peer.metadata.value).toEqual(server.metadata);

  for (const service of ['productpage', 'reviews', 'reviews-app']) {
    expect(await usersOf(await pair.container(service)), `who runs ${service}`).toEqual([101]);
  }
});
