// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import getPort from 'get-port';
import { expect, it } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { Project, untilReady } from './compose.ts';
import { usersOf } from './containers.ts';
import { envoyImage, prometheusImage } from './image.ts';

/**
 * envoy/grafana/docker-compose.yaml, without Grafana: its image cannot be pulled everywhere, and Debian has no package of
 * which one could be made. The dashboard is tested query by query in test/envoy/metrics/grafana.test.ts.
 */

const FILE = 'envoy/grafana/docker-compose.yaml';

/** The image that the file names for a service, unless a variable names another. */
function imageOf(service: string): string {
  const { image } = parse(readFileSync(join(ROOT, FILE), 'utf8')).services[service];
  return /:-(.*)\}$/.exec(image)?.[1] ?? image;
}

it('is a compose file, in which every file that is mounted is there', async () => {
  const project = await Project.of(FILE, {});
  const { services } = parse(await project.run('config'));
  expect(Object.keys(services).sort()).toEqual(['envoy', 'grafana', 'prometheus']);
  for (const { volumes } of Object.values<{ volumes: { source: string }[] }>(services)) {
    for (const { source } of volumes) expect(existsSync(source), source).toBe(true);
  }
});

it('starts an Envoy and a Prometheus that knows who calls whom', { timeout: 240_000 }, async () => {
  const [page, own, asked] = [await getPort(), await getPort(), await getPort()];
  const project = await Project.of(FILE, {
    ENVOY_IMAGE: await envoyImage(),
    PROMETHEUS_IMAGE: await prometheusImage(imageOf('prometheus')),
    PRODUCTPAGE_PORT: String(page),
    REVIEWS_PORT: String(own),
    PROMETHEUS_PORT: String(asked),
  });
  await project.up('envoy', 'prometheus');
  // One in ten requests fails.
  await untilReady(`http://127.0.0.1:${page}/`);
  await untilReady(`http://127.0.0.1:${asked}/-/ready`);
  for (let i = 0; i < 20; i++) await fetch(`http://127.0.0.1:${page}/`);
  await fetch(`http://127.0.0.1:${own}/`);

  const query = encodeURIComponent('sum by (source_workload, destination_workload) (istio_requests_total) > 0');
  const edges = async () => {
    const response = await fetch(`http://127.0.0.1:${asked}/api/v1/query?query=${query}`);
    const { data } = await response.json();
    const names = ({ metric }: { metric: Record<string, string> }) =>
      `${metric.source_workload} → ${metric.destination_workload}`;
    return data.result.map(names).sort();
  };
  let found = await edges();
  for (const end = Date.now() + 30_000; found.length < 2 && Date.now() < end; await sleep(500)) found = await edges();
  expect(found).toEqual(['productpage-v1 → reviews-v1', 'unknown → reviews-v1']);
  expect(await usersOf(await project.container('envoy'))).toEqual([101]);
});
