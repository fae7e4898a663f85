// SPDX-License-Identifier: Apache-2.0
import { defineCommand } from 'citty';
import { isAddress } from '../ask.ts';
import { mermaid } from '../map/drawing.ts';
import { REQUESTS } from '../map/edges.ts';
import { type Answer, fromEnvoys, fromPrometheus } from '../map/sources.ts';
import { table } from '../map/table.ts';
import { visible, visibleJson } from '../visible.ts';
import { DONE, paint, print, REFUSED, readInput, UsageError, warn } from './common.ts';

/** How many seconds are looked at unless told: of Envoys, and of a Prometheus server, which asks them less often. */
const SECONDS = { envoys: 5, prometheus: 60 };

/** `metadata-exchange map`: who calls whom. */
export const map = defineCommand({
  meta: {
    name: 'map',
    description: 'Who calls whom, how often, how many fail, and how long it takes, from Istio’s standard metrics',
  },
  args: {
    address: {
      type: 'positional',
      required: false,
      description: 'Admin addresses of Envoys: HOST:PORT or a page’s URL',
    },
    file: { type: 'string', valueHint: 'path', description: 'more addresses, one a line; - is the standard input' },
    prometheus: { type: 'string', valueHint: 'url', description: 'ask this Prometheus server instead of Envoys' },
    seconds: { type: 'string', valueHint: 'n', description: 'the time to look at: 5, or 60 with a Prometheus server' },
    total: { type: 'boolean', description: 'all since the proxies started, and no rate' },
    json: { type: 'boolean', description: 'as JSON' },
    mermaid: { type: 'boolean', description: 'as a flowchart of mermaid’s' },
  },
  async run({ args }) {
    if (args.json && args.mermaid) throw new UsageError('--json or --mermaid: not both');
    if (args.total && args.seconds !== undefined) throw new UsageError('--total or --seconds: not both');
    const { addresses, prometheus } = sourcesOf(args);
    const secondsOr = (standard: number) => (args.total ? null : secondsOf(args.seconds, standard));
    const answer =
      prometheus === undefined
        ? await fromEnvoys(addresses, secondsOr(SECONDS.envoys))
        : await fromPrometheus(prometheus, secondsOr(SECONDS.prometheus));
    show(answer, args);
    warn(...answer.problems.map(visible));
    return answer.problems.length > 0 ? REFUSED : DONE;
  },
});

function show({ map, problems }: Answer, { json, mermaid: asMermaid }: { json?: boolean; mermaid?: boolean }): void {
  if (json) print(visibleJson(map));
  else if (asMermaid) print(mermaid(map));
  else if (map.edges.length > 0) {
    print(table(map, { head: (text) => paint('dim', text), bad: (text) => paint('red', text) }));
  } else if (problems.length === 0) warn(`Nobody called anybody: there is no ${REQUESTS}.`);
}

/** Who is to be asked: Envoys, or else a Prometheus server. */
export function sourcesOf(args: { _: string[]; file?: string; prometheus?: string }): {
  addresses: string[];
  prometheus: string | undefined;
} {
  const { prometheus } = args;
  const addresses = [...args._, ...(args.file === undefined ? [] : addressesIn(args.file))];
  if (addresses.length > 0 === (prometheus !== undefined)) {
    throw new UsageError('name Envoys, by their addresses or in a file, or else a Prometheus server');
  }
  for (const address of prometheus === undefined ? addresses : [prometheus]) {
    if (!isAddress(address)) throw new UsageError(`${visible(address)} is no address`);
  }
  return { addresses, prometheus };
}

/** The addresses of a file, one a line: `#` begins a comment. */
function addressesIn(path: string): string[] {
  const lines = readInput(path).split('\n');
  return lines.map((line) => line.replace(/#.*/, '').trim()).filter((line) => line !== '');
}

/** A whole number of seconds. */
export function secondsOf(given: string | undefined, standard: number): number {
  if (given === undefined) return standard;
  if (!/^\d+$/.test(given) || Number(given) < 1) throw new UsageError('--seconds must be a whole number, 1 or more');
  return Number(given);
}
