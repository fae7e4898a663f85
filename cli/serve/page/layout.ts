// SPDX-License-Identifier: Apache-2.0
import { Graph, layout } from '@dagrejs/dagre';

/** Where nodes and labels stand. Once placed they stay: what comes later finds a place beside them. No DOM here. */

export interface Point {
  x: number;
  y: number;
}

/** A rectangle by its middle. */
export interface Box extends Point {
  width: number;
  height: number;
}

export interface NodeSize {
  id: string;
  width: number;
  height: number;
}

export interface EdgeSize extends NodeSize {
  source: string;
  destination: string;
}

export interface Route {
  points: Point[];
  label: Box;
}

export type Direction = 'LR' | 'TB';

export interface Layout {
  direction: Direction;
  nodes: Map<string, Box>;
  edges: Map<string, Route>;
}

/** Room between nodes of a rank, between ranks, and beside edges. */
const [NODES_APART, RANKS_APART, EDGES_APART] = [30, 34, 18];
/** With more nodes than this a quicker way to rank them is taken. */
const MANY = 60;

/** Places all anew. */
export function arrange(nodes: NodeSize[], edges: EdgeSize[], direction: Direction): Layout {
  const graph = new Graph({ multigraph: true });
  graph.setGraph({
    rankdir: direction,
    ranker: nodes.length > MANY ? 'tight-tree' : 'network-simplex',
    nodesep: NODES_APART,
    ranksep: RANKS_APART,
    edgesep: EDGES_APART,
  });
  for (const { id, width, height } of nodes) graph.setNode(id, { width, height });
  for (const { id, source, destination, width, height } of edges) {
    graph.setEdge(source, destination, { width, height, labelpos: 'c' }, id);
  }
  layout(graph);
  const placed: Layout = { direction, nodes: new Map(), edges: new Map() };
  for (const { id, width, height } of nodes) {
    const { x = 0, y = 0 } = graph.node(id) as Partial<Point>;
    placed.nodes.set(id, { x, y, width, height });
  }
  for (const { id, source, destination, width, height } of edges) {
    const { points = [], x = 0, y = 0 } = graph.edge(source, destination, id) as Partial<Route & Point>;
    placed.edges.set(id, { points, label: { x, y, width, height } });
  }
  return placed;
}

/** Places what is not placed yet. */
export function extend(layout: Layout, nodes: NodeSize[], edges: EdgeSize[]): void {
  for (const node of nodes) {
    if (!layout.nodes.has(node.id)) layout.nodes.set(node.id, placeFor(layout, node, edges));
  }
  for (const edge of edges) {
    if (!layout.edges.has(edge.id)) layout.edges.set(edge.id, routeFor(layout, edge));
  }
}

/** How large all of it is. */
export function boundsOf({ nodes, edges }: Layout): { left: number; top: number; width: number; height: number } {
  const boxes = [...nodes.values(), ...[...edges.values()].map(({ label }) => label)];
  if (boxes.length === 0) return { left: 0, top: 0, width: 1, height: 1 };
  const left = Math.min(...boxes.map(({ x, width }) => x - width / 2));
  const top = Math.min(...boxes.map(({ y, height }) => y - height / 2));
  const right = Math.max(...boxes.map(({ x, width }) => x + width / 2));
  const bottom = Math.max(...boxes.map(({ y, height }) => y + height / 2));
  return { left, top, width: right - left, height: bottom - top };
}

export function overlap(a: Box, b: Box, apart = 0): boolean {
  return (
    Math.abs(a.x - b.x) < (a.width + b.width) / 2 + apart && Math.abs(a.y - b.y) < (a.height + b.height) / 2 + apart
  );
}

function taken({ nodes, edges }: Layout): Box[] {
  return [...nodes.values(), ...[...edges.values()].map(({ label }) => label)];
}

/** A free place one rank behind who calls it, or before whom it calls. */
function placeFor(layout: Layout, node: NodeSize, edges: EdgeSize[]): Box {
  const bounds = boundsOf(layout);
  const edge = edges.find(
    ({ source, destination }) =>
      (source === node.id && layout.nodes.has(destination)) || (destination === node.id && layout.nodes.has(source)),
  );
  const isLeftToRight = layout.direction === 'LR';
  const start: Box = { ...node, x: bounds.left + node.width / 2, y: bounds.top + bounds.height + node.height + 40 };
  if (edge) {
    const isCalled = edge.destination === node.id;
    const other = layout.nodes.get(isCalled ? edge.source : edge.destination) as Box;
    const along = isLeftToRight
      ? (other.width + node.width) / 2 + edge.width + 2 * RANKS_APART
      : (other.height + node.height) / 2 + edge.height + 2 * RANKS_APART;
    const step = isCalled ? along : -along;
    [start.x, start.y] = isLeftToRight ? [other.x + step, other.y] : [other.x, other.y + step];
  }
  const boxes = taken(layout);
  const apart = isLeftToRight ? node.height / 2 : node.width / 4;
  for (let i = 0; ; i++) {
    // To and fro: 0, 1, -1, 2, -2, …
    const aside = Math.ceil(i / 2) * (i % 2 === 1 ? 1 : -1) * apart;
    const place = isLeftToRight ? { ...start, y: start.y + aside } : { ...start, x: start.x + aside };
    if (!boxes.some((box) => overlap(box, place, 12))) return place;
  }
}

/** A line from node to node, with its label where there is room for it. */
function routeFor(layout: Layout, { source, destination, width, height }: EdgeSize): Route {
  const [from, to] = [layout.nodes.get(source), layout.nodes.get(destination)];
  if (!from || !to) throw new Error('an edge without its nodes');
  const points = source === destination ? loopAt(from) : [borderOf(from, to), borderOf(to, from)];
  const [start, end] = [points[0], points[points.length - 1]];
  const boxes = taken(layout);
  const at = (part: number): Box => ({
    ...{ width, height },
    x: start.x + (end.x - start.x) * part,
    y: start.y + (end.y - start.y) * part,
  });
  const free = [0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8].map(at).find((box) => !boxes.some((each) => overlap(each, box, 2)));
  if (free) return { points, label: free };
  // Nowhere on the line: the line goes to where there is room.
  const label = at(0.5);
  const isFlat = Math.abs(end.x - start.x) > Math.abs(end.y - start.y);
  for (let i = 1; boxes.some((each) => overlap(each, label, 2)); i++) {
    const aside = Math.ceil(i / 2) * (i % 2 === 1 ? 1 : -1) * 16;
    const middle = at(0.5);
    [label.x, label.y] = isFlat ? [middle.x, middle.y + aside] : [middle.x + aside, middle.y];
  }
  return { points: [start, { x: label.x, y: label.y }, end], label };
}

function loopAt({ x, y, width, height }: Box): Point[] {
  const right = x + width / 2;
  return [
    { x: right, y: y - height / 4 },
    { x: right + 40, y: y - height / 2 },
    { x: right + 40, y: y + height / 2 },
    { x: right, y: y + height / 4 },
  ];
}

/** Where the line to another box leaves this one. */
function borderOf(box: Box, to: Point): Point {
  const [dx, dy] = [to.x - box.x, to.y - box.y];
  const scale = Math.min(
    dx === 0 ? Number.POSITIVE_INFINITY : box.width / 2 / Math.abs(dx),
    dy === 0 ? Number.POSITIVE_INFINITY : box.height / 2 / Math.abs(dy),
    1,
  );
  return { x: box.x + dx * scale, y: box.y + dy * scale };
}

/** A smooth line through points, as SVG's path data: rounded at each, straight between. */
export function smooth(points: Point[]): string {
  const at = ({ x, y }: Point) => `${x.toFixed(1)},${y.toFixed(1)}`;
  const middle = (a: Point, b: Point) => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });
  if (points.length < 3) return `M${points.map(at).join('L')}`;
  const inner = points.slice(1, -1);
  const parts = inner.map((point, i) => {
    const next = points[i + 2];
    return `Q${at(point)} ${at(i === inner.length - 1 ? next : middle(point, next))}`;
  });
  return `M${at(points[0])}${parts.join('')}`;
}
