// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { startBrowser } from '../../../testkit/browser.ts';
import { App } from '../../../testkit/http.ts';
import { Serve } from '../../support/serve.ts';

/** A workload with several sidecars on the live map, in Chromium: one node, and how many of them are well. */

const PAGE = `istio_requests_total{reporter="source",source_workload="shop",source_version="v1",destination_workload="cart"} 8
istio_requests_total{reporter="source",source_workload="shop",source_version="v2",destination_workload="cart"} 8
`;
const [V1, V2] = PAGE.split('\n');

test('replicas are one node, versions are several, and one replica that ends is seen', {
  timeout: 60_000,
}, async () => {
  const apps = await Promise.all([V1, V1, V1, V2].map((body) => App.start(() => ({ body }))));
  try {
    await using serve = await Serve.start(...apps.map(({ port }) => `127.0.0.1:${port}`));
    await using browser = await startBrowser();
    const page = await browser.newPage();
    await page.goto(serve.url);
    const states = () => page.locator('.node .state').allTextContents();
    await expect
      .poll(async () => (await states()).sort())
      .toEqual(['no sidecar', 'v1 · exchanges ×3', 'v2 · exchanges']);
    expect(await page.locator('#facts').textContent()).toContain('4 of 4 sidecars exchange');

    await apps[1][Symbol.asyncDispose]();
    await expect.poll(states, { timeout: 10_000 }).toContain('v1 · 1 of 3: no answer');
    expect(await page.locator('#facts').textContent()).toContain('3 of 4 sidecars exchange');
    expect(await page.locator('#facts').textContent()).toContain('1 does not answer');
  } finally {
    for (const app of apps) await app[Symbol.asyncDispose]();
  }
});
