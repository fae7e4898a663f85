// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { type Browser, chromium } from 'playwright-core';

/** A real browser: Debian's package chromium, or another Chromium or Chrome that is here. */

const NAMES = ['chromium', 'chromium-browser', 'google-chrome'];

/** Starts it; throws with one sentence if there is none. */
export function startBrowser(): Promise<Browser> {
  const folders = (process.env.PATH ?? '').split(delimiter);
  const executablePath = NAMES.flatMap((name) => folders.map((folder) => join(folder, name))).find(existsSync);
  if (!executablePath) {
    throw new Error('There is no Chromium here: `make test` installs Debian’s package chromium, as root.');
  }
  // Chromium has no sandbox for root.
  return chromium.launch({ executablePath, args: process.getuid?.() === 0 ? ['--no-sandbox'] : [] });
}
