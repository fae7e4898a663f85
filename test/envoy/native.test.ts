// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { type Answer, App, type Headers, send } from '../../testkit/http.ts';
import { type Case, ID, METADATA, NODE, type Outcome, type Peer, type Told } from '../../testkit/native/case.ts';
import { GROUPS } from '../../testkit/native/cases.ts';
import { EVERYTHING, FIELDS } from '../../testkit/native/fields.ts';
import { struct } from '../../testkit/struct.ts';

/**
 * The tables “native and ours” of docs/migrate.md: what they say of this filter is what a real Envoy shows. A peer is
 * read as the page tells people to read it, from plain fields, and said in the native filter's words.
 */

const SIDE = 'wasm.envoy.wasm.metadata_exchange';
const WITHOUT_EFFECT = 'taken from the configuration, and without effect in this filter';
const PATHS = FIELDS.map(({ path }) => path).filter((path) => path !== 'LABELS.team');
const NATIVE_NAMES = Object.fromEntries(FIELDS.map(({ native, path }) => [path, native]));

/** An access log of one JSON line a request: each of these texts by its name. */
function log(fields: object): object {
  const type = 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog';
  return {
    name: 'log',
    typed_config: { '@type': type, log_format: { json_format: { path: '%REQ(:PATH)%', ...fields } } },
  };
}

/** The line that an Envoy logged of a request. */
async function logged(envoy: Envoy, path: string) {
  const line = () =>
    envoy
      .log()
      .split('\n')
      .find((each) => each.startsWith('{') && JSON.parse(each).path === path);
  await envoy.until(`${path} is logged`, () => line() !== undefined);
  return JSON.parse(line() as string);
}

/** What is logged of the peer of a side. */
function sideOf(side: string, paths: string[]): object {
  const plain = paths.map((path) => [path, `%FILTER_STATE(${SIDE}.${side}.${path}:PLAIN)%`]);
  return { struct: `%FILTER_STATE(${SIDE}.${side}:TYPED)%`, plain: Object.fromEntries(plain) };
}

/** The same in the native filter's words; `null` where nobody is known. */
function peerOf(side: { struct: unknown; plain: Record<string, string | null> }): Peer | null {
  if (side.struct === null) return null;
  const found: Peer = {};
  for (const [path, value] of Object.entries(side.plain)) {
    if (value === null) continue;
    // The type of a workload is the part before its name.
    if (path === 'OWNER') found.type = value.split('/').at(-2)?.slice(0, -1) ?? '';
    else found[NATIVE_NAMES[path] ?? path.replace('LABELS.', 'labels.')] = value;
  }
  return found;
}

/** Headers of the exchange in a message: baggage only if the sender did not put it there. */
function told(headers: Headers, sent: string[]): Told | null {
  const found: Told = {};
  const [metadata, id, baggage] = [METADATA, ID, 'baggage'].map((name) => headers.all(name));
  for (const copies of [metadata, id, baggage]) expect(copies.length).toBeLessThan(2);
  if (metadata.length) found.metadata = struct.read(Buffer.from(metadata[0], 'base64'));
  // Byte by byte what the native filter sends: keys in order, base64 with padding.
  if (metadata.length) expect(metadata[0]).toBe(struct.header(found.metadata as object));
  if (id.length) found.id = id[0];
  const before = sent.findIndex((each, i) => i % 2 === 0 && each === 'baggage');
  if (baggage.length && sent[before + 1] !== baggage[0]) found.baggage = baggage[0];
  return Object.keys(found).length ? found : null;
}

/** What this filter does in a case, on a real Envoy; and what its log says is without effect. */
async function run(each: Case): Promise<{ outcome: Outcome; warnings: string[] }> {
  const { config, direction, node = NODE, cluster, passthrough, request = [], before, response = [] } = each;
  const name = passthrough ? 'PassthroughCluster' : 'server';
  const filters = [config].flat().map((config: { additional_labels?: string[] }, i) => {
    const paths = [...PATHS, ...(config.additional_labels ?? []).map((label) => `LABELS.${label}`)];
    return { paths, filter: metadataExchange({ dialect: 'istio', publish_fields: paths, ...config }, `filter ${i}`) };
  });
  const { paths } = filters[0];
  await using app = await App.start(() => ({ headers: response }));
  const sides = { downstream: sideOf('downstream', paths), upstream: sideOf('upstream', paths) };
  const started = Envoy.start(
    proxy({
      node,
      listeners: [
        {
          name: 'listener',
          direction,
          filters: filters.map(({ filter }) => filter),
          routes: [{ match: { prefix: '/' }, route: { cluster: name } }],
          manager: { access_log: [log(sides)] },
        },
      ],
      clusters: { [name]: { port: app.port, metadata: { filter_metadata: { istio: cluster ?? {} } } } },
    }),
  );
  if (each.native.refused) {
    await expect(started).rejects.toThrow('is not a known field');
    return { outcome: { refused: true }, warnings: [] };
  }
  await using envoy = await started;
  const port = await envoy.port('listener');
  if (before) await send(port, { path: '/before', headers: before });
  const answer: Answer = await send(port, { path: '/case', headers: request });
  const { downstream, upstream } = await logged(envoy, '/case');
  const warnings = [...envoy.log().matchAll(new RegExp(`${WITHOUT_EFFECT}: (.*)`, 'g'))].map(([, names]) => names);
  return {
    outcome: {
      server: told(app.last.headers, request),
      client: told(answer.headers, response),
      downstream: peerOf(downstream),
      upstream: peerOf(upstream),
    },
    warnings: [...new Set(warnings)],
  };
}

/** An outcome with all that it does not name as not there. */
function whole({ server = null, client = null, downstream = null, upstream = null, refused }: Outcome): Outcome {
  return refused ? { refused } : { server, client, downstream, upstream };
}

describe.each(GROUPS)('$title', ({ cases }) => {
  test.each(cases)('$what', async (each) => {
    const { outcome, warnings } = await run(each);
    expect(outcome, each.ours ? 'as the page says' : 'as the native filter').toEqual(whole(each.ours ?? each.native));
    expect(warnings).toEqual(each.ours?.warning ? [each.ours.warning] : []);
    // What is the same is not to be called a difference.
    const isSeen = Boolean(each.native.does || each.ours?.warning);
    if (each.ours && !isSeen) expect(outcome).not.toEqual(whole(each.native));
  });
});

test('each of native’s fields has its place, in the Struct and as a plain field', async () => {
  await using app = await App.start();
  const cel = (text: string) => `%CEL(${text})%`;
  const fields = FIELDS.map(({ native, inStruct, path }) => [
    native,
    [
      cel(`filter_state['${SIDE}.downstream']${inStruct}`),
      cel(`filter_state['${SIDE}.downstream.${path}']`),
      `%FILTER_STATE(${SIDE}.downstream.${path}:PLAIN)%`,
    ],
  ]);
  const isThere = cel(`'${SIDE}.downstream' in filter_state`);
  const config = { dialect: 'istio', publish_fields: FIELDS.map(({ path }) => path) };
  await using envoy = await Envoy.start(
    proxy({
      listeners: [
        {
          name: 'listener',
          direction: 'INBOUND',
          filters: [metadataExchange(config)],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'app' } }],
          manager: { access_log: [log({ ...Object.fromEntries(fields), isThere })] },
        },
      ],
      clusters: { app: { port: app.port } },
    }),
  );
  const port = await envoy.port('listener');
  await send(port, { path: '/known', headers: [METADATA, struct.header(EVERYTHING), ID, 'peer'] });
  const known = await logged(envoy, '/known');
  for (const { native, shows, ours = shows } of FIELDS) expect(known[native], native).toEqual([ours, ours, ours]);
  expect(known.isThere).toBe('true');
  await send(port, { path: '/nobody' });
  const nobody = await logged(envoy, '/nobody');
  expect(nobody.isThere).toBe('false');
  for (const { native } of FIELDS) expect(nobody[native], native).toEqual([null, null, null]);
});
