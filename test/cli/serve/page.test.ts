// SPDX-License-Identifier: Apache-2.0
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { startBrowser } from '../../../testkit/browser.ts';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { BOOKS, DATABASE, type Expected, expectedEdges, nodeOf, WORKLOADS } from '../../../tools/demo/bookinfo.ts';
import { Mesh } from '../../../tools/demo/mesh.ts';
import { sendRequests } from '../../../tools/demo/traffic.ts';
import { Prometheus } from '../../support/prometheus.ts';
import { Serve } from '../../support/serve.ts';

/**
 * The live map in Chromium, of Bookinfo on real Envoys, which a real Prometheus watches, too. One story from the top to
 * the bottom: traffic, its end, keyboard, a hostile stranger, and a sidecar that dies.
 */

const PICTURES = join(ROOT, 'build/pictures');
/** How long the numbers are of: all that is sent here. */
const SECONDS = 300;

let mesh: Mesh;
let prometheus: Prometheus;
let serve: Serve;
let browser: Browser;
let page: Page;
/** Errors of the page, and requests that leave this machine. */
const complaints: string[] = [];

beforeAll(async () => {
  mesh = await Mesh.start();
  const addresses = [...mesh.sidecars.values()].map((each) => each.adminAddress());
  prometheus = await Prometheus.start(...addresses);
  serve = await Serve.start(`--seconds=${SECONDS}`, ...addresses);
  browser = await startBrowser();
  page = await open('light');
}, 90_000);
afterAll(async () => {
  await browser?.close();
  for (const part of [serve, prometheus, mesh]) await part?.[Symbol.asyncDispose]();
});

async function open(colorScheme: 'light' | 'dark'): Promise<Page> {
  const opened = await browser.newPage({ viewport: { width: 1440, height: 900 }, colorScheme });
  opened.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  opened.on('pageerror', (error) => complaints.push(String(error)));
  opened.on('dialog', (dialog) => complaints.push(`a dialog: ${dialog.message()}`));
  opened.on('request', (request) => {
    if (!request.url().startsWith(serve.url)) complaints.push(`a request to ${request.url()}`);
  });
  await opened.goto(serve.url);
  return opened;
}

const node = (name: string, on = page): Locator => on.locator('.node a').filter({ hasText: new RegExp(`^${name}`) });
const row = (from: string, to: string): Locator => page.locator('#rows tr', { hasText: `${from} → ${to}` });

interface EdgeNumbers {
  /** Since the proxies started: of requests all and those that failed, of TCP connections and bytes each way. */
  totals: number[];
  /** Milliseconds; of requests. */
  p99: number;
}

const isTcp = ({ to }: Expected) => to === DATABASE.name;

/** What Prometheus has of an edge. */
async function known(edge: Expected): Promise<EdgeNumbers> {
  const { from, to, by } = edge;
  const labels = `reporter="${by[0]}",source_workload="${from}",destination_workload="${to}"`;
  const one = async (query: string) => (await prometheus.query(query))[0]?.values[0] ?? 0;
  if (isTcp(edge)) {
    const names = ['connections_opened', 'received_bytes', 'sent_bytes'];
    return { totals: await Promise.all(names.map((name) => one(`sum(istio_tcp_${name}_total{${labels}})`))), p99: 0 };
  }
  const requests = await one(`sum(istio_requests_total{${labels}})`);
  const failed = await one(`sum(istio_requests_total{${labels},response_code=~"5.."})`);
  const buckets = `sum by (le) (istio_request_duration_milliseconds_bucket{${labels}})`;
  return { totals: [requests, failed], p99: await one(`histogram_quantile(0.99, ${buckets})`) };
}

/** The same, as the page shows it: the numbers of the open edge, and its row in the table. */
async function shown(edge: Expected): Promise<EdgeNumbers> {
  const { from, to } = edge;
  await row(from, to).getByRole('link').click();
  await page.getByRole('heading', { name: `${from} → ${to}` }).waitFor();
  const table = page.getByRole('table', { name: 'Since the proxies started' });
  const totals = (await table.locator('td').allTextContents()).map(Number);
  if (isTcp(edge)) return { totals, p99: 0 };
  const [, time, unit] = /^([\d.]+) (m?s)$/.exec((await row(from, to).locator('td').nth(3).textContent()) ?? '') ?? [];
  return { totals, p99: Number(time) * (unit === 's' ? 1000 : 1) };
}

test('workloads, edges and numbers are those that Prometheus knows', { timeout: 90_000 }, async () => {
  const over = new AbortController();
  setTimeout(() => over.abort(), 8_000);
  await sendRequests(mesh, over.signal);
  const edges = expectedEdges(mesh.withReport);
  await expect.poll(() => page.locator('#rows tr').count(), { timeout: 10_000 }).toBe(edges.length);
  const names = await page.locator('#rows th').allTextContents();
  expect(names.sort()).toEqual(edges.map(({ from, to }) => `${from} → ${to}`).sort());
  const workloads = [...new Set(edges.flatMap(({ from, to }) => [from, to]))].sort();
  expect((await page.locator('.node .name').allTextContents()).sort()).toEqual(workloads);
  for (const { name, version } of [...WORKLOADS, DATABASE]) {
    expect(await node(name).locator('.state').textContent()).toBe(`${version} · exchanges`);
  }
  expect(await node(BOOKS.name).locator('.state').textContent()).toBe('v1 · no sidecar');
  // Both have asked once more.
  await sleep(3_000);
  for (const edge of edges) {
    const { totals, p99 } = await known(edge);
    expect(totals[0], edge.to).toBeGreaterThan(0);
    await expect.poll(async () => (await shown(edge)).totals, { timeout: 10_000 }).toEqual(totals);
    if (isTcp(edge)) continue;
    const found = await shown(edge);
    // It is shown with two or three digits.
    expect(found.p99 / p99, `${edge.from}: ${found.p99} ms, ${p99} ms`).toBeCloseTo(1, 1);
  }
});

test('Prometheus instead of the sidecars: the same map, but for what they say of themselves', async () => {
  await using other = await Serve.start('--prometheus', prometheus.url);
  const second = await browser.newPage();
  await second.goto(other.url);
  const edges = expectedEdges(mesh.withReport);
  await expect.poll(() => second.locator('#rows tr').count(), { timeout: 10_000 }).toBe(edges.length);
  const names = await second.locator('#rows th').allTextContents();
  expect(names.sort()).toEqual(edges.map(({ from, to }) => `${from} → ${to}`).sort());
  expect(await node('reviews-v3', second).locator('.state').textContent()).toBe('v3 · counts');
  expect(await node(BOOKS.name, second).locator('.state').textContent()).toBe('v1 · no sidecar');
  await node('reviews-v3', second).click();
  await expect.poll(() => second.locator('#details').textContent()).toContain('asks the sidecars themselves');
  await second.close();
});

test('a workload shows the Struct that its sidecar sends, field by field', async () => {
  await node('reviews-v3').click();
  const table = page.getByRole('table', { name: 'What its sidecar tells each peer, field by field' });
  await table.waitFor();
  const found: [string, string][] = [];
  for (const each of await table.locator('tr:not(.group)').all()) {
    found.push([(await each.locator('th').textContent()) ?? '', (await each.locator('td').textContent()) ?? '']);
  }
  const own = nodeOf(WORKLOADS.find(({ name }) => name === 'reviews-v3')!);
  const { LABELS, ...rest } = own.metadata['istio.io/metadata'];
  expect(Object.fromEntries(found)).toEqual({ ...LABELS, ...rest });
  const details = page.locator('#details');
  expect(await details.textContent()).toContain(own.id);
  expect(await details.textContent()).toContain(`${mesh.sidecar('reviews-v3').adminAddress()}/config_dump`);
});

test('who has no sidecar: what the metrics of others say', async () => {
  await node(BOOKS.name).click();
  const details = page.locator('#details');
  await details.getByRole('table', { name: 'Labels' }).waitFor();
  const text = (await details.textContent()) ?? '';
  expect(text).toContain('nobody has exchanged anything here');
  expect(text).toContain('canonical_servicebooks-api');
});

test('the keyboard alone is enough', async () => {
  await page.keyboard.press('Escape');
  await page.locator('#details').waitFor({ state: 'hidden' });
  await page.locator('#picture').evaluate(() => (document.activeElement as HTMLElement)?.blur());
  const focused = () => page.evaluate(() => document.activeElement?.getAttribute('aria-label') ?? '');
  // The map comes first, and in it the workloads.
  await page.keyboard.press('Tab');
  expect(await focused()).toMatch(/^The map: /);
  await page.keyboard.press('Tab');
  const first = await focused();
  expect(first).toMatch(/^[\w-]+: v1 · (exchanges|no sidecar)\.$/);
  await page.keyboard.press('Enter');
  await page
    .locator('#details')
    .getByRole('heading', { level: 2, name: first.split(':')[0] })
    .waitFor();
  await page.keyboard.press('Escape');
  await page.locator('#details').waitFor({ state: 'hidden' });

  const place = () => page.locator('.viewport').getAttribute('transform');
  const all = await place();
  await page.keyboard.press('+');
  const larger = await place();
  expect(larger).not.toBe(all);
  await page.keyboard.press('ArrowLeft');
  expect(await place()).not.toBe(larger);
  await page.keyboard.press('0');
  expect(await place()).toBe(all);

  for (let i = 1; i < (await page.locator('.node').count()); i++) await page.keyboard.press('Tab');
  await page.keyboard.press('Tab');
  expect(await focused()).toMatch(/^[\w-]+ calls [\w-]+: [\d.]+ (http requests a second|TCP connections open), /);
});

test('the mouse zooms and moves, and a new snapshot moves nothing', async () => {
  const places = () =>
    page.locator('.node, .label').evaluateAll((all) => all.map((each) => each.outerHTML.slice(0, 200)));
  const before = await places();
  const { x, y, width, height } = (await page.locator('#picture').boundingBox())!;
  const transform = () => page.locator('.viewport').getAttribute('transform');
  const all = await transform();
  await page.mouse.move(x + width / 2, y + height - 60);
  await page.mouse.wheel(0, -300);
  await expect.poll(transform).not.toBe(all);
  const zoomed = await transform();
  await page.mouse.down();
  await page.mouse.move(x + width / 2 + 80, y + height - 90, { steps: 4 });
  await page.mouse.up();
  const moved = await transform();
  expect(moved).not.toBe(zoomed);
  await sleep(2_500);
  expect(await transform()).toBe(moved);
  const transforms = (html: string[]) => html.map((each) => /transform="[^"]+"/.exec(each)?.[0]);
  expect(transforms(await places())).toEqual(transforms(before));
  await page.getByRole('button', { name: 'all', exact: true }).click();
  expect(await transform()).toBe(all);
});

test('light and dark', async () => {
  mkdirSync(PICTURES, { recursive: true });
  const dark = await open('dark');
  await node('reviews-v3', dark).waitFor();
  const colours = [page, dark].map((each) => each.evaluate(() => getComputedStyle(document.body).backgroundColor));
  const [light, other] = await Promise.all(colours);
  expect(light).not.toBe(other);
  for (const [name, on] of Object.entries({ light: page, dark })) {
    await node('reviews-v3', on).click();
    await on.locator('#details .pairs').first().waitFor();
    await on.screenshot({ path: join(PICTURES, `map-${name}.png`) });
  }
  await dark.close();
});

test('a stranger who calls itself markup stays text', async () => {
  const name = `<img src=x onerror="alert(1)">`;
  const header = struct.header({ WORKLOAD_NAME: name, NAMESPACE: 'default', NAME: 'x', LABELS: { version: '"><b>' } });
  const elements = () => page.locator('img, b, script').count();
  const before = await elements();
  for (let i = 0; i < 3; i++) await send(mesh.inboundPort('details-v1'), { headers: [METADATA, header] });
  await expect
    .poll(() => page.locator('#rows tr').count(), { timeout: 10_000 })
    .toBe(expectedEdges(mesh.withReport).length + 1);
  const stranger = page.locator('.node a').filter({ hasText: 'onerror' });
  await stranger.click();
  const heading = page.locator('#details h2');
  await expect.poll(() => heading.textContent()).toContain('onerror');
  const text = await heading.textContent();
  // What Envoy's metrics leave of it is all there is.
  const known = async () => {
    const [series] = await prometheus.query('istio_requests_total{source_workload=~".*onerror.*"}');
    return series?.metric.source_workload;
  };
  await expect.poll(known, { timeout: 10_000 }).toBe(text);
  expect(await stranger.getAttribute('aria-label')).toContain(text);
  expect(await elements()).toBe(before);
});

test('a sidecar that is killed is seen within five seconds', async () => {
  await page.keyboard.press('Escape');
  const start = Date.now();
  process.kill(mesh.sidecar('reviews-v2').pid, 'SIGKILL');
  await page.locator('.node.silent').waitFor({ timeout: 5_000 });
  expect(Date.now() - start).toBeLessThan(5_000);
  expect(await node('reviews-v2').locator('.state').textContent()).toBe('v2 · no answer');
  expect(await page.locator('#facts').textContent()).toContain('1 does not answer');
  expect(await page.getByRole('status').textContent()).toContain('reviews-v2: no answer.');
  await node('reviews-v2').click();
  await expect.poll(() => page.locator('#details').textContent()).toContain('has not answered since');
  // What it said before it died is still there.
  expect(await page.locator('#details').textContent()).toContain('reviews-v2-5b6d8c7f9b-h4wmt');
  await page.screenshot({ path: join(PICTURES, 'map-silent.png') });
});

test('when the server of the page ends, the page says so', async () => {
  await serve.stop();
  await expect.poll(() => page.locator('#live').textContent(), { timeout: 10_000 }).toContain('is gone');
});

test('there were no errors, and no request left this machine', () => {
  // That the server is gone is an error of the network, and none of the page.
  expect(complaints.filter((each) => !each.includes('net::ERR_'))).toEqual([]);
});
