// SPDX-License-Identifier: Apache-2.0
import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** Imports between the top folders point one way: what several of them need is in testkit/, below them all. */

/** The top folders whose files may be imported, by the folder of who imports. A folder may always import its own. */
const MAY_IMPORT: Record<string, string[]> = {
  assembly: [],
  testkit: [],
  // Users copy these files: they stand alone.
  envoy: [],
  // What a user types. The demo shows its map.
  cli: ['testkit'],
  tools: ['testkit', 'cli'],
  // The folder assembly is for the benchmark's own AssemblyScript, which measures the module's functions.
  bench: ['testkit', 'assembly'],
  // The folder assembly is for the tests' own AssemblyScript, which is a module's entry.
  test: ['testkit', 'envoy', 'assembly', 'cli'],
};

/** A test imports a tool, or a part of the benchmark, only to test that: a file, or a folder. */
const TESTS_OF: Record<string, string> = {
  'test/unit/bench_statistics.test.ts': 'bench/statistics.ts',
  'test/unit/demo_checks.test.ts': 'tools/demo/checks.ts',
  'test/host/module.test.ts': 'tools/size.ts',
  'test/host/no_trap.test.ts': 'tools/check-no-trap.ts',
  'test/envoy/discovery/any_server.test.ts': 'tools/workload-server.ts',
  'test/envoy/discovery/waypoint.test.ts': 'tools/workload-server.ts',
  'test/image/layout.test.ts': 'tools/image/layout.ts',
  'test/istio/resources.test.ts': 'tools/istio/resources.ts',
  'test/envoy-gateway/resources.test.ts': 'tools/istio/resources.ts',
  // The live map is shown of the demo's mesh.
  'test/cli/serve/page.test.ts': 'tools/demo/',
  // The table of consumers: the tests under test/envoy/consumers prove its rows.
  'test/support/consumers.ts': 'tools/consumers.ts',
};

const IMPORT = /(?:\bfrom|\bimport|\bimport\()\s*'(\.[^']+)'/g;

/** The files that a source imports, as paths from the project's root. */
function importsOf(file: string, source: string): string[] {
  return Array.from(source.matchAll(IMPORT), ([, target]) => normalize(join(dirname(file), target)));
}

function isTested(file: string, target: string): boolean {
  const tested = TESTS_OF[file];
  return tested?.endsWith('/') ? target.startsWith(tested) : target === tested;
}

/** What is wrong with a file's imports, one line each. */
function violations(file: string, source: string): string[] {
  const from = file.split('/')[0];
  return importsOf(file, source)
    .filter((target) => {
      const to = target.split('/')[0];
      return to !== from && !MAY_IMPORT[from].includes(to) && !isTested(file, target);
    })
    .map((target) => `${file} imports ${target}`);
}

const files = Object.keys(MAY_IMPORT).flatMap((folder) =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter((file) => /\.[jt]s$/.test(file))
    .map((file) => `${folder}/${file}`),
);
const sources = files.map((file) => [file, readFileSync(join(ROOT, file), 'utf8')] as const);

test('imports between the top folders point down only', () => {
  expect(sources.flatMap(([file, source]) => violations(file, source))).toEqual([]);
});

test('a test that is allowed to import what it tests does so', () => {
  const all = new Map(sources);
  for (const file of Object.keys(TESTS_OF)) {
    const imported = importsOf(file, all.get(file) ?? '');
    expect(
      imported.some((target) => isTested(file, target)),
      `${file}: ${imported}`,
    ).toBe(true);
  }
});

// The statements have no file name here: this file is read, too.
test.each([
  ['testkit/http.ts', 'import { Random } from $;', '../test/support/faults.ts'],
  ['tools/soak/load.ts', 'import {\n  a,\n} from $;', '../../test/support/tls.ts'],
  ['bench/load.ts', 'export * from $;', '../tools/demo.ts'],
  ['test/envoy/exchange.test.ts', 'const { x } = await import($);', '../../tools/demo.ts'],
  ['test/host/no_trap.test.ts', 'import $;', '../../tools/demo.ts'],
])('%s may not have: %s', (file, statement, target) => {
  const found = violations(file, statement.replace('$', `'${target}'`));
  expect(found).toEqual([`${file} imports ${join(dirname(file), target)}`]);
});
