// SPDX-License-Identifier: Apache-2.0
import type { Connections } from '../map/edges.ts';

/** What the server tells the page, as JSON. Nothing of Node: a browser reads it. */

/**
 * How it stands with a workload's sidecars: `exchanging`: all answer. `silent`: one of them does not answer. `lost`: it
 * answers, but the exchange with somebody has ended. `counting`: Prometheus has its numbers, and nobody has asked it.
 * `unwatched`: nobody knows of a sidecar. `unknown`: nobody said who it is.
 */
export type State = 'exchanging' | 'silent' | 'lost' | 'counting' | 'unwatched' | 'unknown';

/** The ids of those who are not known: whoever calls, and whoever is called. */
export const UNKNOWN_CALLERS = 'unknown/callers';
export const UNKNOWN_SERVERS = 'unknown/servers';

export interface NodeView {
  /** The same as long as the page lives. */
  id: string;
  kind: 'workload' | 'service' | 'unknown';
  name: string;
  /** `unknown` where nobody said. */
  namespace: string;
  version: string;
  state: State;
  /** What there is to say about its state: one sentence each. */
  remarks: string[];
  /** How many sidecars of it are watched, and how many of these do not answer. */
  sidecars: number;
  silent: number;
}

/** One moment of an edge. Rates are a second, of the seconds before. */
export interface Numbers {
  /** Milliseconds since 1970. */
  at: number;
  /** Requests. */
  rate: number;
  /** Which part of them failed: 0 to 1; null if there were none. */
  errors: number | null;
  /** Milliseconds. */
  p50: number | null;
  p99: number | null;
  /** Of TCP; how many are open, and the others a second. */
  connections: Connections | null;
}

export interface EdgeView {
  id: string;
  /** Ids of nodes. */
  source: string;
  destination: string;
  protocol: string;
  /** Whose numbers these are: `source` or `destination`, mostly. */
  reporter: string;
  seenBy: string[];
  now: Numbers;
  /** All that was counted since the proxies started; null where nobody was asked. */
  total: { requests: number; errors: number; connections: Connections | null } | null;
  /** Nobody tells of it any more: the numbers are old. */
  isOld: boolean;
}

export interface Snapshot {
  at: number;
  /** The time that numbers are of. */
  seconds: number;
  nodes: NodeView[];
  edges: EdgeView[];
  /** Where the numbers come from. */
  source: 'envoys' | 'prometheus';
  /** How many were asked, and who did not tell anything yet or is not to be placed: one sentence each. */
  asked: number;
  problems: string[];
  /** Edges beyond those that are kept. */
  leftOut: number;
}

/** One thing that a sidecar says of itself to others. */
export interface Saying {
  /** Where: in requests to servers, responses to clients, or before the bytes of TCP to either. */
  in: 'requests' | 'responses' | 'connections' | 'answers';
  /** The header that has the Struct, or TCP's preface, and how many bytes it has; null if there is none. */
  header: { name: string; size: number } | null;
  /** Each field of the Struct by the keys that lead to it, such as LABELS and app, in the order of the wire. */
  fields: [path: string[], value: string][];
  /** Other headers that tell: the id, and baggage. */
  others: [name: string, value: string][];
  /** What the module complained of. */
  warnings: string[];
}

/** What a sidecar says, or why that is not known. */
export interface Told {
  /** Its admin page. */
  address: string;
  /** When it was asked. */
  at: number;
  nodeId: string;
  sayings: Saying[];
  /** Why there is nothing, or not all. */
  problem: string | null;
}

/** What the page shows of a node when it is opened. */
export interface NodeDetails {
  told: Told[];
  /** What the metrics of others say of it: label and value. */
  labels: [name: string, value: string][];
}
