// SPDX-License-Identifier: Apache-2.0
import { columns } from '../../testkit/tables.ts';
import { errorsOf, naming, requestsOf, timeOf } from './drawing.ts';
import type { ServiceMap } from './edges.ts';

/** How parts of the table are painted; texts stay as they are unless told. */
export interface Paint {
  head: (text: string) => string;
  bad: (text: string) => string;
}

const PLAIN: Paint = { head: (text) => text, bad: (text) => text };

/** The map for a terminal: a line for each edge. */
export function table(map: ServiceMap, paint: Paint = PLAIN): string {
  const nameOf = naming(map);
  const head = ['who calls', 'whom', 'protocol', 'requests', 'errors', 'p50', 'p99', 'told by'].map(paint.head);
  const rows = map.edges.map((edge) => [
    nameOf(edge.source),
    nameOf(edge.destination),
    edge.protocol,
    requestsOf(edge),
    edge.errors > 0 ? paint.bad(errorsOf(edge)) : errorsOf(edge),
    timeOf(edge.p50),
    timeOf(edge.p99),
    edge.reporter,
  ]);
  return columns([head, ...rows], 'lllrrrrl');
}
