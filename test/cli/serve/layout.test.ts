// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import {
  arrange,
  type Box,
  boundsOf,
  type EdgeSize,
  extend,
  type Layout,
  type NodeSize,
  overlap,
} from '../../../cli/serve/page/layout.ts';
import { Random } from '../../../testkit/random.ts';

/** Where the live map puts workloads and labels: nothing lies on anything else, and nothing wanders. */

const node = (id: string): NodeSize => ({ id, width: 150, height: 50 });
const edge = (source: string, destination: string, protocol = 'http'): EdgeSize => {
  return { id: `${source} ${destination} ${protocol}`, source, destination, width: 108, height: 34 };
};

const BOOKINFO = {
  nodes: ['gateway', 'productpage', 'details', 'reviews', 'ratings'].map(node),
  edges: [
    edge('gateway', 'productpage'),
    edge('productpage', 'details'),
    edge('productpage', 'reviews'),
    edge('reviews', 'ratings'),
  ],
};

/** A mesh of so many workloads: each is called by one or two of those before it. */
function mesh(size: number) {
  const random = new Random(7);
  const nodes = Array.from({ length: size }, (_, i) => node(`workload-${i}`));
  const edges = new Map<string, EdgeSize>();
  for (let i = 1; i < size; i++) {
    for (let calls = 1 + random.below(2); calls > 0; calls--) {
      const each = edge(`workload-${random.below(Math.ceil(i * 0.6))}`, `workload-${i}`);
      edges.set(each.id, each);
    }
  }
  return { nodes, edges: [...edges.values()] };
}

function overlaps({ nodes, edges }: Layout): string[] {
  const boxes: [string, Box][] = [...nodes, ...Array.from(edges, ([id, { label }]) => [id, label] as [string, Box])];
  return boxes.flatMap(([a, one], i) =>
    boxes.slice(i + 1).flatMap(([b, other]) => (overlap(one, other, -0.5) ? [`${a} lies on ${b}`] : [])),
  );
}

test.each(['LR', 'TB'] as const)('150 workloads, %s: no workload and no label lies on another', (direction) => {
  const { nodes, edges } = mesh(150);
  const layout = arrange(nodes, edges, direction);
  expect(layout.nodes.size).toBe(150);
  expect(layout.edges.size).toBe(edges.length);
  expect(overlaps(layout)).toEqual([]);
});

test.each(['LR', 'TB'] as const)('who comes later finds a place, %s, and the others keep theirs', (direction) => {
  const layout = arrange(BOOKINFO.nodes, BOOKINFO.edges, direction);
  const before = structuredClone(layout);
  const nodes = [...BOOKINFO.nodes, ...['unknown', 'report', 'alone', 'cron'].map(node)];
  const edges = [
    ...BOOKINFO.edges,
    edge('productpage', 'unknown'),
    edge('report', 'details'),
    edge('cron', 'details'),
    edge('productpage', 'ratings', 'tcp'),
    edge('reviews', 'reviews'),
  ];
  extend(layout, nodes, edges);
  for (const [id, box] of before.nodes) expect(layout.nodes.get(id)).toEqual(box);
  for (const [id, route] of before.edges) expect(layout.edges.get(id)).toEqual(route);
  expect([...layout.nodes.keys()]).toEqual(nodes.map(({ id }) => id));
  expect(overlaps(layout)).toEqual([]);
});

test('nobody at all has a size, too', () => {
  expect(boundsOf(arrange([], [], 'LR'))).toMatchObject({ width: 1, height: 1 });
});
