// SPDX-License-Identifier: Apache-2.0
import type { EdgeView, Snapshot } from '../snapshot.ts';
import { byId, h, say, set } from './dom.ts';
import { linkTo, type Selection } from './selection.ts';
import { backOf, failedOf, isBad, nameOf, openOf, p99Of, rateOf, thereOf } from './words.ts';

/** The same edges as a table. Rows stay where they are, so that whoever is in one is not thrown out of it. */

interface Row {
  row: HTMLTableRowElement;
  link: HTMLAnchorElement;
  cells: HTMLTableCellElement[];
}

export class TableView {
  private readonly body = byId<HTMLTableSectionElement>('rows');
  private readonly rows = new Map<string, Row>();

  update(snapshot: Snapshot, selection: Selection | undefined): void {
    const names = new Map(snapshot.nodes.map((node) => [node.id, nameOf(node, snapshot)]));
    const nameAt = (id: string) => names.get(id) ?? '?';
    const sorted = snapshot.edges.toSorted((a, b) => (order(a) < order(b) ? -1 : 1));
    for (const [i, edge] of sorted.entries()) {
      const found = this.rows.get(edge.id) ?? newRow(edge);
      this.rows.set(edge.id, found);
      const { row, link, cells } = found;
      if (this.body.rows[i] !== row) this.body.insertBefore(row, this.body.rows[i] ?? null);
      set(row, { class: classesOf(edge, selection) });
      say(link, `${nameAt(edge.source)} → ${nameAt(edge.destination)}`);
      for (const [j, text] of cellsOf(edge).entries()) say(cells[j], text);
    }
    for (const [id, { row }] of this.rows) {
      if (snapshot.edges.some((edge) => edge.id === id)) continue;
      row.remove();
      this.rows.delete(id);
    }
    set(byId('nobody'), { class: snapshot.edges.length === 0 ? '' : 'hidden' });
  }
}

/** By name: an order that numbers do not change. */
const order = ({ source, destination, protocol }: EdgeView) => `${source} ${destination} ${protocol}`;

function newRow(edge: EdgeView): Row {
  const link = h('a', { href: linkTo('edge', edge.id) });
  const cells = Array.from({ length: 4 }, () => h('td'));
  return { link, cells, row: h('tr', {}, h('th', { scope: 'row' }, link), ...cells) };
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
