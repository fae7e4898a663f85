// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import type { Sample } from '../../cli/map/samples.ts';
import { checksOf } from '../../tools/demo/checks.ts';

/** What `make demo` makes of counters that do not agree: it must fail for each of these, and say why. */

const DURATION = 'istio_request_duration_milliseconds';
const EXPECTED = [
  { from: 'a', to: 'b', by: ['source' as const, 'destination' as const] },
  { from: 'b', to: 'c', by: ['source' as const] },
];
const TOLD = [
  { name: 'b', requests: 10, failures: 2 },
  { name: 'c', requests: 10, failures: 0 },
];

/** What one sidecar has counted of one edge with one code. */
function counted(reporter: string, from: string, to: string, value: number, code = '200'): Sample[] {
  const labels = {
    reporter,
    source_workload: from,
    source_workload_namespace: 'default',
    destination_workload: to,
    destination_workload_namespace: to === 'unknown' ? 'unknown' : 'default',
    request_protocol: 'http',
    response_code: code,
  };
  return [
    { name: 'istio_requests_total', labels, value },
    { name: `${DURATION}_count`, labels, value },
  ];
}

const A_TO_B = counted('source', 'a', 'b', 8);
const A_TO_B_FAILED = counted('source', 'a', 'b', 2, '500');
const B_FROM_A = counted('destination', 'a', 'b', 8);
const B_FROM_A_FAILED = counted('destination', 'a', 'b', 2, '500');
const B_TO_C = counted('source', 'b', 'c', 10);
const ALL = [A_TO_B, A_TO_B_FAILED, B_FROM_A, B_FROM_A_FAILED, B_TO_C];

const problemsOf = (series: Sample[][], told = TOLD) =>
  checksOf(series.flat(), EXPECTED, told).flatMap(({ problems }) => problems);
const without = (...missing: Sample[][]) => ALL.filter((series) => !missing.includes(series));

test('counters that agree have no problem', () => {
  expect(problemsOf(ALL)).toEqual([]);
});

test.each<[what: string, series: Sample[][], problems: string[]]>([
  ['nobody tells of an edge', without(B_TO_C), ['b → c is not there', 'c had 10 requests: 0 of 10 were counted']],
  ['one end is silent', without(B_FROM_A, B_FROM_A_FAILED), ["a → b: the destination's sidecar does not tell of it"]],
  [
    'one end has other numbers',
    without(B_FROM_A_FAILED),
    ['a → b, requests: 10 by the source, 8 by the destination', 'a → b, errors: 2 by the source, 0 by the destination'],
  ],
  [
    'both ends have lost the same',
    without(A_TO_B_FAILED, B_FROM_A_FAILED),
    ['b had 10 requests: 8 of 10 were counted', 'b failed 2 times: 0 of 2 were counted'],
  ],
  [
    'an end has no name',
    [...without(B_TO_C), counted('source', 'b', 'unknown', 10)],
    ['b → c is not there', 'b → unknown should not be there', 'c had 10 requests: 0 of 10 were counted'],
  ],
  ['an edge is too much', [...ALL, counted('source', 'a', 'z', 1)], ['a → z should not be there']],
  ['durations are missing', [...without(B_TO_C), B_TO_C.slice(0, 1)], ['durations: 20 of 30 were counted']],
])('%s', (_, series, problems) => {
  expect(problemsOf(series)).toEqual(problems);
});
