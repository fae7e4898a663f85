// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesOf, mermaid } from '../../cli/map/drawing.ts';
import type { Edge, Peer, ServiceMap } from '../../cli/map/edges.ts';
import { table } from '../../cli/map/table.ts';
import { visible, visibleJson } from '../../cli/visible.ts';
import { ROOT } from '../../testkit/envoy/binary.ts';

/**
 * The map as a table and as a picture, whatever a workload calls itself. That mermaid 12.3 takes these pictures, names
 * as they are, was seen with its own parser, which is too large for this project.
 */

const workload = (name: string, namespace = 'default'): Peer => ({ kind: 'workload', name, namespace });
const UNKNOWN: Peer = { kind: 'unknown', name: 'unknown', namespace: 'unknown' };
const SERVICE: Peer = { kind: 'service', name: 'ratings.default.svc', namespace: 'unknown' };

function edge(source: Peer, destination: Peer, rest: Partial<Edge> = {}): Edge {
  const numbers = { requests: 10, rate: 2, errors: 0, p50: 4.2, p99: 118, connections: null };
  return { source, destination, protocol: 'http', reporter: 'source', seen_by: ['source'], ...numbers, ...rest };
}

const mapWith = (...edges: Edge[]): ServiceMap => ({ seconds: 5, edges });

const BOOKINFO = mapWith(
  edge(workload('productpage-v1'), workload('reviews-v1')),
  edge(workload('productpage-v1'), SERVICE, { requests: 3, rate: 0.04, errors: 3, p50: null, p99: null }),
  edge(workload('reviews-v3'), workload('ratings-v1'), { requests: 2000, rate: 400, errors: 1, p99: 2345 }),
  edge(UNKNOWN, workload('productpage-v1'), { requests: 0, rate: 0, p50: null, p99: null }),
);

test('a table has a line for each edge', () => {
  expect(table(BOOKINFO).split('\n')).toEqual([
    'who calls        whom                            protocol   requests   errors      p50      p99   told by',
    'productpage-v1   reviews-v1                      http          2.0/s       0%   4.2 ms   118 ms   source',
    'productpage-v1   ratings.default.svc (service)   http        0.040/s     100%        -        -   source',
    'reviews-v3       ratings-v1                      http        400.0/s    <0.1%   4.2 ms    2.3 s   source',
    'unknown          productpage-v1                  http            0/s        -        -        -   source',
  ]);
});

test('totals are plain numbers', () => {
  expect(table({ seconds: null, edges: [edge(workload('a'), workload('b'), { rate: null })] })).toContain('http   ');
  expect(table({ seconds: null, edges: [edge(workload('a'), workload('b'), { rate: null })] })).not.toContain('/s');
});

test.each([
  [0, '0 B/s', '0 B'],
  [5, '1 B/s', '5 B'],
  [5000, '1.0 kB/s', '5.0 kB'],
  [499_900, '100 kB/s', '500 kB'],
  [5_000_000_000, '1.0 GB/s', '5.0 GB'],
])('%d bytes in five seconds are %s, and without a time %s', (bytes, rate, total) => {
  expect([bytesOf(bytes, 5), bytesOf(bytes, null)]).toEqual([rate, total]);
});

test('namespaces are shown where there are several', () => {
  const two = table(mapWith(edge(workload('a', 'one'), workload('b', 'two'))));
  expect(two).toContain('one/a       two/b');
});

test('a picture has a node for each peer, and an arrow for each edge', () => {
  expect(mermaid(BOOKINFO).split('\n')).toEqual([
    'flowchart LR',
    '  n0["productpage-v1"]',
    '  n1["reviews-v1"]',
    '  n2["ratings.default.svc #40;service#41;"]',
    '  n3["reviews-v3"]',
    '  n4["ratings-v1"]',
    '  n5["unknown"]',
    '  n0 -->|"2.0/s, 0#37; errors, p99 118 ms"| n1',
    '  n0 -->|"0.040/s, 100#37; errors, p99 -"| n2',
    '  n3 -->|"400.0/s, #60;0.1#37; errors, p99 2.3 s"| n4',
    '  n5 -->|"0/s, - errors, p99 -"| n0',
  ]);
});

describe('a workload that calls itself', () => {
  const HOSTILE = [
    'a"]; click n0 "javascript:alert(1)"',
    'x\n  n0 --> evil',
    '`**bold**`',
    '<img src=x onerror=alert(1)>',
    '%%{init: {"theme": "dark"}}%%',
    'style n0 fill:#f00;',
    'end',
    '\u001b[2Jgone\u0007',
    '\u202Eevil',
    '\u{E0041}tag',
    '#quot;',
    '---\ntitle: x\n---',
    '',
  ];

  test.each(HOSTILE)('%j stays one label in a picture', (name) => {
    const lines = mermaid(mapWith(edge(workload(name), workload('b')))).split('\n');
    expect(lines).toHaveLength(4);
    for (const line of lines.slice(1, 3)) expect(line).toMatch(/^ {2}n\d\["(?:[\p{L}\p{N} ._/-]|#\d+;)+"\]$/u);
    expect(lines[3]).toMatch(/^ {2}n0 -->\|"(?:[\w ,./-]|#\d+;)*"\| n1$/);
  });

  test.each(HOSTILE)('%j stays one line in a table', (name) => {
    const text = table(mapWith(edge(workload(name), workload('b'))));
    expect(text.split('\n')).toHaveLength(2);
    expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
  });

  test.each(HOSTILE)('%j stays itself in JSON', (name) => {
    const map = mapWith(edge(workload(name), workload('b')));
    const text = visibleJson(map);
    expect(text).not.toMatch(/(?!\n)[\p{Cc}\p{Cf}]/u);
    expect(JSON.parse(text)).toEqual(map);
  });
});

test('what a web page can use imports nothing of Node', () => {
  const seen = new Set<string>();
  const visit = (path: string) => {
    if (seen.has(path)) return;
    seen.add(path);
    const source = readFileSync(path, 'utf8');
    for (const [, target] of source.matchAll(/(?:from|import) '([^']+)'/g)) {
      expect(target, path).toMatch(/^\./);
      visit(join(dirname(path), target));
    }
  };
  for (const name of ['samples', 'edges', 'drawing']) visit(join(ROOT, `cli/map/${name}.ts`));
  expect(seen.size).toBe(4);
});

test('what cannot be seen is written as its number', () => {
  expect(visible('a\tb\u001b[31m\u009b\u2028é€😀')).toBe('a\\u{9}b\\u{1b}[31m\\u{9b}\\u{2028}é€😀');
});
