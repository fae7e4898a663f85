// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import getPort from 'get-port';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { send } from '../../../testkit/http.ts';
import { Dashboard, hasNumbers, isAnswered, type PanelQuery } from '../../support/dashboards.ts';
import { ObservedMesh } from '../../support/observed_mesh.ts';
import { Prometheus } from '../../support/prometheus.ts';

/** envoy/grafana: the dashboard for those who do not have Istio's, and what its compose file starts. */

const FOLDER = 'envoy/grafana';
const dashboard = new Dashboard(join(ROOT, FOLDER, 'metadata-exchange.json'));
const read = (path: string) => parse(readFileSync(join(ROOT, path), 'utf8'));

/** What stays at zero where all is well: the mesh of this test has nothing of it. */
const QUIET = [
  ...['utf8', 'protobuf', 'control', 'no_json_form', 'nesting', 'id', 'baggage'].map((each) => `refused_${each}`),
  ...['oversize', 'mismatches', 'unverified', 'own_fields_left_out', 'cache_evictions', 'streams_unserved'],
  ...['traffic_unnamed', 'discovery_removals', 'discovery_refused', 'discovery_reconnects', 'discovery_failures'],
  ...['discovery_on_worker', 'preface_refused', 'preface_stalled'],
];
const isQuiet = ({ expr }: PanelQuery) => QUIET.some((name) => new RegExp(`metadata_exchange_${name}\\b`).test(expr));

const nameOf = ({ panel, expr }: PanelQuery) => `${panel}: ${expr}`;

/** Waits until nothing is missing any more, and says what is, if that takes too long. */
async function untilNone(missing: () => Promise<PanelQuery[]>): Promise<string[]> {
  for (const end = Date.now() + 45_000; ; await sleep(1000)) {
    const found = await missing();
    if (found.length === 0 || Date.now() > end) return found.map(nameOf);
  }
}

describe('the dashboard, over a mesh with everything on it', () => {
  let mesh: ObservedMesh;
  beforeAll(async () => {
    mesh = await ObservedMesh.start();
  });
  afterAll(async () => await mesh?.[Symbol.asyncDispose]());

  async function without(queries: PanelQuery[], test: typeof isAnswered): Promise<PanelQuery[]> {
    const selections = await dashboard.selections(mesh.prometheus);
    const found: PanelQuery[] = [];
    for (const query of queries) {
      if (!(await test(query.expr, selections, mesh.prometheus))) found.push(query);
    }
    return found;
  }

  test('every query shows the mesh’s traffic, its unknown peers, the filter and discovery', async () => {
    const lively = dashboard.queries.filter((query) => !isQuiet(query));
    expect(lively.length).toBeGreaterThan(30);
    expect(await untilNone(() => without(lively, isAnswered)), 'nothing is shown').toEqual([]);
  });

  test('what stands for trouble shows zeros, and not “No data”', async () => {
    const quiet = dashboard.queries.filter(isQuiet);
    expect(quiet).toHaveLength(QUIET.length);
    expect(await untilNone(() => without(quiet, hasNumbers)), 'no data').toEqual([]);
    const shown = await without(quiet, async (...query) => !(await isAnswered(...query)));
    expect(shown.map(nameOf), 'trouble').toEqual([]);
  });

  test('callers and servers can be chosen by name', async () => {
    expect(await dashboard.offers(mesh.prometheus)).toEqual({
      source: ['productpage-v1', 'stock-report', 'unknown'],
      destination: ['reviews-v1', 'unknown'],
    });
  });
});

test('the dashboard has every metric of the filter', () => {
  const metrics: { name: string }[] = JSON.parse(readFileSync(join(ROOT, 'assembly/metrics/metrics.json'), 'utf8'));
  const all = dashboard.queries.map(({ expr }) => expr).join('\n');
  const missing = metrics.filter(({ name }) => !new RegExp(`metadata_exchange_${name}\\b`).test(all));
  expect(missing.map(({ name }) => name)).toEqual([]);
});

test('its panels stand side by side in Grafana’s 24 columns, and none over another', () => {
  const { panels } = JSON.parse(readFileSync(join(ROOT, FOLDER, 'metadata-exchange.json'), 'utf8'));
  const taken = new Map<string, string>();
  for (const { title, gridPos } of panels) {
    const { x, y, w, h } = gridPos;
    expect(x + w, title).toBeLessThanOrEqual(24);
    for (let column = x; column < x + w; column++) {
      for (let line = y; line < y + h; line++) {
        expect(taken.get(`${column} ${line}`), `${title} covers`).toBeUndefined();
        taken.set(`${column} ${line}`, title);
      }
    }
  }
  const ids = panels.map(({ id }: { id: number }) => id);
  expect(new Set(ids).size).toBe(ids.length);
});

describe('what the compose file starts', () => {
  test('Prometheus finds who calls whom at the listener that has nothing but metrics', async () => {
    const admin = await getPort();
    const config = shipped(`${FOLDER}/envoy.yaml`, { admin });
    config.admin.address.socket_address.port_value = admin;
    const port = await getPort();
    config.static_resources.listeners[1].address.socket_address.port_value = port;
    const reviews = config.static_resources.clusters.find(({ name }: { name: string }) => name === 'reviews');
    reviews.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.port_value = port;
    await using envoy = await Envoy.start(config, { name: 'grafana' });
    const scraping = read(`${FOLDER}/prometheus.yaml`);
    scraping.global.scrape_interval = '1s';
    const metrics = await envoy.port('prometheus');
    scraping.scrape_configs[0].static_configs[0].targets = [`127.0.0.1:${metrics}`];
    await using prometheus = await Prometheus.startWith(scraping);

    for (let i = 0; i < 100; i++) await send(await envoy.port('productpage'), {});
    for (let i = 0; i < 10; i++) await send(port, {});
    const by = 'source_workload, destination_workload, reporter';
    const query = `sort(sum by (${by}) (istio_requests_total))`;
    await envoy.until('Prometheus has all requests', async () => {
      const counted = (await prometheus.query('sum(istio_requests_total)'))[0]?.values[0];
      return counted === 210;
    });
    const edge = (source: string, reporter: string) => ({
      source_workload: source,
      destination_workload: 'reviews-v1',
      reporter,
    });
    expect(await prometheus.query(query)).toEqual([
      { metric: edge('unknown', 'destination'), values: [10] },
      { metric: edge('productpage-v1', 'destination'), values: [100] },
      { metric: edge('productpage-v1', 'source'), values: [100] },
    ]);
    for (const request of [{ path: '/' }, { path: '/config_dump' }, { path: '/quitquitquit', method: 'POST' }]) {
      expect((await send(metrics, request)).status, request.path).toBe(404);
    }
  });

  test('its Envoy has the labels of envoy/stats_tags.yaml', () => {
    expect(read(`${FOLDER}/envoy.yaml`).stats_config).toEqual(read('envoy/stats_tags.yaml').stats_config);
  });

  test('Grafana asks the Prometheus that is there, and has the dashboard', () => {
    const { services } = read(`${FOLDER}/docker-compose.yaml`);
    const [source] = read(`${FOLDER}/provisioning/datasources/prometheus.yaml`).datasources;
    const { hostname, port } = new URL(source.url);
    expect(services[hostname].ports[0]).toMatch(new RegExp(`:${port}$`));
    const [{ options }] = read(`${FOLDER}/provisioning/dashboards/dashboards.yaml`).providers;
    const mounted = services.grafana.volumes.map(({ target }: { target: string }) => target);
    expect(mounted).toContain(`${options.path}/metadata-exchange.json`);
    expect(services.grafana.environment.GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH).toBe(
      `${options.path}/metadata-exchange.json`,
    );
    const [target] = read(`${FOLDER}/prometheus.yaml`).scrape_configs[0].static_configs[0].targets;
    expect(Object.keys(services)).toContain(target.split(':')[0]);
  });
});
