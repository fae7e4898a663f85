// SPDX-License-Identifier: Apache-2.0
import { WASM } from '../plugin/find.ts';
import type { Side } from './exchange.ts';
import { field, type Json, strings, text } from './json.ts';
import { behindRouter, type Chain, type Filter, type Manager, ownExchange, type ProxyModel } from './model.ts';

/** Who uses what the exchange learned: filters, logs, routes and spans that name a peer's key. */

/** When somebody reads: while a request or a response passes, as a route is matched, or at the end. */
export type Phase = 'request' | 'response' | 'route' | 'end';

export interface Reading {
  where: string;
  side: Side;
  /** `wasm.` stands before the key of filter state, and not before that of dynamic metadata. */
  hasPrefix: boolean;
  /** The rest of the key: empty for the Struct, `_id`, `_verified`, or a dot and a plain field. */
  rest: string;
  phase: Phase | undefined;
  filter?: Filter;
  /** The text that has the key. */
  source: string;
}

const KEY = /(wasm\.)?envoy\.wasm\.metadata_exchange\.(downstream|upstream)([\w./-]*)/g;

/** Filters that read while the request passes, whatever their fields are called. */
const OF_REQUESTS = /\.(rbac|ext_authz|ratelimit|local_ratelimit|jwt_authn|set_metadata|set_filter_state|composite)\./;

/** All that a connection manager has who reads a peer. */
export function readingsOf(http: Manager, where: string): Reading[] {
  const filters = http.filters.filter(({ exchange, bridge, type }) => !exchange && !bridge && !WASM.test(`/${type}`));
  return [
    ...filters.flatMap(ofFilter),
    ...readingsIn(field(http.config, 'access_log'), `${where}, access log`, () => 'end'),
    ...readingsIn(field(http.config, 'tracing'), `${where}, tracing`, () => 'end'),
    ...readingsIn(http.routes, `${where}, routes`, (_, path) => (path.includes('match') ? 'route' : 'end')),
  ];
}

function ofFilter(filter: Filter): Reading[] {
  const { type, where, config } = filter;
  const found = type.endsWith('.lua.v3.Lua')
    ? ofScript(config, where)
    : readingsIn(config, where, (side, path) => phaseOf(type, side, path));
  return found.map((reading) => ({ ...reading, filter }));
}

function phaseOf(type: string, side: Side, path: string[]): Phase | undefined {
  if (OF_REQUESTS.test(type)) return 'request';
  for (const key of path) {
    const [, named] = /^(request|response)_/.exec(key) ?? [];
    if (named) return named as Phase;
  }
  // An external processor is asked about both: who was learned on the way is what it is asked for.
  if (/\.ext_proc\./.test(type)) return side === 'downstream' ? 'request' : 'response';
  return undefined;
}

/** A script's two functions run at different times. */
function ofScript(config: Json, where: string): Reading[] {
  const script = text(config, 'default_source_code', 'inline_string') || text(config, 'inline_code');
  const parts = script.split(/(?=function\s+envoy_on_(?:request|response)\b)/);
  return parts.flatMap((part) => {
    const phase = /^function\s+envoy_on_(request|response)/.exec(part)?.[1] as Phase | undefined;
    return readingsIn(part, where, () => phase);
  });
}

function readingsIn(json: Json, where: string, phase: (side: Side, path: string[]) => Phase | undefined): Reading[] {
  return [...strings(json)].flatMap(([source, path]) =>
    Array.from(source.matchAll(KEY), ([, prefix, side, rest]) => ({
      where,
      side: side as Side,
      hasPrefix: prefix !== undefined,
      rest,
      phase: phase(side as Side, path),
      source,
    })),
  );
}

/** Where in a chain each side is learned: the filter's place; that behind the router is the chain's length. */
export function learnedIn(proxy: ProxyModel, http: Manager): Partial<Record<Side, number>> {
  const learned: Partial<Record<Side, number>> = {};
  if (behindRouter(proxy, http).some(({ lists }) => lists.upstream_discovery.length > 0)) {
    learned.upstream = http.filters.length;
  }
  const own = ownExchange(http);
  if (own?.exchange?.lists.downstream_discovery.length) learned.downstream = own.index;
  if (own?.exchange?.lists.upstream_discovery.length) learned.upstream ??= own.index;
  return learned;
}

/**
 * The place of the bridge that works for a side: requests pass the chain downwards, so the client's stands below the
 * exchange, and the server's above it. The one next to the exchange counts.
 */
export function bridgeFor(side: Side, http: Manager, exchange: number): number | undefined {
  const fitting = http.filters.filter(
    ({ bridge, isOff, index }) =>
      bridge && !isOff && (bridge === 'both' || bridge === side) && index < exchange === (side === 'upstream'),
  );
  return (side === 'downstream' ? fitting[0] : fitting.at(-1))?.index;
}

/** The peer of a connection, under names of its own. */
const OF_CONNECTION = /wasm\.envoy\.wasm\.metadata_exchange\.connection\.(?:downstream|upstream)([\w./-]*)/g;

export interface ConnectionReading {
  filter: Filter;
  /** What follows the side in the key: a plain field begins with a dot. */
  rest: string;
}

/** What a chain's filters on bytes read of the connection's peer. */
export function connectionReadings({ networkFilters }: Chain): ConnectionReading[] {
  return networkFilters
    .filter(({ exchange }) => !exchange)
    .flatMap((filter) =>
      [...strings(filter.config)].flatMap(([source]) =>
        Array.from(source.matchAll(OF_CONNECTION), ([, rest]) => ({ filter, rest })),
      ),
    );
}
