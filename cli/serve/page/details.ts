// SPDX-License-Identifier: Apache-2.0
import { visible } from '../../visible.ts';
import type { EdgeView, NodeDetails, NodeView, Numbers, Saying, Snapshot, Told } from '../snapshot.ts';
import { chart, type Line } from './charts.ts';
import { byId, h } from './dom.ts';
import { picture } from './icons.ts';
import { linkTo, type Selection } from './selection.ts';
import { backOf, clock, failedOf, nameOf, p99Of, rateOf, sentenceOf, stateOf, thereOf } from './words.ts';

/** What is open: a node with what it says of itself, or an edge with its numbers over the last minutes. */

/** A part of what is shown: it is made again only if what it is about is another thing than before. */
interface Part {
  of: unknown;
  make: () => Node[];
}

export class DetailsView {
  private readonly place = byId('details');
  private readonly legend = byId('legend');
  private open: string | undefined;
  /** What is being asked for. */
  private asked: string | undefined;
  /** What each part is about, as text: what has not changed can be read and marked in peace. */
  private shown: string[] = [];

  async update(snapshot: Snapshot, selection: Selection | undefined): Promise<void> {
    this.legend.hidden = selection !== undefined;
    this.place.hidden = selection === undefined;
    if (!selection) {
      this.open = undefined;
      this.asked = undefined;
      return;
    }
    const { kind, id } = selection;
    const asked = `${kind === 'node' ? 'node' : 'history'}?id=${encodeURIComponent(id)}`;
    if (asked === this.asked) return;
    this.asked = asked;
    const answer = await fetch(asked)
      .then((response) => response.json())
      .catch(() => undefined);
    // Meanwhile something else may have been opened.
    if (asked !== this.asked) return;
    this.asked = undefined;
    this.show(asked, kind === 'node' ? nodeParts(id, snapshot, answer) : edgeParts(id, snapshot, answer ?? []));
  }

  private show(what: string, parts: Part[]): void {
    if (this.open !== what || parts.length !== this.shown.length) {
      this.open = what;
      this.shown = parts.map(() => '');
      this.place.replaceChildren(closing(), ...parts.map(() => h('div')));
      this.place.scrollTop = 0;
    }
    for (const [i, { of, make }] of parts.entries()) {
      const text = JSON.stringify(of);
      if (this.shown[i] === text) continue;
      this.shown[i] = text;
      // The first one is the link that closes.
      this.place.children[i + 1].replaceChildren(...make());
    }
  }
}

const NOBODY: Part = {
  of: 'nobody',
  make: () => [h('h2', {}, 'Nobody of this name'), h('p', {}, 'Nobody has told of it for some minutes.')],
};

const closing = () => h('a', { href: '#', class: 'close', 'aria-label': 'Close' }, '×');

function nodeParts(id: string, snapshot: Snapshot, details: NodeDetails | undefined): Part[] {
  const node = snapshot.nodes.find((each) => each.id === id);
  if (!node) return [NOBODY];
  const { told = [], labels = [] } = details ?? {};
  const head = () => [
    h('h2', {}, picture(node.state), nameOf(node, snapshot)),
    h('p', { class: `words ${node.state}` }, stateOf(node)),
    ...node.remarks.map((remark) => h('p', { class: 'remark' }, visible(remark))),
  ];
  const near = snapshot.edges.filter(({ source, destination }) => source === id || destination === id);
  return [
    { of: node, make: head },
    // When it was asked is another time each time.
    {
      of: [
        node.sidecars,
        node.state === 'counting',
        told.map(({ at, ...rest }) => (rest.problem ? { at, ...rest } : rest)),
      ],
      make: () => (told.length > 0 ? told.flatMap(toldParts) : silentParts(node)),
    },
    { of: labels, make: () => labelParts(node, labels, told.length > 0) },
    { of: near.map((edge) => edge.id), make: () => neighbours(node, snapshot) },
  ];
}

/** What one sidecar says of itself. */
function toldParts({ address, at, nodeId, sayings, problem }: Told): Node[] {
  const parts: Node[] = [h('h3', {}, 'What its sidecar tells each peer')];
  if (problem && sayings.length > 0) {
    parts.push(h('p', { class: 'remark' }, `It does not answer now. This is what it said at ${clock(at)}.`));
  } else if (problem) {
    parts.push(h('p', { class: 'remark' }, visible(problem)));
  }
  parts.push(...sayingParts(sayings));
  if (sayings.length > 0) {
    const source = 'Made by the module itself, from the node and the filter’s configuration in its admin page';
    parts.push(h('p', { class: 'source' }, `${source} ${address}/config_dump. The node is ${visible(nodeId)}.`));
  }
  return parts;
}

const PLACES = {
  requests: 'in requests',
  responses: 'in responses',
  connections: 'before a client’s bytes',
  answers: 'before a server’s bytes',
};

/** What is said in requests, in responses and over TCP is mostly the same: each Struct once, with where it is. */
function sayingParts(sayings: Saying[]): Node[] {
  const same = new Map<string, Saying[]>();
  for (const saying of sayings.filter(({ header }) => header)) {
    const key = JSON.stringify(saying.fields);
    same.set(key, [...(same.get(key) ?? []), saying]);
  }
  const parts: Node[] = [...same.values()].flatMap((each) => [
    h('ul', { class: 'source' }, ...carriers(each)),
    struct(each[0].fields),
  ]);
  const silent = sayings.filter(({ header }) => !header).map((each) => PLACES[each.in]);
  if (silent.length > 0) parts.push(h('p', { class: 'remark' }, `Nothing ${[...new Set(silent)].join(', ')}.`));
  const others = new Map(sayings.flatMap((each) => each.others.map((pair) => [pair.join('\0'), pair])));
  if (others.size > 0) {
    parts.push(h('p', { class: 'source' }, 'Beside it:'), pairs([...others.values()], 'Beside the Struct'));
  }
  const warnings = new Set(sayings.flatMap((each) => each.warnings));
  for (const warning of warnings) parts.push(h('p', { class: 'remark' }, visible(warning)));
  return parts;
}

/** In what a Struct is sent: a header, or TCP's preface. */
function carriers(sayings: Saying[]): Node[] {
  const found = new Map<string, Saying[]>();
  for (const saying of sayings) {
    const key = JSON.stringify(saying.header);
    found.set(key, [...(found.get(key) ?? []), saying]);
  }
  return [...found.values()].map((each) => {
    const { name = '', size = 0 } = each[0].header ?? {};
    const places = [...new Set(each.map((saying) => PLACES[saying.in]))].sort().join(' and ');
    return h('li', {}, h('code', {}, visible(name)), ` ${places}, ${size} bytes`);
  });
}

/** A Struct field by field: what lies inside of a field stands below it. */
function struct(fields: Saying['fields']): HTMLElement {
  const lines: HTMLElement[] = [];
  let group = '';
  for (const [path, value] of fields) {
    const [key, ...outer] = path.toReversed();
    const name = outer.toReversed().join('.');
    if (name !== group && name !== '') {
      lines.push(h('tr', { class: 'group' }, h('th', { colspan: 2, scope: 'colgroup' }, visible(name))));
    }
    group = name;
    lines.push(row(key, value, name === '' ? '' : 'inner'));
  }
  return listed(lines, 'What its sidecar tells each peer, field by field');
}

function silentParts({ kind, sidecars, state }: NodeView): Node[] {
  if (sidecars > 0) return [h('p', { class: 'source' }, 'Its sidecar is being asked …')];
  if (state === 'counting') {
    const words =
      'Prometheus has what its sidecar counted. What the sidecar tells its peers is known only to a page that';
    return [h('p', {}, `${words} asks the sidecars themselves.`)];
  }
  const words = {
    workload:
      'No sidecar of it is among those that this page asks: nobody has exchanged anything here. Others know it by its ' +
      'address or by its endpoint, from a control plane, or it told them itself.',
    service: 'Nobody has said which workload this is: only the name of the service is known that was called.',
    unknown: 'Whoever this is did not say who they are, and no control plane knew their address. It may be several.',
  };
  return [h('p', {}, words[kind])];
}

/** What the metrics of others say of it. */
function labelParts({ kind }: NodeView, labels: [string, string][], hasTold: boolean): Node[] {
  const known = labels.filter(([, value]) => value !== '' && value !== 'unknown' && value !== '-');
  if (kind === 'unknown' || known.length === 0) return [];
  const list = pairs(known, 'Labels');
  const source = h('p', { class: 'source' }, 'From the labels of their metrics:');
  // Where it speaks for itself that comes second.
  if (!hasTold) return [h('h3', {}, 'What others’ metrics say of it'), source, list];
  return [h('details', {}, h('summary', {}, 'What others’ metrics say of it'), list)];
}

/** Links to its edges. */
function neighbours({ id }: NodeView, snapshot: Snapshot): Node[] {
  const list = (edges: EdgeView[], end: 'source' | 'destination') =>
    edges.map((edge) => {
      const other = snapshot.nodes.find((node) => node.id === edge[end]);
      const link = h('a', { href: linkTo('edge', edge.id) }, other ? nameOf(other, snapshot) : '?');
      return h('li', {}, link, ` by ${visible(edge.protocol)}`);
    });
  const callers = snapshot.edges.filter(({ destination }) => destination === id);
  const called = snapshot.edges.filter(({ source }) => source === id);
  return [
    ...(callers.length > 0 ? [h('h3', {}, 'Who calls it'), h('ul', {}, ...list(callers, 'source'))] : []),
    ...(called.length > 0 ? [h('h3', {}, 'Whom it calls'), h('ul', {}, ...list(called, 'destination'))] : []),
  ];
}

const CHARTS: Line[] = [
  { what: 'requests a second', of: ({ rate }) => rate, words: rateOf },
  { what: 'failed', of: ({ errors }) => errors, words: failedOf, isBad: true },
  { what: '99 of 100 within', of: ({ p99 }) => p99, words: p99Of },
];
const TCP_CHARTS: Line[] = [
  {
    what: 'connections open',
    of: ({ connections }) => connections?.open ?? 0,
    words: ({ connections }) => String(connections?.open ?? 0),
  },
  {
    what: 'connections opened a second',
    of: ({ connections }) => connections?.opened ?? 0,
    words: ({ connections }) => (connections?.opened ?? 0).toFixed(1),
  },
  { what: 'bytes to the server', of: ({ connections }) => connections?.received ?? 0, words: thereOf },
  { what: 'bytes back', of: ({ connections }) => connections?.sent ?? 0, words: backOf },
];

function edgeParts(id: string, snapshot: Snapshot, moments: Numbers[]): Part[] {
  const edge = snapshot.edges.find((each) => each.id === id);
  if (!edge) return [NOBODY];
  const nodeLink = (node: string) => {
    const found = snapshot.nodes.find((each) => each.id === node);
    return h('a', { href: linkTo('node', node) }, found ? nameOf(found, snapshot) : '?');
  };
  const [caller, called] = [edge.source, edge.destination].map((node) => nodeLink(node).textContent);
  const told = { source: `${caller}’s sidecar`, destination: `${called}’s sidecar`, waypoint: 'a waypoint' };
  const who = (reporter: string) => told[reporter as keyof typeof told] ?? visible(reporter);
  const others = edge.seenBy.filter((each) => each !== edge.reporter).map(who);
  const also = others.length > 0 ? `; ${others.join(' and ')} counts the same, too` : '';
  const from = snapshot.source === 'prometheus' ? 'Prometheus, as counted by' : 'the metrics page of';
  const source = `Each of the ${snapshot.seconds} s before it. From ${from} ${who(edge.reporter)}${also}.`;
  const charts = edge.protocol === 'tcp' ? TCP_CHARTS : CHARTS;
  return [
    { of: [caller, called], make: () => [h('h2', {}, nodeLink(edge.source), ' → ', nodeLink(edge.destination))] },
    { of: sentenceOf(edge), make: () => [h('p', { class: 'words' }, sentenceOf(edge))] },
    ...charts.map((line): Part => ({ of: moments, make: () => [chart(moments, line)] })),
    { of: edge.total, make: () => totals(edge) },
    { of: source, make: () => [h('p', { class: 'source' }, source)] },
  ];
}

function totals({ total, protocol }: EdgeView): Node[] {
  if (!total) return [];
  const { requests, errors, connections } = total;
  const rows: [string, string][] = connections
    ? [
        ['connections opened', String(connections.opened)],
        ['bytes to the server', String(connections.received)],
        ['bytes back', String(connections.sent)],
      ]
    : [
        [`${protocol} requests`, String(requests)],
        ['failed', String(errors)],
      ];
  return [h('p', { class: 'source' }, 'Since the proxies started:'), pairs(rows, 'Since the proxies started')];
}

/** Names and values, as text. */
function pairs(rows: [string, string][], caption: string): HTMLElement {
  return listed(
    rows.map(([name, value]) => row(name, value)),
    caption,
  );
}

function row(name: string, value: string, kind = ''): HTMLElement {
  return h('tr', { class: kind }, h('th', { scope: 'row' }, visible(name)), h('td', {}, visible(value)));
}

function listed(lines: HTMLElement[], caption: string): HTMLElement {
  return h('table', { class: 'pairs' }, h('caption', { class: 'for-readers' }, caption), h('tbody', {}, ...lines));
}
