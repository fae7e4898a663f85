// SPDX-License-Identifier: Apache-2.0
import { defineConfig } from 'vitest/config';

// The tests on Istio need its code, which takes long to build: they are for `make test-istio` alone.
const onIstio = Boolean(process.env.ISTIO);

export default defineConfig({
  test: {
    include: onIstio ? ['test/istio/**/*.test.ts'] : ['test/**/*.test.ts'],
    exclude: onIstio ? [] : ['test/istio/**'],
    // Envoy dies with the thread that started it: each test file has a process of its own.
    pool: 'forks',
    maxWorkers: onIstio ? 1 : 2,
    testTimeout: onIstio ? 180_000 : 60_000,
    hookTimeout: onIstio ? 180_000 : 60_000,
  },
});
