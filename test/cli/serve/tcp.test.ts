// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { startBrowser } from '../../../testkit/browser.ts';
import { App } from '../../../testkit/http.ts';
import { Serve } from '../../support/serve.ts';

/** TCP on the live map, in Chromium: the page of a sidecar as it grows from second to second. */

const ENDS = 'reporter="source",source_workload="ratings-v1",destination_workload="ratings-db-v1"';

test('an edge of TCP has connections and bytes, and stands beside that of HTTP', { timeout: 60_000 }, async () => {
  const start = Date.now();
  await using app = await App.start(() => {
    const seconds = (Date.now() - start) / 1000;
    const counters = {
      requests: ['', 10 * seconds],
      tcp_connections_opened: ['tcp', 7],
      tcp_connections_closed: ['tcp', 4],
      tcp_received_bytes: ['tcp', 2_000 * seconds],
      tcp_sent_bytes: ['tcp', 5_000_000 * seconds],
    };
    const lines = Object.entries(counters).map(([name, [protocol, value]]) => {
      return `istio_${name}_total{${ENDS},request_protocol="${protocol || 'http'}"} ${value}`;
    });
    return { body: lines.join('\n') };
  });
  await using serve = await Serve.start(`127.0.0.1:${app.port}`);
  await using browser = await startBrowser();
  const page = await browser.newPage();
  await page.goto(serve.url);
  const label = page.locator('.label.tcp');
  // Per second of this machine's clock: about that.
  const sent = async () => Number(/← ([\d.]+) MB/.exec((await label.locator('.second').textContent()) ?? '')?.[1]);
  await expect.poll(sent, { timeout: 20_000 }).toBeCloseTo(5, 0);
  await expect.poll(() => label.locator('.first').textContent()).toBe('3 open connections');
  await expect.poll(() => label.locator('.second').textContent()).toMatch(/^→ [\d.]+ kB\/s {2}← [\d.]+ MB\/s$/);
  expect(await label.locator('a').getAttribute('aria-label')).toMatch(
    /^ratings-v1 calls ratings-db-v1: 3 TCP connections open, 0 new a second, [\d.]+ kB\/s to the server, [\d.]+ MB\/s back\.$/,
  );
  await label.locator('a').click();
  await page.getByRole('img', { name: /^bytes back since / }).waitFor();
  expect(await page.locator('#details figcaption').allTextContents()).toEqual([
    expect.stringMatching(/^connections open.*3$/),
    expect.stringMatching(/^connections opened a second.*0\.0$/),
    expect.stringMatching(/^bytes to the server.*[\d.]+ kB\/s$/),
    expect.stringMatching(/^bytes back.*[\d.]+ MB\/s$/),
  ]);
  const rows = await page.locator('#rows tr').allTextContents();
  expect(rows).toEqual([
    expect.stringMatching(/^ratings-v1 → ratings-db-v1http[\d.]+\/s0%-$/),
    expect.stringMatching(/^ratings-v1 → ratings-db-v1tcp3 open→ [\d.]+ kB\/s← [\d.]+ MB\/s$/),
  ]);
});
