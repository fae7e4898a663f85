// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

// The tests on other platforms need their code, which takes long to build: they are for `make test-istio` and
// `make test-envoy-gateway` alone.
const platforms = ['istio', 'envoy-gateway'];
const platform = platforms.find((name) => process.env[name.replace('-', '_').toUpperCase()]);

export default defineConfig({
  test: {
    include: [platform ? `test/${platform}/**/*.test.ts` : 'test/**/*.test.ts'],
    exclude: platform ? [] : platforms.map((name) => `test/${name}/**`),
    // Envoy dies with the thread that started it: each test file has a process of its own.
    pool: 'forks',
    // They wait for Envoys more than they work.
    maxWorkers: platform ? 1 : 3,
    testTimeout: platform ? 180_000 : 60_000,
    hookTimeout: platform ? 180_000 : 60_000,
  },
});
