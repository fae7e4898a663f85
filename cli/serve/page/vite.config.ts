// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { defineConfig } from 'vite';

/** `make page`: the page of `metadata-exchange serve`. The server gives it out as it lies in build/page. */
export default defineConfig({
  root: import.meta.dirname,
  base: './',
  logLevel: 'warn',
  // As a file: the server's policy takes nothing that stands in the page itself.
  build: {
    outDir: join(import.meta.dirname, '../../../build/page'),
    emptyOutDir: true,
    modulePreload: false,
    assetsInlineLimit: 0,
  },
});
