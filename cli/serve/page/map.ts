// SPDX-License-Identifier: Apache-2.0
import { select } from 'd3-selection';
import { type ZoomBehavior, zoom, zoomIdentity, zoomTransform } from 'd3-zoom';
import type { EdgeView, NodeView, Snapshot } from '../snapshot.ts';
import { byId, s, say, set } from './dom.ts';
import { icon } from './icons.ts';
import { arrange, type Box, boundsOf, type EdgeSize, extend, type Layout, type NodeSize, smooth } from './layout.ts';
import { linkTo, type Selection } from './selection.ts';
import { isBad, labelOf, nameOf, sentenceOf, short, stateOf } from './words.ts';

/** The picture: nodes and edges' labels are links, lines are there for the eye. */

const NODE_HEIGHT = 50;
const [LEAST_WIDTH, MOST_WIDTH] = [132, 300];
/** Where a node's text begins, and what is free behind it. */
const [TEXT_AT, BEHIND] = [42, 16];
const MOST_CHARACTERS = 30;
const LABEL = { http: { width: 108, height: 34 }, tcp: { width: 148, height: 34 } };
/** Up to so many nodes both directions are tried. */
const FEW = 60;
/** If so large a part of all nodes is new, all are placed anew; and at first, while they come one after the other. */
const MANY_NEW = 0.3;
const SETTLING_MILLISECONDS = 20_000;
const MARGIN = 28;
const [UNREADABLE, READABLE] = [0.5, 0.9];
const PAN = 60;

export class MapView {
  private readonly svg = byId<SVGSVGElement>('picture');
  private readonly viewport = s('g', { class: 'viewport' });
  private readonly lines = s('g', { 'aria-hidden': 'true' });
  private readonly nodes = s('g', { role: 'list', 'aria-label': 'Workloads' });
  private readonly labels = s('g', { role: 'list', 'aria-label': 'Who calls whom' });
  private readonly zoom: ZoomBehavior<SVGSVGElement, unknown>;
  private readonly drawn = new Map<string, { element: SVGElement; update: (of: never) => void }>();
  private readonly font = getComputedStyle(document.body).fontFamily;
  private readonly ruler = document.createElement('canvas').getContext('2d') as CanvasRenderingContext2D;
  private layout: Layout | undefined;
  private snapshot: Snapshot | undefined;
  /** Whoever has moved the picture does not want it moved, */
  private isMoved = false;
  /** and whoever has begun to look at something wants to find it where it was. */
  private isSettled = false;
  private firstAt = 0;
  private openId: string | undefined;

  constructor() {
    this.viewport.append(this.lines, this.nodes, this.labels);
    this.svg.append(s('defs', {}, arrow('arrow'), arrow('arrow-bad'), arrow('arrow-old')), this.viewport);
    this.zoom = zoom<SVGSVGElement, unknown>()
      .scaleExtent([0.05, 4])
      .on('zoom', ({ transform, sourceEvent }) => {
        if (sourceEvent) this.isMoved = true;
        set(this.viewport, { transform: String(transform) });
      });
    // Its keys move the picture, also where nothing in it has the focus; and it is no image, but what has links.
    set(this.svg, { tabindex: 0, role: 'group' });
    select(this.svg).call(this.zoom).on('dblclick.zoom', null);
    new ResizeObserver(() => !this.isMoved && this.fit()).observe(this.svg);
    this.svg.addEventListener('keydown', (event) => this.onKey(event));
    this.svg.addEventListener('focusin', ({ target }) => this.show(target as Element));
    byId('zoom-in').addEventListener('click', () => this.scale(1.3));
    byId('zoom-out').addEventListener('click', () => this.scale(1 / 1.3));
    byId('zoom-fit').addEventListener('click', () => this.fit());
    byId('arrange').addEventListener('click', () => this.arrangeAnew());
  }

  update(snapshot: Snapshot, selection: Selection | undefined): void {
    this.snapshot = snapshot;
    this.isSettled ||= this.isMoved || selection !== undefined;
    this.place(snapshot);
    const related = relatedTo(snapshot, selection);
    const present = new Set<string>();
    for (const edge of snapshot.edges) {
      const classes = edgeClasses(edge, selection, related);
      this.draw(present, `line ${edge.id}`, this.lines, edge, () => this.newLine(edge), classes);
      this.draw(present, `label ${edge.id}`, this.labels, edge, () => this.newLabel(edge), classes);
    }
    for (const node of snapshot.nodes) {
      const isOpen = selection?.kind === 'node' && selection.id === node.id;
      const classes = [node.state, node.kind, isOpen ? 'open' : '', related && !related.has(node.id) ? 'faded' : ''];
      this.draw(present, `node ${node.id}`, this.nodes, node, () => this.newNode(node), classes);
    }
    for (const [key, { element }] of this.drawn) {
      if (present.has(key)) continue;
      element.remove();
      this.drawn.delete(key);
    }
    if (selection && selection.id !== this.openId) this.lookAt(selection);
    this.openId = selection?.id;
  }

  /** Where all is too small to be read, what is opened is shown larger. */
  private lookAt({ kind, id }: Selection): void {
    const box = kind === 'node' ? this.layout?.nodes.get(id) : this.layout?.edges.get(id)?.label;
    if (!box || zoomTransform(this.svg).k > UNREADABLE) return;
    const { clientWidth, clientHeight } = this.svg;
    const middle = zoomIdentity.translate(clientWidth / 2, clientHeight / 2);
    this.isMoved = true;
    select(this.svg).call(this.zoom.transform, middle.scale(READABLE).translate(-box.x, -box.y));
  }

  /** Draws something, or brings what is drawn up to date. */
  private draw<T>(
    present: Set<string>,
    key: string,
    layer: SVGElement,
    of: T,
    make: () => { element: SVGElement; update: (of: T) => void },
    classes: string[],
  ): void {
    let found = this.drawn.get(key) as { element: SVGElement; update: (of: T) => void } | undefined;
    if (!found) {
      found = make();
      this.drawn.set(key, found as never);
      layer.append(found.element);
    }
    present.add(key);
    set(found.element, { class: [key.split(' ')[0], ...classes].filter(Boolean).join(' ') });
    found.update(of);
  }

  private newNode(node: NodeView) {
    const { x, y, width, height } = this.boxOf(node.id);
    const sign = s('g', { transform: `translate(13 ${height / 2 - 10})` });
    const name = s('text', { class: 'name', x: TEXT_AT, y: 21 });
    const state = s('text', { class: 'state', x: TEXT_AT, y: 38 });
    const title = s('title');
    const card = s('rect', { class: 'card', width, height, rx: 10 });
    const link = s('a', { href: linkTo('node', node.id) }, title, card, sign, name, state);
    const element = s('g', { role: 'listitem', transform: `translate(${x - width / 2} ${y - height / 2})` }, link);
    let shown: NodeView['state'] | undefined;
    const update = (now: NodeView) => {
      const full = nameOf(now, this.snapshot as Snapshot);
      say(name, short(full, MOST_CHARACTERS));
      say(state, stateOf(now));
      say(title, full);
      set(link, { 'aria-label': [`${full}: ${stateOf(now)}.`, ...now.remarks].join(' ') });
      if (shown !== now.state) sign.replaceChildren(icon(now.state));
      shown = now.state;
    };
    return { element, update };
  }

  private newLabel(edge: EdgeView) {
    const { x, y, width, height } = this.routeOf(edge.id).label;
    const first = s('text', { class: 'first', x: width / 2, y: 14 });
    const second = s('text', { class: 'second', x: width / 2, y: 28 });
    const card = s('rect', { class: 'pill', width, height, rx: 7 });
    const link = s('a', { href: linkTo('edge', edge.id) }, card, first, second);
    const element = s('g', { role: 'listitem', transform: `translate(${x - width / 2} ${y - height / 2})` }, link);
    const update = (now: EdgeView) => {
      const [above, below] = labelOf(now);
      if (first.textContent !== above || second.textContent !== below) {
        // No wider than the text: the line goes up to it.
        const text = Math.max(this.widthOf(above, '650 12.5px'), this.widthOf(below, '600 11px')) + 10;
        set(card, { x: ((width - text) / 2).toFixed(1), width: text.toFixed(1) });
      }
      say(first, above);
      say(second, below);
      set(link, { 'aria-label': `${this.ends(now)}: ${sentenceOf(now)}` });
    };
    return { element, update };
  }

  private newLine(edge: EdgeView) {
    const d = smooth(this.routeOf(edge.id).points);
    const stroke = s('path', { class: 'stroke', d });
    const flow = s('path', { class: 'flow', d });
    const hit = s('path', { class: 'hit', d });
    const element = s('g', {}, stroke, flow, hit);
    hit.addEventListener('click', () => {
      location.hash = linkTo('edge', edge.id);
    });
    const update = (now: EdgeView) => {
      const { connections, rate } = now.now;
      const busy = connections ? Math.max(connections.open, connections.opened) : rate;
      const width = 1.3 + Math.min(4, Math.log10(1 + Math.max(0, busy)) * 1.3);
      set(stroke, { 'stroke-width': width.toFixed(1), 'marker-end': `url(#${arrowOf(now)})` });
      const isFlowing = busy > 0 && !now.isOld && (this.snapshot?.edges.length ?? 0) <= FEW;
      set(flow, { visibility: isFlowing ? 'visible' : 'hidden' });
    };
    return { element, update };
  }

  private ends({ source, destination }: EdgeView): string {
    const { nodes } = this.snapshot as Snapshot;
    const name = (id: string) => {
      const node = nodes.find((each) => each.id === id);
      return node ? nameOf(node, this.snapshot as Snapshot) : '?';
    };
    return `${name(source)} calls ${name(destination)}`;
  }

  private boxOf(id: string): Box {
    return this.layout?.nodes.get(id) as Box;
  }

  private routeOf(id: string) {
    const route = this.layout?.edges.get(id);
    if (!route) throw new Error('an edge is not placed');
    return route;
  }

  /** Gives a place to all that have none; the others keep theirs. */
  private place(snapshot: Snapshot): void {
    const isPlaced = ({ id }: NodeView) => this.layout?.nodes.has(id);
    const newNodes = snapshot.nodes.filter((node) => !isPlaced(node)).length;
    if (newNodes === 0 && this.layout && snapshot.edges.every(({ id }) => this.layout?.edges.has(id))) return;
    const nodes = snapshot.nodes.map((node) => this.sizeOf(node, snapshot));
    const edges = snapshot.edges.map(sizeOfEdge);
    const start = performance.now();
    this.firstAt ||= start;
    const isSettled = this.isSettled || start - this.firstAt > SETTLING_MILLISECONDS;
    if (this.layout && isSettled && newNodes <= snapshot.nodes.length * MANY_NEW) {
      extend(this.layout, nodes, edges);
    } else {
      this.layout = this.arranged(nodes, edges);
      this.drawAnew();
    }
    if (!this.isMoved) this.fit();
  }

  /** The arrangement that can be shown the largest. */
  private arranged(nodes: NodeSize[], edges: EdgeSize[]): Layout {
    const first = arrange(nodes, edges, 'LR');
    if (nodes.length > FEW) return first;
    const second = arrange(nodes, edges, 'TB');
    return this.scaleFor(second) > this.scaleFor(first) ? second : first;
  }

  private arrangeAnew(): void {
    if (!this.snapshot) return;
    this.layout = undefined;
    this.isMoved = false;
    this.update(this.snapshot, undefined);
    // What is open stays so.
    window.dispatchEvent(new HashChangeEvent('hashchange'));
  }

  private drawAnew(): void {
    for (const { element } of this.drawn.values()) element.remove();
    this.drawn.clear();
  }

  private sizeOf(node: NodeView, snapshot: Snapshot): NodeSize {
    const name = this.widthOf(short(nameOf(node, snapshot), MOST_CHARACTERS), '600 14px');
    // Room for each state: a node does not grow.
    const states = (['exchanging', 'silent', 'lost', 'unwatched'] as const).map((state) => stateOf({ ...node, state }));
    const state = Math.max(...states.map((each) => this.widthOf(each, '12px')));
    const width = Math.ceil(TEXT_AT + Math.max(name, state) + BEHIND);
    return { id: node.id, width: Math.min(MOST_WIDTH, Math.max(LEAST_WIDTH, width)), height: NODE_HEIGHT };
  }

  private widthOf(text: string, style: string): number {
    this.ruler.font = `${style} ${this.font}`;
    return this.ruler.measureText(text).width;
  }

  private scaleFor(layout: Layout): number {
    const { clientWidth, clientHeight } = this.svg;
    const { width, height } = boundsOf(layout);
    return Math.min((clientWidth - 2 * MARGIN) / width, (clientHeight - 2 * MARGIN) / height, 1.2);
  }

  /** Shows all of it. */
  private fit(): void {
    const { clientWidth, clientHeight } = this.svg;
    if (!this.layout || clientWidth === 0) return;
    const { left, top, width, height } = boundsOf(this.layout);
    const k = Math.max(0.05, this.scaleFor(this.layout));
    const x = clientWidth / 2 - (left + width / 2) * k;
    const y = clientHeight / 2 - (top + height / 2) * k;
    this.isMoved = false;
    select(this.svg).call(this.zoom.transform, zoomIdentity.translate(x, y).scale(k));
  }

  private scale(by: number): void {
    this.isMoved = true;
    select(this.svg).call(this.zoom.scaleBy, by);
  }

  private onKey(event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const k = 1 / zoomTransform(this.svg).k;
    const move = (x: number, y: number) => {
      this.isMoved = true;
      select(this.svg).call(this.zoom.translateBy, x * PAN * k, y * PAN * k);
    };
    const actions: Record<string, () => void> = {
      '+': () => this.scale(1.3),
      '=': () => this.scale(1.3),
      '-': () => this.scale(1 / 1.3),
      '0': () => this.fit(),
      ArrowLeft: () => move(1, 0),
      ArrowRight: () => move(-1, 0),
      ArrowUp: () => move(0, 1),
      ArrowDown: () => move(0, -1),
    };
    if (!Object.hasOwn(actions, event.key)) return;
    actions[event.key]();
    event.preventDefault();
  }

  /** Brings what has the focus into view. */
  private show(target: Element): void {
    const [of, outer] = [target.getBoundingClientRect(), this.svg.getBoundingClientRect()];
    const isInside =
      of.left >= outer.left && of.right <= outer.right && of.top >= outer.top && of.bottom <= outer.bottom;
    if (isInside) return;
    const k = zoomTransform(this.svg).k;
    const dx = outer.left + outer.width / 2 - (of.left + of.width / 2);
    const dy = outer.top + outer.height / 2 - (of.top + of.height / 2);
    this.isMoved = true;
    select(this.svg).call(this.zoom.translateBy, dx / k, dy / k);
  }
}

function sizeOfEdge({ id, source, destination, protocol }: EdgeView): EdgeSize {
  return { id, source, destination, ...(protocol === 'tcp' ? LABEL.tcp : LABEL.http) };
}

/** The nodes that have to do with what is open; undefined if nothing is. */
function relatedTo({ edges }: Snapshot, selection: Selection | undefined): Set<string> | undefined {
  if (!selection) return undefined;
  const { kind, id } = selection;
  const near = edges.filter((edge) =>
    kind === 'edge' ? edge.id === id : edge.source === id || edge.destination === id,
  );
  if (near.length === 0) return undefined;
  return new Set(near.flatMap(({ source, destination }) => [source, destination]));
}

function edgeClasses(edge: EdgeView, selection: Selection | undefined, related: Set<string> | undefined): string[] {
  const isOpen = selection?.kind === 'edge' && selection.id === edge.id;
  const isNear = selection?.kind === 'node' && [edge.source, edge.destination].includes(selection.id);
  return [
    edge.protocol === 'tcp' ? 'tcp' : '',
    isBad(edge) ? 'bad' : '',
    edge.isOld ? 'old' : '',
    isOpen ? 'open' : '',
    related && !isOpen && !isNear ? 'faded' : '',
  ];
}

const arrowOf = (edge: EdgeView) => (edge.isOld ? 'arrow-old' : isBad(edge) ? 'arrow-bad' : 'arrow');

function arrow(id: string): SVGMarkerElement {
  const shape = { id, viewBox: '0 0 10 10', refX: 8.5, refY: 5, markerWidth: 9, markerHeight: 9, orient: 'auto' };
  return s('marker', { ...shape, markerUnits: 'userSpaceOnUse' }, s('path', { d: 'M0 .8 9 5 0 9.2z' }));
}
