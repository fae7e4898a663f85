// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { startBrowser } from '../testkit/browser.ts';
import { ROOT } from '../testkit/envoy/binary.ts';
import { LiveMap } from './demo/live_map.ts';
import { Mesh } from './demo/mesh.ts';
import { sendRequests } from './demo/traffic.ts';

/** `make screenshot`: the picture of the live map in README, of the demo's mesh as it runs. */

const PICTURE = 'docs/map.png';
const SIZE = { width: 1280, height: 840 };
/** Sharp on screens with small points, and still a small file: it has few colours. */
const [SCALE, COLOURS] = [1.5, 96];
/** Until the numbers are of requests alone, and not of the start. */
const SECONDS = 20;

await using mesh = await Mesh.start();
await using map = await LiveMap.start([...mesh.sidecars.values()].map((each) => each.adminAddress()));
const over = new AbortController();
const traffic = sendRequests(mesh, over.signal);
await using browser = await startBrowser();
await sleep(SECONDS * 1000);
const page = await browser.newPage({ viewport: SIZE, deviceScaleFactor: SCALE, reducedMotion: 'reduce' });
await page.goto(map.url);
await page.locator('.label').first().waitFor();
const picture = await page.screenshot();
const small = execFileSync('pngquant', ['--speed', '1', '--strip', String(COLOURS), '-'], { input: picture });
writeFileSync(join(ROOT, PICTURE), small);
console.log(`written: ${PICTURE}, ${small.length} bytes`);
over.abort();
await traffic;
