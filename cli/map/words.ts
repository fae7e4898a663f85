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

/** How many requests: `12.3/s`, or a plain number where no time was looked at. */
export function requestsOf({ rate, requests }: Edge): string {
  if (rate === null) return String(Math.round(requests));
  return rate === 0 ? '0/s' : `${rate.toFixed(rate < 0.095 ? 3 : 1)}/s`;
}

/** Which part of the requests failed: `0%`, `2.5%`; `-` if there were none. */
export function errorsOf({ requests, errors }: Edge): string {
  if (requests <= 0) return '-';
  const percent = (errors / requests) * 100;
  if (percent > 0 && percent < 0.1) return '<0.1%';
  return `${Number(percent.toFixed(1))}%`;
}

/** A time: `4.5 ms`, `120 ms`, `1.2 s`; `-` if nobody knows. */
export function timeOf(milliseconds: number | null): string {
  if (milliseconds === null) return '-';
  if (milliseconds < 10) return `${milliseconds.toFixed(1)} ms`;
  return milliseconds < 999.5 ? `${milliseconds.toFixed(0)} ms` : `${(milliseconds / 1000).toFixed(1)} s`;
}
