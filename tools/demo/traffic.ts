// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { send } from '../../testkit/http.ts';
import { USER } from './application.ts';
import { REPORT } from './bookinfo.ts';
import type { Mesh } from './mesh.ts';

/** Requests for the mesh: pages for the world's visitors, and a report that somebody without a sidecar makes. */

/** How many pages visitors ask for in a second, and how many times the report asks. */
export const PAGES_PER_SECOND = 25;
export const REPORTS_PER_SECOND = 5;

/** More than that are not on their way at once: a slow machine then has fewer pages, and no crowd. */
const MOST_AT_ONCE = 20;

export interface Traffic {
  pages: number;
  /** Pages that were not answered 200, and answers with peer headers in them: each thing once. */
  problems: Set<string>;
}

/** Sends requests at an even pace until it is told to stop, and waits for all answers. */
export async function sendRequests(mesh: Mesh, stop: AbortSignal): Promise<Traffic> {
  const traffic: Traffic = { pages: 0, problems: new Set() };
  const port = await mesh.sidecar('bookinfo-gateway').port('outbound');
  const underWay = new Set<Promise<void>>();
  const track = (request: () => Promise<void>) => {
    if (underWay.size >= MOST_AT_ONCE) return;
    const promise = request()
      .catch((error: Error) => void traffic.problems.add(error.message))
      .finally(() => underWay.delete(promise));
    underWay.add(promise);
  };
  const pages = setInterval(() => track(() => page(port, traffic)), 1000 / PAGES_PER_SECOND);
  const reports = setInterval(() => mesh.withReport && track(() => report(mesh)), 1000 / REPORTS_PER_SECOND);
  if (!stop.aborted) await once(stop, 'abort');
  clearInterval(pages);
  clearInterval(reports);
  await Promise.all(underWay);
  return traffic;
}

/** One request of each kind, for a user who is in the access logs: reviews are asked in turn, so each of them once. */
export async function sendFirst(mesh: Mesh, user: string): Promise<void> {
  const port = await mesh.sidecar('bookinfo-gateway').port('outbound');
  for (let i = 0; i < 3; i++) await send(port, { path: '/productpage', headers: [USER, user] });
  if (mesh.withReport) await report(mesh);
}

async function page(port: number, traffic: Traffic): Promise<void> {
  const { status, headers } = await send(port, { path: '/productpage', host: 'bookinfo.example' });
  traffic.pages++;
  if (status !== 200) traffic.problems.add(`a page was answered ${status}`);
  for (const header of Object.keys(headers.peer())) traffic.problems.add(`a visitor saw ${header}`);
}

async function report(mesh: Mesh): Promise<void> {
  await send(mesh.inboundPort(REPORT.server), { path: '/details/0', host: REPORT.calls, from: REPORT.address });
}
