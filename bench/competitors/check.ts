// SPDX-License-Identifier: Apache-2.0
import { type Learned, learned } from '../../testkit/access_log.ts';
import { lua, probe, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { number, readFlags } from '../../testkit/flags.ts';
import { App, type Headers, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { buildCompetitors, type Competitor } from './build.ts';
import { competitorFilter, type Direction } from './filter.ts';

/**
 * Whether a competitor does the job, on a real Envoy: only who does is measured. As a program it checks all of them:
 * `tsx bench/competitors/check.ts [NAME...]`.
 */

const OWN = { id: 'own-node', metadata: { LABELS: { app: 'own-app' }, NAME: 'own' } };

/** What a pod says of itself, more or less: another one for each number. */
const peer = (n: number) => ({
  NAME: `productpage-${n}`,
  NAMESPACE: 'default',
  LABELS: { app: 'productpage', 'service.istio.io/canonical-name': `productpage-${n}` },
  PROXY_CONFIG: { concurrency: 2, holdApplicationUntilProxyStarts: true },
  POD_PORTS: [{ containerPort: 9080, protocol: 'TCP' }],
});
const peerId = (n: number) => `sidecar~10.0.0.1~productpage-${n}.default~default.svc.cluster.local`;

/** What the peer with a number sends, and what must be learned of it. */
interface Case {
  what: string;
  headers(n: number): Record<string, string>;
  metadata?: (n: number) => object;
  id?: (n: number) => string;
}

const both = (n: number, metadata = struct.header(peer(n))) => ({ [METADATA]: metadata, [ID]: peerId(n) });
const honest: Case = { what: 'both headers', headers: both, metadata: peer, id: peerId };
const CASES: Case[] = [
  honest,
  { what: 'an id alone', headers: (n) => ({ [ID]: peerId(n) }), id: peerId },
  { what: 'metadata alone', headers: (n) => ({ [METADATA]: struct.header(peer(n)) }), metadata: peer },
  { what: 'neither header', headers: () => ({}) },
  {
    what: 'unpadded base64',
    headers: (n) => both(n, struct.header(peer(n)).replace(/=+$/, '')),
    metadata: peer,
    id: peerId,
  },
  { what: 'no base64', headers: (n) => both(n, '!~*'), id: peerId },
  {
    what: 'a Struct that breaks off',
    headers: (n) => both(n, struct.write(peer(n)).subarray(0, -20).toString('base64')),
    id: peerId,
  },
];

interface Step {
  path: string;
  /** The peer's number: every fourth request is from one that was there before. */
  n: number;
  case: Case;
}

/** All cases in turn, then honest peers and one case in fifty requests. */
function planOf(requests: number): Step[] {
  return Array.from({ length: requests }, (_, i) => {
    const isHonest = i >= CASES.length * 4 && i % 50 > 0;
    const each = isHonest ? honest : CASES[Math.floor(i / (i < CASES.length * 4 ? 4 : 50)) % CASES.length];
    return { path: `/${i}`, n: i % 4 === 3 ? i - 3 : i, case: each };
  });
}

/** Throws if a competitor does not do the job, in either direction. */
export async function checkCompetitor(competitor: Competitor, requests = 200): Promise<void> {
  for (const direction of ['INBOUND', 'OUTBOUND'] as const) {
    const plan = planOf(requests);
    await using app = await App.start((seen) => {
      const step = plan[Number(seen.path.slice(1))];
      return { headers: flat(direction === 'OUTBOUND' ? step.case.headers(step.n) : forged()) };
    });
    const filter = competitorFilter(competitor, direction, OWN);
    const probing = competitor.lua ? idProbe : probe;
    const config = proxy({
      node: { id: OWN.id, metadata: { 'istio.io/metadata': OWN.metadata } },
      listeners: [{ name: 'listener', direction, filters: [probing('responses'), filter, probing('requests')] }],
      clusters: { app: { port: app.port } },
    });
    await using envoy = await Envoy.start(config, { name: `${competitor.label}, ${direction}` });
    try {
      await checkTraffic(envoy, app, direction, plan);
      await checkLearned(envoy, competitor, direction, plan);
    } catch (error) {
      // What the filter itself said, without the access log.
      const log = envoy
        .log()
        .replaceAll(/^\{.*\n/gm, '')
        .slice(-2000);
      throw new Error(`${envoy.name}: ${(error as Error).message}\n${log}`);
    }
  }
}

/** Shows, where `probe` shows the bytes of a Struct in filter state, the id that is in dynamic metadata. */
function idProbe(name: string): object {
  const show = (side: string) => `
    local metadata = handle:streamInfo():dynamicMetadata()
    local known = metadata:get("envoy.wasm.metadata_exchange.${side}_id")
    if known then metadata:set("probe", "${side}", handle:base64Escape(known.id)) end`;
  return lua(name, {
    inline_string: `function envoy_on_request(handle) ${show('downstream')} end
      function envoy_on_response(handle) ${show('upstream')} end`,
  });
}

/** What an application sends that wants to be taken for a proxy. */
const forged = () => both(1_000_000);
const flat = (headers: Record<string, string>) => Object.entries(headers).flat();

/** Sends the requests; looks at what the client and the application get. */
async function checkTraffic(envoy: Envoy, app: App, direction: Direction, plan: Step[]): Promise<void> {
  const port = await envoy.port('listener');
  for (const { path, n, case: each } of plan) {
    const headers = direction === 'INBOUND' ? each.headers(n) : forged();
    const answer = await send(port, { path, headers: flat(headers) });
    expectSame(`${path}: status`, answer.status, 200);
    const answered = direction === 'INBOUND' ? Object.keys(headers) : [];
    expectOwn(`${path}, ${each.what}: the client got`, answer.headers, answered);
    const told = direction === 'OUTBOUND' ? [METADATA, ID] : [];
    expectOwn(`${path}, ${each.what}: the application got`, app.last.headers, told);
  }
}

/** Expects the proxy's own values of these peer headers, and no other copies. */
function expectOwn(what: string, found: Headers, names: string[]): void {
  const metadata = found.all(METADATA).map((text) => struct.read(Buffer.from(text, 'base64')));
  expectSame(`${what} metadata`, metadata, names.includes(METADATA) ? [OWN.metadata] : []);
  expectSame(`${what} id`, found.all(ID), names.includes(ID) ? [OWN.id] : []);
}

/** Looks at what other filters learn of the peers, from the access log. Lua has dynamic metadata only. */
async function checkLearned(envoy: Envoy, competitor: Competitor, direction: Direction, plan: Step[]): Promise<void> {
  await envoy.until('all is logged', () => learned(envoy).length >= plan.length);
  const lines = new Map(learned(envoy).map((line) => [line.path, line]));
  const side = direction === 'INBOUND' ? 'downstream' : 'upstream';
  const other = direction === 'INBOUND' ? 'upstream' : 'downstream';
  for (const { path, n, case: each } of plan) {
    const line = lines.get(path) as Learned;
    const what = `${path}, ${each.what}: learned`;
    const raw = line[side].raw;
    if (competitor.lua) {
      expectSame(`${what} metadata`, line[side].dynamic, each.metadata?.(n));
      expectSame(`${what} id`, raw?.toString(), each.id?.(n));
      expectSame(`${what} of the other side`, [line[other].dynamic, line[other].raw], [undefined, undefined]);
      continue;
    }
    expectSame(`${what} metadata`, line[side].struct, each.metadata?.(n));
    expectSame(`${what} bytes`, raw && struct.read(raw), each.metadata?.(n));
    expectSame(`${what} id`, line[side].id, each.id?.(n));
    expectSame(`${what} of the other side`, [line[other].struct, line[other].id], [undefined, undefined]);
  }
}

function expectSame(what: string, found: unknown, expected: unknown): void {
  if (!same(found, expected)) {
    throw new Error(`${what} ${JSON.stringify(found)}, expected ${JSON.stringify(expected)}`);
  }
}

/** Whether two JSON values are the same, whatever the order of their keys. */
function same(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || typeof b !== 'object' || !a || !b) return a === b;
  const [left, right] = [a as Record<string, unknown>, b as Record<string, unknown>];
  const keys = Object.keys(left);
  return keys.length === Object.keys(right).length && keys.every((key) => same(left[key], right[key]));
}

if (process.argv[1] === import.meta.filename) {
  const { flags, words: names } = readFlags({
    call: 'tsx bench/competitors/check.ts',
    about: 'Builds the competitors, or some of them, and checks on a real Envoy that each does the job.',
    flags: { requests: number(200, 'how many requests in each direction') },
    words: '[NAME...]',
  });
  for (const competitor of await buildCompetitors(names.length > 0 ? names : undefined)) {
    if (competitor.missing) {
      console.log(`${competitor.label}: ${competitor.missing}`);
      process.exitCode = 1;
      continue;
    }
    await checkCompetitor(competitor, flags.requests);
    console.log(`${competitor.label}: does the job`);
  }
}
