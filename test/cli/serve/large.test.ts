// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { startBrowser } from '../../../testkit/browser.ts';
import { App } from '../../../testkit/http.ts';
import { Random } from '../../../testkit/random.ts';
import { Serve } from '../../support/serve.ts';

/** The live map of 150 workloads, in Chromium: pages as their sidecars would write them. */

const WORKLOADS = 150;
/** How often it is arranged, and how long that may take each time. */
const TIMES = 3;
const MOST_SECONDS = 1;

const BOUNDS = ['0.5', '1', '5', '10', '25', '50', '100', '250', '500', '1000', '2500', '5000', '10000', '+Inf'];

/** The page of each sidecar: both ends count each edge. Each workload is called by one or two of those before it. */
function pages(): Map<string, string> {
  const random = new Random(11);
  const pages = new Map<string, string[]>();
  const add = (name: string, lines: string[]) => pages.set(name, [...(pages.get(name) ?? []), ...lines]);
  for (let i = 1; i < WORKLOADS; i++) {
    const callers = new Set(Array.from({ length: 1 + random.below(2) }, () => random.below(Math.ceil(i * 0.6))));
    for (const caller of callers) {
      const [from, to] = [`workload-${caller}`, `workload-${i}`];
      const ends = `source_workload="${from}",source_version="v1",destination_workload="${to}",destination_version="v1"`;
      for (const [reporter, name] of Object.entries({ source: from, destination: to })) {
        const labels = `reporter="${reporter}",${ends},request_protocol="http"`;
        const buckets = BOUNDS.map((le) => `istio_request_duration_milliseconds_bucket{${labels},le="${le}"} 1200`);
        add(name, [`istio_requests_total{${labels},response_code="200"} 1200`, ...buckets]);
      }
    }
  }
  return new Map([...pages].map(([name, lines]) => [name, lines.join('\n')]));
}

test('is arranged within a second, and no label lies on another', { timeout: 120_000 }, async () => {
  const all = pages();
  await using app = await App.start(({ path }) => ({ body: all.get(path.split('/')[1]) ?? '' }));
  const addresses = Array.from({ length: WORKLOADS }, (_, i) => `http://127.0.0.1:${app.port}/workload-${i}/stats`);
  await using serve = await Serve.start(...addresses);
  await using browser = await startBrowser();
  const page = await browser.newPage({ viewport: { width: 1600, height: 1000 } });
  await page.goto(serve.url);
  await expect.poll(() => page.locator('.node').count(), { timeout: 30_000 }).toBe(WORKLOADS);
  const edges = await page.locator('#rows tr').count();
  expect(edges).toBeGreaterThan(WORKLOADS);
  expect(await page.locator('.label').count()).toBe(edges);

  // Its processor time: on a busy machine the clock says how much others do. Script, styles and boxes are in it.
  const session = await page.context().newCDPSession(page);
  await session.send('Performance.enable', { timeDomain: 'threadTicks' });
  const spent = async () => {
    const { metrics } = await session.send('Performance.getMetrics');
    return metrics.find(({ name }) => name === 'TaskDuration')?.value ?? Number.NaN;
  };
  const before = await spent();
  await page.evaluate((times) => {
    for (let i = 0; i < times; i++) {
      document.getElementById('arrange')?.click();
      document.getElementById('picture')?.getBoundingClientRect();
    }
  }, TIMES);
  const seconds = ((await spent()) - before) / TIMES;
  expect(seconds).toBeGreaterThan(0);
  expect(seconds).toBeLessThan(MOST_SECONDS);

  const overlaps = await page.evaluate(() => {
    const boxes = [...document.querySelectorAll('.node rect, .label text')].map((each) => {
      return { text: each.closest('a')?.textContent, link: each.closest('a'), box: each.getBoundingClientRect() };
    });
    const apart = 0.2;
    return boxes.flatMap(({ text, link, box }, i) =>
      boxes
        .slice(i + 1)
        .filter((each) => each.link !== link)
        .filter(({ box: other }) => box.left + apart < other.right && other.left + apart < box.right)
        .filter(({ box: other }) => box.top + apart < other.bottom && other.top + apart < box.bottom)
        .map((each) => `${text} and ${each.text}`),
    );
  });
  expect(overlaps).toEqual([]);

  // What is too small to be read is found by its name, and shown larger.
  const width = async () => (await page.locator('.node a', { hasText: 'workload-77' }).boundingBox())?.width ?? 0;
  const small = await width();
  await page.getByRole('searchbox').fill('load-77');
  await expect.poll(() => page.locator('#rows tr:visible').count()).toBeLessThan(10);
  await page.keyboard.press('Enter');
  await page.locator('#details').getByRole('heading', { level: 2, name: 'workload-77' }).waitFor();
  expect(await width()).toBeGreaterThan(small * 3);
  await page.getByRole('searchbox').fill('');
  await expect.poll(() => page.locator('#rows tr:visible').count()).toBe(edges);
});
