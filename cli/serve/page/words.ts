// SPDX-License-Identifier: Apache-2.0
import { bytesOf, errorsOf, requestsOf, timeOf } from '../../map/drawing.ts';
import { visible } from '../../visible.ts';
import { type EdgeView, type NodeView, type Numbers, type Snapshot, type State, UNKNOWN_CALLERS } from '../snapshot.ts';

/** What the page says of nodes and edges. Characters that nobody sees are written as their numbers. */

/** A node's state in a word or two. */
export const STATES: Record<State, string> = {
  exchanging: 'exchanges',
  silent: 'no answer',
  lost: 'peers lost',
  counting: 'counts',
  unwatched: 'no sidecar',
  unknown: 'said nothing',
};

/** A node's name: with its namespace where there are several. */
export function nameOf(node: NodeView, { nodes }: Snapshot): string {
  if (node.kind === 'unknown') return node.id === UNKNOWN_CALLERS ? 'unknown callers' : 'unknown servers';
  const namespaces = new Set(nodes.filter(({ kind }) => kind === 'workload').map(({ namespace }) => namespace));
  const name = visible(node.name) || '(no name)';
  return namespaces.size > 1 && node.kind === 'workload' ? `${visible(node.namespace)}/${name}` : name;
}

/** A node's state, with how many replicas of it there are. */
function wordsOf({ kind, state, sidecars, silent }: NodeView): string {
  if (kind === 'service') return 'service, not a workload';
  if (sidecars < 2) return STATES[state];
  return state === 'silent' ? `${silent} of ${sidecars}: ${STATES[state]}` : `${STATES[state]} ×${sidecars}`;
}

/** What stands below the name. */
export function stateOf(node: NodeView): string {
  const { version } = node;
  const words = wordsOf(node);
  return version ? `${visible(short(version, 16))} · ${words}` : words;
}

/** A text of so many characters at the most. */
export function short(text: string, most: number): string {
  const characters = [...text];
  return characters.length > most ? `${characters.slice(0, most - 1).join('')}…` : text;
}

/** Requests a second. */
export const rateOf = ({ rate }: Numbers) => requestsOf({ rate, requests: rate, connections: null });

/** Which part of them failed. */
export const failedOf = ({ errors }: Numbers) => errorsOf({ requests: errors === null ? 0 : 1, errors: errors ?? 0 });

export const p99Of = ({ p99 }: Numbers) => timeOf(p99);

/** Bytes a second, to the server and back. */
export const thereOf = ({ connections }: Numbers) => bytesOf(connections?.received ?? 0, 1);
export const backOf = ({ connections }: Numbers) => bytesOf(connections?.sent ?? 0, 1);

/** How many connections there are: those that are open, or how many are opened a second where none stays open. */
export function openOf({ connections }: Numbers): string {
  const { open, opened } = connections ?? { open: 0, opened: 0 };
  if (open > 0 || opened === 0) return `${open} open`;
  return `${requestsOf({ rate: opened, requests: opened, connections: null })} new`;
}

/** The two lines of an edge's label. */
export function labelOf({ now, isOld }: EdgeView): [string, string] {
  if (isOld) return ['no news', 'nobody tells'];
  if (now.connections) return [`${openOf(now)} connections`, `→ ${thereOf(now)}  ← ${backOf(now)}`];
  return [rateOf(now), now.rate === 0 ? 'idle' : `${failedOf(now)} fail · p99 ${p99Of(now)}`];
}

/** An edge's numbers in a sentence. */
export function sentenceOf({ now, isOld, protocol }: EdgeView): string {
  if (isOld) return 'Nobody tells of it any more.';
  const { connections } = now;
  if (connections) {
    const { open, opened } = connections;
    const opens = requestsOf({ rate: opened, requests: opened, connections: null }).replace('/s', ' new a second');
    return `${open} TCP connections open, ${opens}, ${thereOf(now)} to the server, ${backOf(now)} back.`;
  }
  const rate = `${rateOf(now).replace('/s', '')} ${protocol} requests a second`;
  return now.rate === 0 ? `${rate}.` : `${rate}, ${failedOf(now)} failed, 99 of 100 within ${p99Of(now)}.`;
}

/** Whether somebody should look at it. */
export const isBad = ({ now, isOld }: EdgeView) => !isOld && (now.errors ?? 0) > 0;

export const clock = (at: number) => new Date(at).toLocaleTimeString('en-GB');
