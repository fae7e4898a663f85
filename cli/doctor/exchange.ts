// SPDX-License-Identifier: Apache-2.0
import { contentOf, type Found, isOurs, WASM } from '../plugin/find.ts';
import { entries, field, type Json, list, messageOf, text, typeOf } from './json.ts';

/** One configuration of our filter: what it was told, and what it does because of that. */

export type Direction = 'INBOUND' | 'OUTBOUND' | undefined;
export type Side = 'downstream' | 'upstream';

/** Where a filter stands: among a listener's, behind the router, in a cluster's own chain, or on bytes (TCP). */
export type Place = 'listener' | 'router' | 'cluster' | 'network' | 'service';

/** A method of one of the four lists. */
export interface Method {
  name: string;
  /** Whether clusters outside of the mesh are left out. */
  skipsExternal: boolean;
}

export interface Lists {
  downstream_discovery: Method[];
  upstream_discovery: Method[];
  downstream_propagation: Method[];
  upstream_propagation: Method[];
}

export interface Exchange {
  /** The name in its `config`: Envoy's statistics of its VM have it. */
  name: string;
  /** Where it stands, for the eye. */
  where: string;
  place: Place;
  direction: Direction;
  /** The plugin's configuration with names in snake_case; empty if nobody can read it. */
  settings: Json;
  /** What it does in fact, by its lists or else by the direction. */
  lists: Lists;
  /** Whether the configuration has any of the lists: then the direction plays no part. */
  hasLists: boolean;
  /** The header names that it uses. */
  headers: string[];
  /** FAIL_OPEN, FAIL_CLOSED, FAIL_RELOAD; undefined where Envoy's default counts. */
  failurePolicy: string | undefined;
  vmId: string;
  /** For the module itself, to say what it thinks of it. */
  found: Found;
}

const LISTS = [
  'downstream_discovery',
  'upstream_discovery',
  'downstream_propagation',
  'upstream_propagation',
] as const satisfies (keyof Lists)[];

const HEADERS: Method[] = [{ name: 'istio_headers', skipsExternal: false }];

const POLICIES = ['', 'FAIL_RELOAD', 'FAIL_CLOSED', 'FAIL_OPEN'];

/** Reads our filter out of an Envoy filter's configuration; undefined if it is another one's. */
export function exchangeOf(
  any: Json,
  where: string,
  place: Place,
  direction: Direction,
  node: Json,
): Exchange | undefined {
  const type = typeOf(any);
  const isService = type === 'envoy.extensions.wasm.v3.WasmService';
  if (!isService && !WASM.test(`/${type}`)) return undefined;
  const config = field(messageOf(any), 'config');
  const vm = field(config, 'vm_config');
  // Istio's old exchange was a Wasm filter by name, compiled into its proxy.
  if (isNull(any) || !isOurs(field(config, 'name'), field(config, 'root_id'), vm)) return undefined;
  const content = contentIn(config);
  const settings = settingsIn(content.text);
  const hasLists = LISTS.some((each) => Array.isArray(settings[each]));
  return {
    name: text(config, 'name'),
    where,
    place,
    direction,
    settings,
    hasLists,
    lists: listsOf(settings, hasLists, place, direction),
    headers: headersOf(settings),
    failurePolicy: policyOf(config),
    vmId: text(vm, 'vm_id'),
    found: { what: where, ...content, node: node && nodeFrom(node) },
  };
}

/** Whether it is a Wasm filter in name only. */
const isNull = (any: Json) => text(messageOf(any), 'config', 'vm_config', 'runtime').endsWith('.null');

/** Whether a filter is another exchange of the same kind: Istio's native one, new or old. */
export function isNativeExchange(any: Json): boolean {
  if (/peer_metadata/.test(typeOf(any))) return true;
  return isNull(any) && /metadata_exchange/.test(JSON.stringify(any));
}

/** What the native filter calls its headers, and ours in Istio's dialect. */
export const NATIVE_HEADERS = ['x-envoy-peer-metadata', 'x-envoy-peer-metadata-id'];

/** What the module is told of a node, whatever stands in the file. */
function nodeFrom(node: Json): Json {
  const metadata = field(node, 'metadata');
  const locality = Object.fromEntries(['region', 'zone'].map((key) => [key, text(node, 'locality', key)]));
  return {
    id: text(node, 'id'),
    cluster: text(node, 'cluster'),
    metadata: entries(node, 'metadata').length > 0 ? metadata : undefined,
    locality,
  };
}

function contentIn(config: Json): { bytes: Buffer; text?: string } {
  try {
    return contentOf(field(config, 'configuration'));
  } catch {
    // Of a type that the module cannot read: it will say so.
    return { bytes: Buffer.from('?'), text: '?' };
  }
}

function settingsIn(source: string | undefined): Json {
  try {
    const json = JSON.parse(source || '{}');
    return json !== null && typeof json === 'object' ? inSnakeCase(json) : {};
  } catch {
    return {};
  }
}

/** The module takes both spellings. Labels have names of their own. */
function inSnakeCase(json: Json): Json {
  if (Array.isArray(json)) return json.map(inSnakeCase);
  if (json === null || typeof json !== 'object') return json;
  const renamed = Object.entries(json).map(([key, value]) => [
    key.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`),
    key === 'labels' ? value : inSnakeCase(value),
  ]);
  return Object.fromEntries(renamed);
}

function policyOf(config: Json): string | undefined {
  const policy = field(config, 'failure_policy');
  const name = typeof policy === 'number' ? POLICIES[policy] : text(config, 'failure_policy');
  if (name && name !== 'UNSPECIFIED') return name;
  // The field that failure_policy took the place of.
  return field(config, 'fail_open') === true ? 'FAIL_OPEN' : undefined;
}

function headersOf(settings: Json): string[] {
  const [metadata, id] = settings.dialect === 'istio' ? NATIVE_HEADERS : ['x-istio-peer-metadata', 'x-istio-peer-id'];
  const named = [text(settings, 'headers', 'metadata') || metadata, text(settings, 'headers', 'id') || id];
  return named.map((name) => name.toLowerCase());
}

function listsOf(settings: Json, hasLists: boolean, place: Place, direction: Direction): Lists {
  if (place === 'service') return { ...NO_LISTS };
  if (hasLists) {
    const methods = (name: string) => list(settings, name).map(methodOf).filter(doesSomething);
    return Object.fromEntries(LISTS.map((name) => [name, methods(name)])) as unknown as Lists;
  }
  // A cluster's chain serves whichever listener a request came by: mostly one before a client.
  const looks = place === 'cluster' ? 'OUTBOUND' : direction;
  const server = looks === 'OUTBOUND' ? [] : HEADERS;
  const client = looks === 'INBOUND' ? [] : HEADERS;
  return {
    downstream_discovery: server,
    downstream_propagation: server,
    upstream_discovery: client,
    upstream_propagation: client,
  };
}

const NO_LISTS: Lists = {
  downstream_discovery: [],
  upstream_discovery: [],
  downstream_propagation: [],
  upstream_propagation: [],
};

function methodOf(json: Json): Method {
  const [[name, options] = ['', {}]] = Object.entries((json ?? {}) as object);
  return { name, skipsExternal: options?.skip_external_clusters === true };
}

/** Methods of Istio's native filter are taken that a Wasm filter cannot do. */
const doesSomething = ({ name }: Method) => name !== '' && name !== 'upstream_filter_state';

/** Whether a list has a method by which peers speak for themselves. */
export const hearsClaims = (methods: Method[]) =>
  methods.some(({ name }) => name === 'istio_headers' || name === 'baggage');

/** Whether a list has this method. */
export const has = (methods: Method[], name: string) => methods.some((each) => each.name === name);

/** Whether an exchange looks addresses up in what a control plane says. */
export function usesDiscovery({ lists, settings }: Exchange): boolean {
  const methods = [...lists.downstream_discovery, ...lists.upstream_discovery];
  return has(methods, 'workload_discovery') || Boolean(settings.workload_discovery);
}
