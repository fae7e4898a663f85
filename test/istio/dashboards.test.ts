// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { Dashboard, isAnswered, type PanelQuery } from '../support/dashboards.ts';
import { ObservedMesh } from '../support/observed_mesh.ts';

/**
 * Istio's own dashboards, as its sources have them, over a mesh of stock Envoys: every query of every panel is run by a
 * real Prometheus server that scrapes the sidecars. `make test-istio` puts the dashboards there.
 */

const FOLDER = join(ROOT, '.cache/istio/dashboards');
const PAGE = join(ROOT, 'docs/metrics.md');

/** The dashboards that are about requests. */
const ABOUT_REQUESTS = [
  'istio-mesh-dashboard.gen.json',
  'istio-service-dashboard.json',
  'istio-workload-dashboard.json',
];

/** The other ones, and what they are about. */
const ABOUT_ISTIO: Record<string, string> = {
  'istio-extension-dashboard.json': 'which modules Istio’s agent has fetched, and what containers use',
  'istio-performance-dashboard.json': 'what istiod and containers use',
  'pilot-dashboard.gen.json': 'istiod',
  'ztunnel-dashboard.gen.json': 'ztunnel',
};

/** Why a query returns nothing, and which do. Whatever is not here must return data. */
const WITHOUT_DATA: { what: string; why: string; isSo(expr: string): boolean }[] = [
  {
    what: 'requests that went out over mTLS: `reporter="source"` with `connection_security_policy="mutual_tls"`',
    why: 'A client’s proxy reports `unknown`, Istio’s too. The lines beside, not for mTLS, have these requests.',
    isSo: (expr) => /reporter="source"/.test(expr) && /connection_security_policy="mutual_tls"/.test(expr),
  },
  {
    what: 'versions of Istio: `istio_build`',
    why: 'istiod and Istio’s agents say it of themselves. A stock Envoy is none of them.',
    isSo: (expr) => expr.includes('istio_build'),
  },
];

const reasonOf = ({ expr }: PanelQuery) => WITHOUT_DATA.find(({ isSo }) => isSo(expr));
const nameOf = ({ panel, expr }: PanelQuery) => `${panel}: ${expr}`;
const dashboards = () => ABOUT_REQUESTS.map((file) => new Dashboard(join(FOLDER, file)));

/** Scrapes and rates need that long; a slow machine needs longer. */
const MOST_SECONDS_TO_ANSWER = 90;

let mesh: ObservedMesh;
beforeAll(async () => {
  mesh = await ObservedMesh.start();
});
afterAll(async () => await mesh?.[Symbol.asyncDispose]());

/** The queries of these that return no data, once all that should return some do, or have had their time. */
async function withoutData(dashboard: Dashboard, queries: PanelQuery[]): Promise<PanelQuery[]> {
  for (const end = Date.now() + MOST_SECONDS_TO_ANSWER * 1000; ; await sleep(1000)) {
    const selections = await dashboard.selections(mesh.prometheus);
    const empty: PanelQuery[] = [];
    for (const query of queries) {
      if (!(await isAnswered(query.expr, selections, mesh.prometheus))) empty.push(query);
    }
    if (empty.every(reasonOf) || Date.now() > end) return empty;
  }
}

test('there is no dashboard of Istio’s that is not known here', () => {
  expect(readdirSync(FOLDER).sort()).toEqual([...ABOUT_REQUESTS, ...Object.keys(ABOUT_ISTIO)].sort());
});

describe.each(ABOUT_REQUESTS)('%s', (file) => {
  const dashboard = new Dashboard(join(FOLDER, file));

  test('every query returns data of the mesh, but for those of which it is known why not', async () => {
    const empty = await withoutData(dashboard, dashboard.queries);
    const unexpected = empty.filter((query) => !reasonOf(query));
    expect(unexpected.map(nameOf), 'no data, and nobody knows why').toEqual([]);
    const known = dashboard.queries.filter(reasonOf);
    expect(known.map(nameOf), 'said to return nothing').toEqual(empty.map(nameOf));
  });

  test('its variables offer what there is: workloads, namespaces, services', async () => {
    const offers = await dashboard.offers(mesh.prometheus);
    const [service, namespaces, clusters] = ['reviews.default.svc.cluster.local', 'default', 'Kubernetes'];
    const callers = ['productpage-v1', 'stock-report', 'unknown'];
    const all: Record<string, object> = {
      'istio-mesh-dashboard.gen.json': {},
      'istio-service-dashboard.json': {
        service: [service, 'unknown'],
        srccluster: [clusters, 'unknown'],
        srcns: [namespaces, 'unknown'],
        srcwl: callers,
        // As servers say it.
        dstcluster: [clusters],
        dstns: [namespaces],
        dstwl: ['reviews-v1'],
      },
      'istio-workload-dashboard.json': {
        namespace: [namespaces, 'unknown'],
        workload: ['productpage-v1', 'reviews-v1', 'stock-report', 'unknown'],
        srcns: [namespaces, 'unknown'],
        srcwl: callers,
        dstsvc: [service, 'unknown'],
      },
    };
    expect(offers).toEqual(all[file]);
  });
});

/** The tables of docs/metrics.md. */
function tables(): string {
  const all = dashboards();
  const count = (queries: PanelQuery[]) => queries.filter((each) => !reasonOf(each)).length;
  const rows = all.map(({ title, queries }) => `| ${title} | ${queries.length} | ${count(queries)} |`);
  const reasons = WITHOUT_DATA.map((reason) => {
    const where = all.flatMap(({ title, queries }) => {
      const of = queries.filter((query) => reasonOf(query) === reason).length;
      return of > 0 ? [`${title.replace(/^Istio (.*) Dashboard$/, (_, name) => name.toLowerCase())} ${of}`] : [];
    });
    return `| ${reason.what} | ${where.join(', ')} | ${reason.why} |`;
  });
  return [
    '| dashboard | queries | with data |',
    '|---|---|---|',
    ...rows,
    '',
    '| without data | queries | why |',
    '|---|---|---|',
    ...reasons,
  ].join('\n');
}

test('docs/metrics.md says the same (`make test-istio TESTS=test/istio/dashboards.test.ts DOCS=1` writes it)', () => {
  const page = readFileSync(PAGE, 'utf8');
  const parts = /^(.*<!-- dashboards: [^\n]* -->\n\n)(.*?)(\n\n<!-- \/dashboards -->.*)$/s.exec(page);
  if (!parts) throw new Error(`${PAGE} has no place for the tables`);
  const [, before, shown, after] = parts;
  if (process.env.DOCS) writeFileSync(PAGE, before + tables() + after);
  else expect(shown).toBe(tables());
});
