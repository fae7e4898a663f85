// SPDX-License-Identifier: Apache-2.0
import type { Side } from '../exchange.ts';
import { connectionsOf, type Manager, managersOf, type ProxyModel } from '../model.ts';
import { bridgeFor, connectionReadings, learnedIn, type Reading, readingsOf } from '../readings.ts';
import { error, type Finding, places, type Rule, warning } from '../rule.ts';

/** The order of the exchange, its bridge to dynamic metadata, and those who use what it learns. */

const NAMES = { downstream: 'client', upstream: 'server' } as const;
const SIDES: Side[] = ['downstream', 'upstream'];
const SEE = 'docs/consume.md has a picture.';

export const bridgeOnWrongSide: Rule = {
  id: 'bridge-on-wrong-side',
  check: (proxy) => managersOf(proxy).flatMap(({ http }) => wrongBridge(proxy, http) ?? []),
};

/** What is wrong with the bridges of a chain. */
function wrongBridge(proxy: ProxyModel, http: Manager): Finding | undefined {
  const bridges = http.filters.filter(({ bridge, isOff }) => bridge && !isOff);
  const learned = learnedIn(proxy, http);
  const sides = SIDES.filter((side) => learned[side] !== undefined);
  if (bridges.length === 0) return undefined;
  if (sides.length === 0) {
    const what = 'The bridge has nothing to pass on: no filter of this chain learns who is on the other side.';
    return warning(bridges[0].where, what, 'Put the exchange into the chain, or remove the bridge.');
  }
  if (sides.some((side) => bridgeFor(side, http, learned[side] as number) !== undefined)) return undefined;
  const [side] = sides;
  const place = side === 'downstream' ? 'after' : 'before';
  const passing = side === 'downstream' ? 'requests' : 'responses';
  const what = `The bridge is on the wrong side: ${passing} pass it before the exchange has read who the ${NAMES[side]} is.`;
  const todo = `Put the bridge ${place} the exchange, or the same file on both sides; without metadata_exchange_side, if that names the other side. ${SEE}`;
  return error(places(bridges), what, todo);
}

export const noBridge: Rule = {
  id: 'no-bridge',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http, chain }) => {
      const learned = learnedIn(proxy, http);
      const readings = readingsOf(http, chain.where).filter(
        ({ hasPrefix, source }) => !hasPrefix && !isPlainKey(source),
      );
      return SIDES.flatMap((side) => {
        const exchange = learned[side];
        const readers = readings.filter((each) => each.side === side);
        if (exchange === undefined || readers.length === 0) return [];
        if (bridgeFor(side, http, exchange) !== undefined) return [];
        // Where there is a bridge and none is of use, that is said already.
        if (wrongBridge(proxy, http)) return [];
        const place = side === 'downstream' ? 'after' : 'before';
        const what = `The ${NAMES[side]} is looked for in dynamic metadata, and nothing writes it there: a Wasm filter cannot.`;
        const todo = `Put the bridge, envoy/dynamic_metadata.lua, ${place} the exchange; or read filter state, whose key begins with \`wasm.\`.`;
        return [error(places(readers), what, todo)];
      });
    });
  },
};

/** A key of filter state without its prefix, which is another mistake: `wrong-key`. */
export const isPlainKey = (source: string) =>
  /(FILTER_STATE\(|filter_state\[["'])envoy\.wasm\.metadata_exchange/.test(source);

export const readsTooEarly: Rule = {
  id: 'reads-too-early',
  check: (proxy) => [...requestsTooEarly(proxy), ...connectionsTooEarly(proxy)],
};

/** The same of rules on connections, which Envoy asks in the order of the chain. */
function connectionsTooEarly(proxy: ProxyModel): Finding[] {
  return connectionsOf(proxy).flatMap(({ chain, filter }) => {
    const early = connectionReadings(chain).filter((each) => each.filter.index < filter.index);
    return [...new Set(early.map((each) => each.filter))].map(({ where }) => {
      const what =
        'It asks who the client of the connection is before the exchange has read it: it stands before the exchange.';
      return error(where, what, 'Move it after the exchange: docs/tcp.md#use-what-was-learned.');
    });
  });
}

function requestsTooEarly(proxy: ProxyModel): Finding[] {
  return managersOf(proxy).flatMap(({ http, chain }) => {
    const learned = learnedIn(proxy, http);
    const findings = readingsOf(http, chain.where).flatMap((reading): Finding[] => {
      const exchange = learned[reading.side];
      const { filter } = reading;
      if (!filter || exchange === undefined || filter.isOff) return [];
      const bridge = reading.hasPrefix ? undefined : bridgeFor(reading.side, http, exchange);
      const wrong = wrongPlace(reading, filter.index, exchange, bridge);
      return wrong ? [error(filter.where, ...wrong)] : [];
    });
    return findings.filter(({ where }, i) => findings.findIndex((each) => each.where === where) === i);
  });
}

function wrongPlace(
  { side, phase }: Reading,
  at: number,
  exchange: number,
  bridge: number | undefined,
): [what: string, todo: string] | undefined {
  if (side === 'downstream' && phase === 'request') {
    if (at < exchange) {
      return [
        'It asks who the client is before the exchange has read it: it stands before the exchange.',
        `Move it after the exchange${bridge === undefined ? '' : ' and its bridge'}. ${SEE}`,
      ];
    }
    if (bridge !== undefined && at < bridge) {
      return [
        'It asks dynamic metadata who the client is before the bridge has written it: it stands between the two.',
        `Move it after the bridge. ${SEE}`,
      ];
    }
  }
  if (side === 'upstream' && phase === 'request') {
    return [
      'It asks for the server while the request passes: nobody has answered yet.',
      `Ask when the response passes. ${SEE}`,
    ];
  }
  if (side === 'upstream' && phase === 'response') {
    const last = bridge ?? exchange;
    if (at > last) {
      const whom = bridge === undefined ? 'exchange has read it' : 'bridge has written it';
      return [
        `It asks who the server is before the ${whom}: responses pass the chain upwards.`,
        `Move it before the ${bridge === undefined ? 'exchange' : 'bridge'} in the list of filters. ${SEE}`,
      ];
    }
  }
  return undefined;
}

export const routeTooEarly: Rule = {
  id: 'route-too-early',
  check(proxy) {
    return managersOf(proxy).flatMap(({ http, chain }) => {
      const exchange = learnedIn(proxy, http).downstream;
      const byMetadata = readingsOf(http, chain.where).filter(
        ({ phase, hasPrefix, side }) => phase === 'route' && !hasPrefix && side === 'downstream',
      );
      if (exchange === undefined || byMetadata.length === 0) return [];
      const bridge = bridgeFor('downstream', http, exchange);
      if (bridge === undefined) return [];
      const choosesAgain = http.filters
        .slice(bridge + 1)
        .some(({ config }) => CHOOSES_AGAIN.test(JSON.stringify(config)));
      if (choosesAgain) return [];
      const what = 'A route asks dynamic metadata for the client, and is chosen before the bridge has written it.';
      const todo =
        'Put a filter after the bridge that clears the route cache: envoy/consumers/headers-and-routes has one. Or match on filter state.';
      return [error(byMetadata[0].where, what, todo)];
    });
  },
};

/** Filters that have the route chosen again, in code or by their configuration. */
export const CHOOSES_AGAIN = /clearRouteCache|clear_?route_?cache"?:\s*true|"CLEAR"/i;
