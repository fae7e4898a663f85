// SPDX-License-Identifier: Apache-2.0

import { visible } from '../../visible.ts';
import type { NodeView, Snapshot } from '../snapshot.ts';
import { DetailsView } from './details.ts';
import { byId, h, say, set } from './dom.ts';
import { picture } from './icons.ts';
import { MapView } from './map.ts';
import { close, selected } from './selection.ts';
import { TableView } from './table.ts';
import { clock, nameOf, STATES } from './words.ts';

/** The page: takes snapshots from the server as they come, and shows them. */

/** Without a snapshot for so long the page says that it is old. */
const MOST_MILLISECONDS = 12_000;

const map = new MapView();
const table = new TableView();
const details = new DetailsView();
let snapshot: Snapshot | undefined;
let states = new Map<string, NodeView['state']>();
let arrived = 0;

function show(): void {
  if (!snapshot) return;
  const selection = selected();
  document.body.classList.toggle('has-open', selection !== undefined);
  map.update(snapshot, selection);
  table.update(snapshot, selection);
  void details.update(snapshot, selection);
  facts(snapshot);
}

/** How it stands, in a line. */
function facts({ nodes, edges, problems, source, asked, leftOut }: Snapshot): void {
  const count = (state: NodeView['state']) => nodes.filter((node) => node.state === state).length;
  const fact = (state: NodeView['state'], words: string) => h('li', { class: state }, picture(state), words);
  const sum = (of: (node: NodeView) => number) => nodes.reduce((total, node) => total + of(node), 0);
  const silent = sum((node) => node.silent);
  const well = sum((node) => (node.state === 'lost' ? 0 : node.sidecars - node.silent));
  const many = (n: number, one: string, several: string) => `${n} ${n === 1 ? one : several}`;
  const list = [
    ...(source === 'envoys'
      ? [fact('exchanging', `${well} of ${many(asked, 'sidecar exchanges', 'sidecars exchange')}`)]
      : [fact('counting', `${count('counting')} count, says Prometheus`)]),
    ...(silent > 0 ? [fact('silent', many(silent, 'does not answer', 'do not answer'))] : []),
    ...(count('lost') > 0 ? [fact('lost', many(count('lost'), 'workload lost peers', 'workloads lost peers'))] : []),
    ...(count('unwatched') > 0
      ? [fact('unwatched', many(count('unwatched'), 'without sidecar', 'without sidecars'))]
      : []),
    ...(count('unknown') > 0 ? [fact('unknown', 'unknown peers')] : []),
  ];
  const place = byId('facts');
  const text = list.map(({ textContent }) => textContent).join('');
  if (place.textContent !== text) place.replaceChildren(...list);
  const said = [...problems, ...(leftOut > 0 ? [`${leftOut} edges more than the map has room for are left out.`] : [])];
  const notes = byId('problems');
  if (notes.textContent !== said.join('')) notes.replaceChildren(...said.map((each) => h('li', {}, visible(each))));
  say(byId('count'), `${edges.length}`);
}

/** Says aloud what has changed. */
function announce(now: Snapshot): void {
  const changed = now.nodes.filter(({ id, state }) => states.has(id) && states.get(id) !== state);
  states = new Map(now.nodes.map(({ id, state }) => [id, state]));
  if (changed.length === 0) return;
  const words = changed.map((node) => `${nameOf(node, now)}: ${STATES[node.state]}.`);
  say(byId('news'), words.join(' '));
}

/** Whether the numbers are of now. */
function freshness(): void {
  const isOld = snapshot !== undefined && Date.now() - arrived > MOST_MILLISECONDS;
  const words = snapshot ? (isOld ? `the page’s server is gone; as of ${clock(snapshot.at)}` : 'live') : 'connecting …';
  say(byId('live'), words);
  set(byId('live'), { class: snapshot && !isOld ? 'live' : 'live gone' });
}

const events = new EventSource('events');
events.addEventListener('message', ({ data }) => {
  snapshot = JSON.parse(data) as Snapshot;
  arrived = Date.now();
  announce(snapshot);
  show();
  freshness();
});
events.addEventListener('error', () => {
  // It tries again by itself.
  arrived = Math.min(arrived, Date.now() - MOST_MILLISECONDS - 1);
  freshness();
});
for (const sign of document.querySelectorAll<HTMLElement>('#signs dt')) {
  sign.append(picture(sign.dataset.state as NodeView['state']));
}
setInterval(freshness, 1_000);
addEventListener('hashchange', show);
addEventListener('keydown', ({ key }) => {
  if (key === 'Escape') close();
});
