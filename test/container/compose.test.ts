// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import getPort from 'get-port';
import { expect, it, onTestFinished } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { accessLog, usersOf } from './containers.ts';
import { envoyImage } from './image.ts';

const run = promisify(execFile);
const FILE = 'envoy/sidecar-pair/docker-compose.yaml';
const OURS = /x-istio-peer/i;

/** The compose that answers: the plugin of newer Docker clients, or the program that is older. */
async function findCompose(): Promise<string[]> {
  for (const [command, ...args] of [['docker', 'compose'], ['docker-compose']]) {
    const answers = await run(command, [...args, 'version']).catch(() => undefined);
    if (answers) return [command, ...args];
  }
  throw new Error('neither `docker compose` nor `docker-compose` answers: run `tools/install-packages.sh compose`');
}

/** The pair as users start it: the file as shipped, as a project of its own, at a free port. Down when the test ends. */
async function up(image: string) {
  const [command, ...args] = await findCompose();
  const port = await getPort();
  const project = `metadata-exchange-${process.pid}-${port}`;
  const env = { ...process.env, ENVOY_IMAGE: image, PRODUCTPAGE_PORT: String(port) };
  const compose = async (...more: string[]) => {
    const all = [...args, '-p', project, '-f', FILE, ...more];
    const { stdout } = await run(command, all, { cwd: ROOT, env, timeout: 60_000 });
    return stdout.trim();
  };
  // Not `await using`: this is done after a timeout, too.
  onTestFinished(async () => void (await compose('down', '-v', '--remove-orphans', '--timeout', '1')), 60_000);
  await compose('up', '--detach');
  return { port, container: (service: string) => compose('ps', '-q', service) };
}

/** Waits for the first 200: until all three are ready there is no answer, or a 503. */
async function untilReady(url: string): Promise<void> {
  for (const end = Date.now() + 60_000; ; await sleep(100)) {
    // Docker accepts connections before Envoy does, and drops them in ways that fetch does not always notice.
    const response = await fetch(url, { signal: AbortSignal.timeout(2000) }).catch(() => undefined);
    if (response?.ok) return;
    if (Date.now() > end) throw new Error(`no 200 from ${url} within a minute, but ${response?.status ?? 'nothing'}`);
  }
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
