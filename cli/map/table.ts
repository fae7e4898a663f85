// SPDX-License-Identifier: Apache-2.0
import { columns } from '../../testkit/tables.ts';
import { bytesOf, connectionsOf, errorsOf, naming, requestsOf, timeOf } from './drawing.ts';
import type { Edge, ServiceMap } from './edges.ts';

/** How parts of the table are painted; texts stay as they are unless told. */
export interface Paint {
  head: (text: string) => string;
  bad: (text: string) => string;
}

const PLAIN: Paint = { head: (text) => text, bad: (text) => text };

/** The map for a terminal: a line for each edge. Where there is TCP it has columns of its own. */
export function table(map: ServiceMap, paint: Paint = PLAIN): string {
  const nameOf = naming(map);
  const hasTcp = map.edges.some(({ connections }) => connections);
  const tcp = hasTcp ? ['connections', 'there', 'back'] : [];
  const head = ['who calls', 'whom', 'protocol', 'requests', 'errors', 'p50', 'p99', ...tcp, 'told by'].map(paint.head);
  const rows = map.edges.map((edge) => [
    nameOf(edge.source),
    nameOf(edge.destination),
    edge.protocol,
    requestsOf(edge),
    edge.errors > 0 ? paint.bad(errorsOf(edge)) : errorsOf(edge),
    timeOf(edge.p50),
    timeOf(edge.p99),
    ...(hasTcp ? tcpCells(edge, map.seconds) : []),
    edge.reporter,
  ]);
  return columns([head, ...rows], hasTcp ? 'lllrrrrrrrl' : 'lllrrrrl');
}

/** Connections, and bytes to the server and from it. */
function tcpCells(edge: Edge, seconds: number | null): string[] {
  const { connections } = edge;
  const bytes = connections
    ? [connections.received, connections.sent].map((each) => bytesOf(each, seconds))
    : ['-', '-'];
  return [connectionsOf(edge, seconds), ...bytes];
}
