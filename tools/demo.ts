// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { isDeepStrictEqual } from 'node:util';
import { mapOf, type ServiceMap } from '../cli/map/edges.ts';
import { increase, type Sample } from '../cli/map/samples.ts';
import { table } from '../cli/map/table.ts';
import { number, readFlags, text } from '../testkit/flags.ts';
import { memoryOf } from '../testkit/process_memory.ts';
import { columns } from '../testkit/tables.ts';
import { expectedEdges, nodeOf, REPORT, WORKLOADS } from './demo/bookinfo.ts';
import { checksOf } from './demo/checks.ts';
import { LiveMap } from './demo/live_map.ts';
import { Mesh } from './demo/mesh.ts';
import {
  bad,
  bold,
  type Check,
  dim,
  endQuietly,
  failed,
  good,
  indented,
  print,
  showChecks,
  step,
} from './demo/screen.ts';
import { PAGES_PER_SECOND, sendFirst, sendRequests, type Traffic } from './demo/traffic.ts';

/**
 * `make demo`: Bookinfo as a mesh of stock Envoys, and a map of who calls whom, made of what they counted: as a page
 * that stays up to date, and as a table. The map and the metadata that are shown are read back from the running Envoys, and are compared with what they must be: if
 * anything is missing the demo says so and fails.
 */
const { flags } = readFlags({
  call: 'tsx tools/demo.ts',
  about: 'Bookinfo as a mesh of stock Envoys, and a map of who calls whom.',
  flags: {
    keep: text('1 leaves it running, with traffic, until Ctrl-C; 0 does not. At a terminal it is 1', ['0', '1']),
    seconds: number(8, 'how long requests are sent'),
  },
});

/** Whose requests are in the access logs. */
const VISITOR = 'jason';

/** How long counters may take until they agree: Envoy brings durations together once a second. */
const MOST_SECONDS_TO_AGREE = 5;

const isKept = flags.keep === undefined ? process.stdout.isTTY : flags.keep === '1';
const startedAt = performance.now();
const interrupted = new AbortController();
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => interrupted.abort());
endQuietly(() => interrupted.abort());

/** What all sidecars have counted so far, and what is wrong with it. */
interface Counted {
  pages: Sample[][];
  checks: Check[];
}

/** Waits until the counters agree with each other and with the applications. That they never do is an answer, too. */
async function counted(mesh: Mesh): Promise<Counted> {
  for (const end = Date.now() + MOST_SECONDS_TO_AGREE * 1000; ; await sleep(100)) {
    const pages = await mesh.samples();
    const checks = checksOf(pages.flat(), expectedEdges(mesh.withReport), [...mesh.applications.values()]);
    if (Date.now() > end || checks.every(({ problems }) => problems.length === 0)) return { pages, checks };
  }
}

/** Sends requests for some seconds; the map is of just these. */
async function measured(mesh: Mesh): Promise<{ map: ServiceMap; traffic: Traffic; checks: Check[] }> {
  const before = await counted(mesh);
  const start = performance.now();
  const over = new AbortController();
  setTimeout(() => over.abort(), flags.seconds * 1000).unref();
  const traffic = await sendRequests(mesh, over.signal);
  const seconds = (performance.now() - start) / 1000;
  const { pages, checks } = await counted(mesh);
  const grown = pages.flatMap((page, i) => increase(before.pages[i], page));
  return { map: mapOf(grown, seconds), traffic, checks };
}

/** Shows what a sidecar was told by who called it, from its access log, and compares it with the caller's own words. */
async function showPeer(mesh: Mesh, name: string): Promise<Check> {
  const sidecar = mesh.sidecar(name);
  const lines = () =>
    sidecar
      .log()
      .split('\n')
      .filter((line) => line.startsWith('{'));
  await sidecar.until('its access log has a line', () => lines().length > 0);
  const { downstream_id: id, downstream } = JSON.parse(lines()[0]);
  const struct = downstream?.value;
  print('', bold(`What ${name} was told by one who called it. From its sidecar's access log:`), '');
  print(indented(dim(id ?? '(no id)')), indented(JSON.stringify(struct ?? '(nothing)', null, 2)), '');
  const callers = WORKLOADS.filter((each) => nodeOf(each).id === id);
  const isSame = callers.some((each) => isDeepStrictEqual(nodeOf(each).metadata['istio.io/metadata'], struct));
  const problem = `${name} was told something else than its caller's node has: ${id}`;
  return { what: 'these metadata are, field by field, those of the caller’s node', problems: isSame ? [] : [problem] };
}

/** The memory of all processes, this one too, in MB. What Envoys share, the program itself, counts for each. */
function memory(mesh: Mesh): number {
  const pids = [process.pid, ...[...mesh.sidecars.values()].map(({ pid }) => pid)];
  const sizes = pids.map((pid) => memoryOf(pid).resident);
  return Math.round(sizes.reduce((sum, size) => sum + size, 0) / 1e6);
}

/** Leaves the mesh running, with traffic. */
async function keep(mesh: Mesh, page: LiveMap): Promise<void> {
  const port = await mesh.sidecar('bookinfo-gateway').port('outbound');
  const addresses = [...mesh.sidecars].map(([name, sidecar]) => [name, sidecar.adminAddress().trim()]);
  print(
    bold('Left running, with traffic, until you press Ctrl-C. To try:'),
    '    # who calls whom, live: open it in a browser',
    `    ${bold(page.url)}`,
    '    # the map of the next seconds',
    `    npx metadata-exchange map ${addresses.map(([, address]) => address).join(' ')}`,
    '    # a page, through the gateway',
    `    curl -s http://127.0.0.1:${port}/productpage`,
    '',
    indented(columns([[dim('sidecar'), dim('admin page')], ...addresses])),
    '',
  );
  await sendRequests(mesh, interrupted.signal);
}

async function demo(mesh: Mesh, page: LiveMap): Promise<void> {
  step(`the live map is at ${page.url}`);
  await sendFirst(mesh, VISITOR);
  step(`sending requests for ${flags.seconds} s: ${PAGES_PER_SECOND} pages a second, from outside through the gateway`);
  const { map, traffic, checks } = await measured(mesh);

  print('', bold('Who calls whom. From the Prometheus pages of the Envoys:'), '');
  print(indented(table(map, { head: dim, bad })), '');
  print(indented(dim('books-api-v1 has no sidecar: the control plane wrote on its endpoint who it is.')));
  const skipped = `${REPORT.name} is left out: it needs an address of its own, and this system has 127.0.0.1 only.`;
  const known = `${REPORT.name} has no sidecar: the control plane told whose the address ${REPORT.address} is.`;
  print(indented(dim(mesh.withReport ? known : skipped)));

  const peer = await showPeer(mesh, 'ratings-v1');
  const seen = [...mesh.applications.values()].flatMap(({ peerHeaders }) => [...peerHeaders]);
  const answers = { what: `${traffic.pages} pages were answered, each with 200`, problems: [...traffic.problems] };
  if (traffic.pages === 0) answers.problems.push('no page was answered');
  const all = [peer, ...checks, { what: 'no application has seen a peer header', problems: seen }, answers];
  showChecks(all);

  const problems = all.flatMap((check) => check.problems);
  if (failed('The map is not what it should be:', problems)) return;
  process.exitCode = 0;
  const seconds = Math.round((performance.now() - startedAt) / 1000);
  const size = `${mesh.sidecars.size} Envoys and the applications have ${memory(mesh)} MB in memory.`;
  print(`${good('Done')} in ${seconds} s. ${size}`, '');
  if (isKept) await keep(mesh, page);
  else print(dim('`make demo KEEP=1` leaves it running, `make demo PAIR=1` shows one exchange with its headers.'));
}

async function main(): Promise<void> {
  step(`starting Bookinfo: ${WORKLOADS.length + 1} stock Envoys, each beside a small application`);
  await using mesh = await Mesh.start();
  await using page = await LiveMap.start([...mesh.sidecars.values()].map((each) => each.adminAddress()));
  // Ctrl-C ends it at any time.
  if (!interrupted.signal.aborted) await Promise.race([demo(mesh, page), once(interrupted.signal, 'abort')]);
}

await main().catch((error) => {
  // At a terminal Ctrl-C goes to the Envoys, too: then it is no wonder that one of them has ended.
  if (!interrupted.signal.aborted) throw error;
});
// What was under way need not go on; 130 is how shells say that Ctrl-C came before the end.
if (interrupted.signal.aborted) process.exit(process.exitCode ?? 130);
