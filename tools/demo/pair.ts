// SPDX-License-Identifier: Apache-2.0
import { statSync } from 'node:fs';
import http from 'node:http';
import { envoyBinary, MODULE } from '../../testkit/envoy/binary.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { shipped, shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { readFlags, toggle } from '../../testkit/flags.ts';
import { columns } from '../../testkit/tables.ts';
import { foundByAddress } from './by_address.ts';
import { bold, dim, endQuietly, failed, good, indented, print, short, step, verdict } from './screen.ts';

/**
 * `make demo PAIR=1`: the sidecar pair of envoy/sidecar-pair on free ports; real requests; and what each side learned.
 * What is printed is read back from the running proxies and compared with what they were configured to say: if anything
 * is missing the demo says so and fails.
 */
const { flags } = readFlags({
  call: 'tsx tools/demo/pair.ts',
  about: 'Two real Envoys tell each other who they are, and what each of them learned is shown.',
  flags: { keep: toggle('leaves the Envoys running until Ctrl-C') },
});

// The Envoys end with this process.
endQuietly(() => process.exit());

// biome-ignore lint/suspicious/noExplicitAny: JSON of the access log
type Json = any;

const problems: string[] = [];

/** `yes`, or `NO` and a reason to fail. */
function check(holds: boolean, problem: string): string {
  if (!holds) problems.push(problem);
  return verdict(holds);
}

interface Response {
  status: number;
  headers: [string, string][];
  body: string;
}

function get(port: number, path: string, headers: Record<string, string> = {}): Promise<Response> {
  return new Promise((resolve, reject) => {
    const request = http.get({ host: '127.0.0.1', port, path, headers, agent: false }, async (response) => {
      let body = '';
      for await (const chunk of response) body += chunk;
      const raw = response.rawHeaders;
      const pairs = raw.flatMap((name, i) => (i % 2 ? [] : [[name.toLowerCase(), raw[i + 1]] as [string, string]]));
      resolve({ status: response.statusCode ?? 0, headers: pairs, body });
    });
    request.on('error', reject);
  });
}

const isPeerHeader = ([name]: [string, string]) => name.startsWith('x-istio-peer-');

/** The access log line of a request. */
async function logged(envoy: Envoy, path: string): Promise<Json> {
  let line: string | undefined;
  await envoy.until(`the access log has ${path}`, () => {
    line = envoy
      .log()
      .split('\n')
      .find((each) => each.startsWith('{') && each.includes(`"${path}"`));
    return line !== undefined;
  });
  return JSON.parse(line as string);
}

/** Shows what one side learned, field by field, and compares it with what the other side is configured to say. */
function showPeer(title: string, peer: Json, expected: ReturnType<typeof shippedIdentity>): void {
  const knowsId = check(peer.id === expected.id, `${title}: its id`);
  print('', bold(title), `    id: ${peer.id ?? '(nothing)'}   ${knowsId}`, '');
  const same = (found: unknown, wanted: unknown) => sorted(found) === sorted(wanted);
  const fields = peer.metadata?.value ?? {};
  const rows = [[dim('field'), dim('value'), dim('dynamic metadata'), dim('filter state')]];
  for (const [name, wanted] of Object.entries(expected.metadata)) {
    const dynamic = check(same(peer.dynamic_metadata?.[name], wanted), `${title}: ${name} in dynamic metadata`);
    const state = check(same(fields[name], wanted), `${title}: ${name} in filter state`);
    rows.push([name, short(fields[name] ?? '(nothing)'), dynamic, state]);
  }
  print(indented(columns(rows)));
}

/** JSON with keys in order, for comparing. */
function sorted(json: unknown): string {
  return JSON.stringify(json, (_, value) =>
    value && typeof value === 'object' && !Array.isArray(value)
      ? Object.fromEntries(Object.entries(value).sort(([a], [b]) => (a < b ? -1 : 1)))
      : value,
  );
}

function showHeaders(title: string, headers: string[], problem: string): void {
  const peers = headers.filter((line) => line.includes('x-istio-peer-'));
  print('', `${bold(title)} ${dim('peer headers:')} ${peers.length ? check(false, problem) : good('none')}`);
  for (const line of headers) print(`    ${dim(short(line, 100))}`);
}

/** A shipped proxy that logs the whole of the dynamic metadata too, not only the fields that its file picks. */
function logging(side: 'downstream' | 'upstream', path: string, endpoints: Record<string, number>) {
  const config = shipped(path, endpoints);
  const manager = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
  const format = manager.access_log[0].typed_config.log_format.json_format;
  format[`${side}_peer`].dynamic_metadata = `%DYNAMIC_METADATA(envoy.wasm.metadata_exchange.${side})%`;
  return config;
}

step(`starting three Envoys: ${envoyBinary()}`);
await using app = await Envoy.start(shipped('envoy/sidecar-pair/app.yaml'), { name: 'app' });
const appPort = await app.port('app');
await using reviews = await Envoy.start(logging('downstream', 'envoy/sidecar-pair/reviews.yaml', { app: appPort }), {
  name: 'reviews',
});
const reviewsPort = await reviews.port('inbound');
await using productpage = await Envoy.start(
  logging('upstream', 'envoy/sidecar-pair/productpage.yaml', { reviews: reviewsPort }),
  { name: 'productpage' },
);
const port = await productpage.port('outbound');

print(
  '',
  `  curl  ──▶  ${bold('productpage’s sidecar')}  ──▶  ${bold('reviews’ sidecar')}  ──▶  application`,
  dim(
    `             Envoy, OUTBOUND, ${port}      Envoy, INBOUND, ${reviewsPort}   Envoy that shows what it saw, ${appPort}`,
  ),
  dim(`             both with build/metadata_exchange.wasm, ${(statSync(MODULE).size / 1024).toFixed(1)} KiB`),
  '',
);

step('sending requests through the pair');
const path = '/reviews/1';
const answer = await get(port, path);
print(`    GET ${path}  ${answer.status}`);
if (answer.status !== 200) problems.push(`the request was answered ${answer.status}`);

const atReviews = await logged(reviews, path);
const atProductpage = await logged(productpage, path);
showPeer(
  'reviews’ sidecar knows who called: productpage (downstream)',
  atReviews.downstream_peer,
  shippedIdentity('envoy/sidecar-pair/productpage.yaml'),
);
showPeer(
  'productpage’s sidecar knows who answered: reviews (upstream)',
  atProductpage.upstream_peer,
  shippedIdentity('envoy/sidecar-pair/reviews.yaml'),
);
showHeaders('What the application saw.', answer.body.trim().split('\n'), 'the application saw a peer header');
const clientSaw = answer.headers.map(([name, value]) => `${name}: ${value}`);
showHeaders('What the client saw.', clientSaw, 'the client saw a peer header');

print('', bold('On the wire: what reviews’ sidecar answers to who asks it without a sidecar'), '');
const asked = await get(reviewsPort, '/asked', { 'x-istio-peer-metadata': '', 'x-istio-peer-id': 'somebody' });
const withId = await get(reviewsPort, '/with-id', { 'x-istio-peer-id': 'somebody' });
const silent = await get(reviewsPort, '/silent');
const lines = (response: Response) => response.headers.filter(isPeerHeader).map(([name, value]) => `${name}: ${value}`);
const show = (what: string, response: Response, count: number) => {
  const found = lines(response);
  if (found.length !== count) problems.push(`${what}: ${found.length} headers came back`);
  print(
    `    ${what}`,
    ...(found.length ? found.map((line) => `      ${dim(short(line, 100))}`) : [dim('      (nothing)')]),
  );
};
show('both headers sent, both come back:', asked, 2);
show('an id alone is answered by an id alone:', withId, 1);
show('who says nothing is told nothing:', silent, 0);

// Only Linux has more addresses of the machine itself than 127.0.0.1.
if (process.platform === 'linux') {
  print('', bold('Peers that have no sidecar, and say nothing: known by their addresses'), '');
  const { addresses, client, server, server_identity } = await foundByAddress();
  const isClient = check(client === 'productpage-v1', 'the client is known by its address');
  const isServer = check(server === 'ratings-v1', 'the server is known by its address');
  const rows = [
    [dim('who'), dim('address'), dim('workload'), ''],
    ['client', addresses[0], client ?? '(nobody)', isClient],
    ['server', addresses[1], `${server ?? '(nobody)'}, ${server_identity}`, isServer],
  ];
  print(indented(columns(rows)));
  print('', dim('    A proxy asked a control plane who has these addresses: envoy/workload-discovery'));
}

print(
  '',
  dim('Metadata is what a peer says of itself. Do not authorise on it alone: proof is in the mTLS certificate.'),
  '',
);

if (failed('The exchange is not what it should be:', problems)) {
  // It has been said.
} else if (flags.keep) {
  print(
    bold('Left running, until you press Ctrl-C. To try:'),
    '    # through both sidecars',
    `    curl -s http://127.0.0.1:${port}/anything`,
    '    # to reviews’ sidecar, as a peer would',
    `    curl -si -H 'x-istio-peer-id: me' http://127.0.0.1:${reviewsPort}/anything`,
    '    # reviews’ admin page',
    `    curl -s http://${reviews.adminAddress()}/config_dump`,
    '',
  );
  let shown = reviews.log().length;
  const timer = setInterval(() => {
    const text = reviews.log();
    for (const line of text.slice(shown).split('\n')) {
      if (!line.startsWith('{')) continue;
      const { path, status, downstream_peer } = JSON.parse(line);
      const caller = downstream_peer.metadata?.value?.NAME ?? downstream_peer.id ?? 'nobody known';
      print(`    reviews’ sidecar: ${path} ${status}, called by ${bold(caller)}`);
    }
    shown = text.lastIndexOf('\n') + 1;
  }, 200);
  await new Promise<void>((resolve) => {
    process.once('SIGINT', resolve);
    process.once('SIGTERM', resolve);
  });
  clearInterval(timer);
} else {
  print(`${good('Done.')} All of it was read back from the proxies. \`make demo PAIR=1 KEEP=1\` leaves them running.`);
}
