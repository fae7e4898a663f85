// SPDX-License-Identifier: Apache-2.0
import type { EdgeView, Snapshot } from '../snapshot.ts';
import { byId, h, say, set } from './dom.ts';
import { linkTo, type Selection } from './selection.ts';
import { backOf, failedOf, isBad, nameOf, openOf, p99Of, rateOf, thereOf } from './words.ts';

/** The same edges as a table. Rows stay where they are, so that whoever is in one is not thrown out of it. */

interface Row {
  row: HTMLTableRowElement;
  from: HTMLElement;
  to: HTMLElement;
  cells: HTMLTableCellElement[];
}

export class TableView {
  private readonly body = byId<HTMLTableSectionElement>('rows');
  private readonly rows = new Map<string, Row>();
  private readonly find = byId<HTMLInputElement>('find');
  private snapshot: Snapshot | undefined;

  constructor() {
    this.find.addEventListener('input', () => this.filter());
    this.find.addEventListener('keydown', ({ key }) => {
      if (key === 'Enter') this.openFound();
    });
  }

  /** Hides the rows that have not what is looked for. */
  private filter(): void {
    const wanted = this.find.value.trim().toLowerCase();
    for (const { row, from, to } of this.rows.values()) {
      const names = [from, to].map(({ textContent }) => (textContent ?? '').toLowerCase());
      row.hidden = !names.some((name) => name.includes(wanted));
    }
  }

  /** Opens the workload whose name is nearest to what is looked for. */
  private openFound(): void {
    const { snapshot } = this;
    const wanted = this.find.value.trim().toLowerCase();
    if (!snapshot || wanted === '') return;
    const named = snapshot.nodes.map((node) => ({ id: node.id, name: nameOf(node, snapshot).toLowerCase() }));
    const [found] = named.filter(({ name }) => name.includes(wanted)).sort((a, b) => a.name.length - b.name.length);
    if (found) location.hash = linkTo('node', found.id);
  }

  update(snapshot: Snapshot, selection: Selection | undefined): void {
    this.snapshot = snapshot;
    const names = new Map(snapshot.nodes.map((node) => [node.id, nameOf(node, snapshot)]));
    const nameAt = (id: string) => names.get(id) ?? '?';
    const sorted = snapshot.edges.toSorted((a, b) => (order(a) < order(b) ? -1 : 1));
    for (const [i, edge] of sorted.entries()) {
      const found = this.rows.get(edge.id) ?? newRow(edge);
      this.rows.set(edge.id, found);
      const { row, from, to, cells } = found;
      if (this.body.rows[i] !== row) this.body.insertBefore(row, this.body.rows[i] ?? null);
      set(row, { class: classesOf(edge, selection) });
      say(from, nameAt(edge.source));
      say(to, nameAt(edge.destination));
      for (const [j, text] of cellsOf(edge).entries()) say(cells[j], text);
    }
    for (const [id, { row }] of this.rows) {
      if (snapshot.edges.some((edge) => edge.id === id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    this.filter();
    set(byId('nobody'), { class: snapshot.edges.length === 0 ? '' : 'hidden' });
  }
}

/** By name: an order that numbers do not change. */
const order = ({ source, destination, protocol }: EdgeView) => `${source} ${destination} ${protocol}`;

function newRow(edge: EdgeView): Row {
  // Names are broken only where they do not fit by themselves.
  const [from, to] = [h('span'), h('span')];
  const link = h('a', { href: linkTo('edge', edge.id) }, from, ' → ', to);
  const cells = Array.from({ length: 4 }, () => h('td'));
  return { from, to, cells, row: h('tr', {}, h('th', { scope: 'row' }, link), ...cells) };
}

function cellsOf(edge: EdgeView): string[] {
  const { now, protocol, isOld } = edge;
  if (isOld) return [protocol, 'no news', '', ''];
  const { connections } = now;
  if (connections) return [protocol, openOf(now), `→ ${thereOf(now)}`, `← ${backOf(now)}`];
  return [protocol, rateOf(now), failedOf(now), p99Of(now)];
}

function classesOf(edge: EdgeView, selection: Selection | undefined): string {
  const isOpen = selection?.kind === 'edge' && selection.id === edge.id;
  return [isOpen ? 'open' : '', isBad(edge) ? 'bad' : '', edge.isOld ? 'old' : ''].filter(Boolean).join(' ');
}
