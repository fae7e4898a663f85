// SPDX-License-Identifier: Apache-2.0
import { visible } from '../visible.ts';
import type { Edge, Peer, ServiceMap } from './edges.ts';

/** The numbers and names of a map in words, for the table and the picture. Nothing of Node: a browser runs it. */

/** How to call the peers of a map: with their namespace where there are several. */
export function naming({ edges }: ServiceMap): (peer: Peer) => string {
  const peers = edges.flatMap(({ source, destination }) => [source, destination]);
  const known = new Set(peers.filter(({ kind }) => kind === 'workload').map(({ namespace }) => namespace));
  return ({ kind, name, namespace }) => {
    if (kind === 'unknown') return 'unknown';
    if (kind === 'service') return `${visible(name)} (service)`;
    return known.size > 1 ? visible(`${namespace}/${name}`) : visible(name);
  };
}

/** How many requests: `12.3/s`, or a plain number where no time was looked at; `-` of TCP. */
export function requestsOf({ rate, requests, connections }: Pick<Edge, 'rate' | 'requests' | 'connections'>): string {
  if (connections) return '-';
  if (rate === null) return String(Math.round(requests));
  return rate === 0 ? '0/s' : `${rate.toFixed(rate < 0.095 ? 3 : 1)}/s`;
}

/** Which part of the requests failed: `0%`, `2.5%`; `-` if there were none. */
export function errorsOf({ requests, errors }: Pick<Edge, 'requests' | 'errors'>): string {
  if (requests <= 0) return '-';
  const percent = (errors / requests) * 100;
  if (percent > 0 && percent < 0.1) return '<0.1%';
  if (percent > 99.9 && percent < 100) return '>99.9%';
  return `${Number(percent.toFixed(1))}%`;
}

/** A time: `4.5 ms`, `120 ms`, `1.2 s`; `-` if nobody knows. */
export function timeOf(milliseconds: number | null): string {
  if (milliseconds === null) return '-';
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 999.5 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}

const UNITS = ['B', 'kB', 'MB', 'GB', 'TB'];

/** Bytes in some seconds: `850 B/s`, `1.2 MB/s`; without a time, how many: `12 kB`. */
export function bytesOf(bytes: number, seconds: number | null): string {
  const value = seconds === null ? bytes : bytes / seconds;
  const power = UNITS.findLastIndex((_, i) => i === 0 || value >= 999.5 * 1000 ** (i - 1));
  const scaled = value / 1000 ** power;
  return `${scaled.toFixed(power > 0 && scaled < 9.95 ? 1 : 0)} ${UNITS[power]}${seconds === null ? '' : '/s'}`;
}

/** How many connections were opened and are open: `3 open, 0.2/s new`; without a time `3 open of 80`. */
export function connectionsOf({ connections }: Edge, seconds: number | null): string {
  if (!connections) return '-';
  const { open, opened } = connections;
  if (seconds === null) return `${open} open of ${Math.round(opened)}`;
  const rate = opened / seconds;
  return `${open} open, ${rate === 0 ? '0' : rate.toFixed(rate < 0.095 ? 3 : 1)}/s new`;
}

/**
 * A text as a label of mermaid's, between quotes. All but letters, digits and a few signs is written as mermaid's
 * entities, `#60;` for `<`: so no name ends its label, is Markdown or HTML, or begins a directive.
 */
function label(text: string): string {
  // An empty label is a mistake to mermaid.
  return text.replaceAll(/[^\p{L}\p{N} ._/-]/gu, (character) => `#${character.codePointAt(0)};`) || '-';
}

/** What an edge's label says, part by part. */
function wordsOf(edge: Edge, seconds: number | null): string[] {
  const { connections } = edge;
  if (!connections) return [requestsOf(edge), `${errorsOf(edge)} errors`, `p99 ${timeOf(edge.p99)}`];
  const there = bytesOf(connections.received, seconds);
  return [connectionsOf(edge, seconds), `${there} there`, `${bytesOf(connections.sent, seconds)} back`];
}

/** The map as a flowchart of mermaid's, which GitHub and many others draw: https://mermaid.js.org */
export function mermaid(map: ServiceMap): string {
  const nameOf = naming(map);
  const ids = new Map<string, string>();
  const lines = ['flowchart LR'];
  const idOf = (peer: Peer) => {
    const key = JSON.stringify([peer.kind, peer.namespace, peer.name]);
    const known = ids.get(key);
    if (known) return known;
    const id = `n${ids.size}`;
    ids.set(key, id);
    lines.push(`  ${id}["${label(nameOf(peer))}"]`);
    return id;
  };
  const edges = map.edges.map((edge) => {
    const words = wordsOf(edge, map.seconds).map(label).join(', ');
    return `  ${idOf(edge.source)} -->|"${words}"| ${idOf(edge.destination)}`;
  });
  return [...lines, ...edges].join('\n');
}
