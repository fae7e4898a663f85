// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { parse } from 'yaml';
import { jsonOf, report } from '../../../cli/doctor/report.ts';
import { examine } from '../../../cli/doctor/rules.ts';
import { sourceIn } from '../../../cli/doctor/source.ts';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { exchange, type Json, outbound, UPSTREAM } from '../../support/doctor/given.ts';

/** The doctor is asked about what is broken: whatever it is given, it says something. */

const FILES = [
  'consumers/headers-and-routes/envoy',
  'verify-peer/server',
  'workload-discovery/any-server',
  'upstream-filter/router',
];
const configs = FILES.map((file) => parse(readFileSync(join(ROOT, `envoy/${file}.yaml`), 'utf8')));

/** It is looked at beside another one. */
const CLIENT = sourceIn('client', JSON.stringify(outbound([exchange()])));

/** The places of a JSON value: each as the object that has it, and its key there. */
function placesIn(json: Json): [Json, string][] {
  if (json === null || typeof json !== 'object') return [];
  return Object.keys(json).flatMap((key) => [[json, key] as [Json, string], ...placesIn(json[key])]);
}

const odd = fc.oneof(
  fc.constantFrom<unknown[]>(
    null,
    '',
    'x',
    0,
    -1,
    true,
    [],
    {},
    [null],
    ['x'],
    [[]],
    { x: null },
    '{',
    '[]',
    'null',
    '5s',
  ),
  fc.jsonValue(),
);

test('nothing in the place of something makes it fail', () => {
  fc.assert(
    fc.property(fc.nat(configs.length - 1), fc.nat(), fc.nat(), odd, odd, (which, first, second, one, other) => {
      const config = structuredClone(configs[which]);
      for (const [at, value] of [
        [first, one],
        [second, other],
      ] as const) {
        const places = placesIn(config);
        if (places.length === 0) return;
        const [json, key] = places[at % places.length];
        json[key] = structuredClone(value);
      }
      if (!config.static_resources) return;
      const [examination] = examine([sourceIn('odd', JSON.stringify(config)), CLIENT]);
      expect(report([examination], (_, text) => text)).toContain('odd');
      jsonOf([examination], []);
    }),
    { numRuns: 2000 },
  );
});

test('a proxy with as many listeners and clusters as a large mesh has', () => {
  const config = outbound([exchange(UPSTREAM)]);
  const { listeners, clusters } = config.static_resources;
  for (let i = 0; i < 1000; i++) {
    listeners.push({ ...listeners[0], name: `listener-${i}` });
    clusters.push({ ...clusters[0], name: `cluster-${i}` });
  }
  const [{ proxy, diagnoses }] = examine([sourceIn('large', JSON.stringify(config))]);
  expect(proxy.listeners).toHaveLength(1001);
  expect(diagnoses).toEqual([]);
});
