// SPDX-License-Identifier: Apache-2.0

import {
  type Case,
  ID,
  METADATA,
  NODE,
  type Outcome,
  OWN,
  type Peer,
  SOURCES,
  type Told,
} from '../testkit/native/case.ts';
import { GROUPS } from '../testkit/native/cases.ts';
import { FIELDS } from '../testkit/native/fields.ts';
import { struct } from '../testkit/struct.ts';
import { markdown } from '../testkit/tables.ts';
import { generate } from './generated.ts';

/** Makes the tables “native and ours” of docs/migrate.md from the cases, or checks them: see generated.ts. */

const code = (text: string) => `\`${text}\``;
const json = (value: object) => code(JSON.stringify(value));
const isEqual = (one: object, other: object) => JSON.stringify(one) === JSON.stringify(other);

/** Headers that somebody sent. */
function sent(headers: string[]): string {
  const short: Record<string, string> = { [METADATA]: 'metadata', [ID]: 'id' };
  const parts = [];
  for (let i = 0; i < headers.length; i += 2) {
    const [name, value] = [short[headers[i]] ?? headers[i], headers[i + 1]];
    parts.push(value === '' ? `an empty ${name}` : `${name} ${readable(headers[i], value)}`);
  }
  return parts.join(', ');
}

/** The value of a header; a Struct as JSON. The one of Istio's wire is too long for a table. */
function readable(name: string, value: string): string {
  if (value.length > 500) return 'as Istio sends it';
  // The base64 of a Struct begins with C, and nothing else that the cases send does.
  if (name !== METADATA || !value.startsWith('C')) return code(value);
  return json(struct.read(Buffer.from(value, 'base64')));
}

/** What a message does not have, as far as a configuration is about it. */
function nothing({ config }: Case): string {
  const kinds = { istio_headers: 'no peer headers', baggage: 'no baggage of ours' };
  const about = Object.entries(kinds).filter(([method]) => JSON.stringify(config).includes(method));
  return about.map(([, text]) => text).join(', ') || kinds.istio_headers;
}

/** What a message has of the exchange. */
function told(whom: string, said: Told | null, each: Case): string {
  if (said === null) return `${whom} gets ${nothing(each)}`;
  if (isEqual(said, OWN)) return `${whom} gets our metadata and id`;
  const { metadata, id, baggage } = said;
  const parts = [
    ...(metadata ? [`metadata ${json(metadata)}`] : []),
    ...(id === undefined ? [] : [id === NODE.id ? 'our id' : `id ${code(id)}`]),
    ...(baggage === undefined ? [] : [baggage === '' ? 'an empty baggage' : `baggage ${code(baggage)}`]),
  ];
  return `${whom} gets ${parts.join(', ')}`;
}

function known(whom: string, peer: Peer | null): string {
  if (peer === null) return `${whom} is unknown`;
  const fields = Object.entries(peer).map(([name, value]) => `${name}=${value}`);
  return fields.length ? `${whom} is ${code(fields.join(' '))}` : `${whom} is a peer without any field`;
}

function shown({ server, client, downstream, upstream, refused }: Outcome, each: Case): string[] {
  return [
    ...(server === undefined ? [] : [told('server', server, each)]),
    ...(client === undefined ? [] : [told('client', client, each)]),
    ...(downstream === undefined ? [] : [known('client', downstream)]),
    ...(upstream === undefined ? [] : [known('server', upstream)]),
    ...(refused ? ['refused'] : []),
  ];
}

/** What is configured and sent. */
function input({ what, config, node, cluster, passthrough, request, before, response }: Case): string {
  return [
    `**${what}**`,
    [config].flat().map(json).join(', then '),
    ...(cluster ? [`cluster: ${json({ istio: cluster })}`] : []),
    ...(passthrough ? ['cluster: `PassthroughCluster`'] : []),
    ...(node && JSON.stringify(node).length < 300 ? [`node: ${json(withoutId(node))}`] : []),
    ...(before ? [`an earlier request: ${sent(before)}`] : []),
    ...(request ? [`request: ${sent(request)}`] : []),
    ...(response ? [`response: ${sent(response)}`] : []),
  ].join('<br>');
}

function withoutId({ id, ...more }: { id?: string }): object {
  return more;
}

function row(each: Case): string[] {
  const { native, source, ours } = each;
  const theirs = [...shown(native, each), ...(native.does ? [native.does] : []), `*${code(source)}*`];
  const here = ours ? ['**differs:**', ...shown(ours, each), `(${ours.why})`] : ['the same'];
  return [input(each), theirs.join('<br>'), here.join('<br>')];
}

const link = (path: string, commit: string) =>
  `[${path}](https://github.com/envoyproxy/envoy/blob/${commit}/contrib/istio/filters/${path})`;

const tables = GROUPS.map(({ title, cases }) => {
  const head = ['configured and sent', 'native filter', 'this filter'];
  return `### ${title}\n\n${markdown([head, ...cases.map(row)])}`;
});
const all = GROUPS.flatMap(({ cases }) => cases);
const count = `Of ${all.length} cases ${all.filter(({ ours }) => !ours).length} are the same.`;
const read = [
  ['files under contrib/istio/filters', 'read at the commit of envoyproxy/envoy'],
  ...Object.entries(SOURCES).map(([path, commit]) => [link(path, commit), code(commit.slice(0, 12))]),
];

const fields = FIELDS.map(({ native, inStruct, path, ours, note }) => {
  const whole = ours ? `, whole: ${code(ours)}` : '';
  return [code(native) + (note ? `, ${note}` : ''), code(inStruct) + whole, code(path)];
});
const absent = ["`'wasm.envoy.wasm.metadata_exchange.downstream' in filter_state` is false", 'the same'];

const SOURCE = 'testkit/native';
generate(
  'docs/migrate.md',
  'native and ours',
  SOURCE,
  [count, ...tables, '### What was read', markdown(read)].join('\n\n'),
);
generate(
  'docs/migrate.md',
  'names',
  SOURCE,
  markdown([
    ['native filter', 'the Struct’s field', 'path in `publish_fields`'],
    ...fields,
    [code('peer_not_found'), ...absent],
  ]),
);
