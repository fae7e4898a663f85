// SPDX-License-Identifier: Apache-2.0
import { Host } from '../../testkit/host/host.ts';
import { node } from '../../testkit/host/node.ts';
import type { HeaderPair } from '../../testkit/host/stream.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { preface, readPreface } from '../../testkit/preface.ts';
import { struct } from '../../testkit/struct.ts';
import { ask, urlOf } from '../ask.ts';
import { bytesOfHeader } from '../header/base64.ts';
import { readStruct } from '../header/struct.ts';
import { type Filter, filtersIn } from '../plugin/find.ts';
import type { Saying, Told } from './snapshot.ts';

/**
 * What a sidecar says of itself to others. Its admin page has its node and its filter's configuration; the module
 * itself, run on these, says what it writes: its fields, their order, and what does not fit.
 */

// biome-ignore lint/suspicious/noExplicitAny: Envoy's JSON
type Json = any;

const MOST_MILLISECONDS = 4_000;

const DIRECTIONS = { INBOUND: 1, OUTBOUND: 2 } as const;
type Direction = keyof typeof DIRECTIONS;

/** What a client's proxy asks before it sends a preface. */
const ENDPOINT_PREFACE = 'xds.upstream_host_metadata.filter_metadata.envoy.wasm.metadata_exchange.preface';

/** Names that the headers may have: the usual ones, and Istio's. */
const METADATA_NAMES = [METADATA, 'x-envoy-peer-metadata'];
const ID_NAMES = [ID, 'x-envoy-peer-metadata-id'];

/** Asks an Envoy. Throws if it does not answer. */
export async function toldBy(address: string): Promise<Told> {
  const url = new URL(urlOf(address));
  url.pathname = '/config_dump';
  url.search = '';
  const dump = JSON.parse(await ask(url, { milliseconds: MOST_MILLISECONDS }));
  return { address, at: Date.now(), ...readDump(dump) };
}

/** What a configuration dump says of it. */
export function readDump(dump: Json): Omit<Told, 'address' | 'at'> {
  const configs: Json[] = dump?.configs ?? [];
  const of = (type: string) => configs.filter((each) => String(each['@type']).endsWith(`.${type}`));
  const own = of('BootstrapConfigDump')[0]?.bootstrap?.node ?? {};
  const later = new Map(
    of('EcdsConfigDump')
      .flatMap(({ ecds_filters = [] }) => ecds_filters)
      .map(({ ecds_filter }: Json) => [ecds_filter?.name, ecds_filter]),
  );
  const listeners = of('ListenersConfigDump').flatMap(({ static_listeners = [], dynamic_listeners = [] }) => [
    ...static_listeners.map((each: Json) => each.listener),
    ...dynamic_listeners.map((each: Json) => each.active_state?.listener),
  ]);
  const sayings = new Map<string, Saying>();
  for (const listener of listeners) {
    const direction = listener?.traffic_direction;
    if (direction !== 'INBOUND' && direction !== 'OUTBOUND') continue;
    for (const filter of [...filtersIn(listener), ...filtersIn(referredBy(listener, later))]) {
      // In a mesh many listeners have the same.
      const key = JSON.stringify([direction, filter.isNetwork, filter.bytes.toString('base64')]);
      if (filter.isOurs && !sayings.has(key)) sayings.set(key, sayingOf(own, filter, direction));
    }
  }
  const nothing = 'None of its listeners that look inbound or outbound has this project’s filter.';
  return { nodeId: String(own.id ?? ''), sayings: [...sayings.values()], problem: sayings.size > 0 ? null : nothing };
}

/** Filters that a listener names, and that come by themselves: ECDS. */
function referredBy(listener: Json, later: Map<string, Json>): Json[] {
  const text = JSON.stringify(listener);
  return [...later].filter(([name]) => text.includes(JSON.stringify(name))).map(([, filter]) => filter);
}

/** What the module writes: to a request or a connection, before a client, or to what answers it, before a server. */
function sayingOf(own: Json, filter: Filter, direction: Direction): Saying {
  const { id, cluster, metadata, locality } = own;
  const side = Buffer.alloc(8);
  side[0] = DIRECTIONS[direction];
  const host = new Host({ 'xds.node': node({ id, cluster, metadata, locality }), 'xds.listener_direction': side });
  const root = host.configure(filter.bytes);
  const isOutbound = direction === 'OUTBOUND';
  const where = filter.isNetwork ? (['answers', 'connections'] as const) : (['responses', 'requests'] as const);
  const saying: Saying = { in: where[Number(isOutbound)], header: null, fields: [], others: [], warnings: [] };
  if (root !== undefined && filter.isNetwork) Object.assign(saying, connectionSaying(host, root, isOutbound));
  else if (root !== undefined) Object.assign(saying, headerSaying(host, root, isOutbound, filter));
  return { ...saying, warnings: host.complaints() };
}

type Said = Pick<Saying, 'header' | 'fields' | 'others'>;

function headerSaying(host: Host, root: number, isOutbound: boolean, filter: Filter): Said {
  const stream = host.stream(root);
  // A server answers those who have told something themselves.
  if (isOutbound) stream.onRequest();
  else stream.onRequest(...asClient(filter)).onResponse();
  const said: Said = { header: null, fields: [], others: [] };
  for (const [name, value] of isOutbound ? stream.request : stream.response) {
    const content = contentOf(value);
    if (!content) {
      said.others.push([name, value]);
      continue;
    }
    said.header = { name, size: value.length };
    said.fields = [...fieldsOf(content)];
  }
  return said;
}

/** To an endpoint that reads prefaces; and to a client that sent one. */
function connectionSaying(host: Host, root: number, isOutbound: boolean): Said {
  const connection = host
    .connection(root)
    .with({ [ENDPOINT_PREFACE]: Buffer.from([1]) })
    .begin();
  const byte = Buffer.from('x');
  if (isOutbound) connection.fromClient(byte);
  else
    connection
      .fromClient(Buffer.concat([preface({ metadata: { NAME: 'client' }, id: 'client' }), byte]))
      .fromServer(byte);
  const written = isOutbound ? connection.toServer : connection.toClient;
  const found = readPreface(written);
  if (!found) return { header: null, fields: [], others: [] };
  const { said, rest } = found;
  return {
    header: { name: 'TCP preface', size: written.length - rest.length },
    fields: [...fieldsOf(said.metadata ?? {})],
    others: said.id === undefined ? [] : [['x-envoy-peer-metadata-id', said.id]],
  };
}

/** The headers of a client, under all names that this configuration may know. */
function asClient({ text = '' }: Filter): HeaderPair[] {
  let named: { metadata?: string; id?: string } = {};
  try {
    named = JSON.parse(text).headers ?? {};
  } catch {
    // No JSON, or a Struct: the usual names.
  }
  const header = struct.header({ NAME: 'client' });
  return [
    ...[...METADATA_NAMES, ...(named.metadata ? [named.metadata] : [])].map((name): HeaderPair => [name, header]),
    ...[...ID_NAMES, ...(named.id ? [named.id] : [])].map((name): HeaderPair => [name, 'client']),
  ];
}

function contentOf(header: string): Record<string, unknown> | undefined {
  try {
    return readStruct(bytesOfHeader(header));
  } catch {
    return undefined;
  }
}

/** Each value by the keys that lead to it. */
function* fieldsOf(value: unknown, path: string[] = []): Generator<[string[], string]> {
  if (value === null || typeof value !== 'object') {
    yield [path, typeof value === 'string' ? value : JSON.stringify(value)];
    return;
  }
  const entries = Object.entries(value);
  if (entries.length === 0) yield [path, Array.isArray(value) ? '[]' : '{}'];
  for (const [key, each] of entries) yield* fieldsOf(each, [...path, key]);
}
