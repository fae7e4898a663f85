// SPDX-License-Identifier: Apache-2.0
import { has } from '../exchange.ts';
import { field, type Json, text } from '../json.ts';
import { endpointsOf, managersOf, ownExchange, type ProxyModel } from '../model.ts';
import { error, type Finding, note, places, type Rule, some, warning } from '../rule.ts';
import { exchangesOn, listenersOn, readClients, tellServers, type Wire } from '../sides.ts';
import { moduleStat } from '../stats.ts';
import { noPreface } from './connections.ts';
import { nothingArrives, peersSeen } from './traffic.ts';

/** What no proxy shows by itself: it takes two that are examined together. */

/** What the counters of a running proxy say of its peers. */
const COUNTED: Record<Wire, { hasPeers(proxy: ProxyModel): boolean; waits: Rule }> = {
  HTTP: { hasPeers: (proxy) => peersSeen(proxy) > 0, waits: nothingArrives },
  TCP: { hasPeers: (proxy) => moduleStat(proxy, 'preface_found') > 0, waits: noPreface },
};

export const oneSideOnly: Rule = {
  id: 'one-side-only',
  check(proxy, others) {
    return (['HTTP', 'TCP'] as const).flatMap((wire) => {
      const own = listenersOn(wire, proxy);
      const all = [proxy, ...others].filter((each) => exchangesOn(wire, each).length > 0);
      if (own.length === 0 || all.length < 2) return [];
      const exchanges = all.flatMap((each) => exchangesOn(wire, each));
      // Where nobody does either, `switched-off-by-lists` says so.
      if (tellServers(exchanges) === readClients(exchanges)) return [];
      const { hasPeers, waits } = COUNTED[wire];
      // Ten servers whose clients are elsewhere are in order, as their counters say.
      if (all.some(hasPeers)) return [];
      const side = tellServers(exchanges) ? NOBODY_READS : NOBODY_TELLS;
      const what = `${side.what}${wire === 'TCP' ? ' over TCP' : ''}: ${whyOf(wire, proxy, side)}.`;
      const where = places(own.map(({ listener }) => listener));
      const pair = pairAmong(all);
      if (pair) {
        const { client, server } = pair;
        const wrong = side === NOBODY_TELLS ? client : server;
        const todo = `A cluster of ${client.source.name} leads to ${server.source.name}. At ${wrong.source.name} ${mendOf(wire, wrong, side)}.`;
        return [warning(where, what, todo)];
      }
      const todo = `${side.before} ${mendOf(wire, proxy, side)}. ${side.otherwise}`;
      const isFelt = all.some((each) => waits.check(each, []).length > 0);
      return [(isFelt ? warning : note)(where, what, todo)];
    });
  },
};

const NOBODY_TELLS = {
  what: 'None of these proxies tells servers who it is',
  list: 'upstream_propagation',
  before: 'Before a client',
  direction: 'OUTBOUND',
  otherwise: "If all of these stand before servers, ask about the client's proxy too.",
};

const NOBODY_READS = {
  what: 'None of these proxies learns who its clients are',
  list: 'downstream_discovery',
  before: 'Before a server',
  direction: 'INBOUND',
  otherwise: "If all of these stand before clients, ask about the server's proxy too.",
};

type Missing = typeof NOBODY_TELLS;

/** The listeners that do not do it because of their direction; the others have lists. */
const byDirection = (wire: Wire, proxy: ProxyModel) =>
  listenersOn(wire, proxy).flatMap(({ listener, exchange }) => (exchange.hasLists ? [] : [listener]));

function whyOf(wire: Wire, proxy: ProxyModel, { list }: Missing): string {
  const why = byDirection(wire, proxy).map(({ where, direction }) => `${where} is ${direction}`);
  return why.length > 0 ? some(why) : `the lists here have no ${list}`;
}

const mendOf = (wire: Wire, proxy: ProxyModel, { list, direction }: Missing) =>
  byDirection(wire, proxy).length > 0 ? `the listener must be ${direction}` : `the lists need ${list}`;

/**
 * Two of them of which one has the other's address among its endpoints. An address where several listen, as all sidecars
 * do at the same one, is on different machines, and a wildcard address could be anybody's.
 */
function pairAmong(all: ProxyModel[]): { client: ProxyModel; server: ProxyModel } | undefined {
  const servers = new Map<string, ProxyModel | undefined>();
  for (const each of all) {
    for (const address of new Set(each.listeners.map(({ config }) => addressOf(config)))) {
      servers.set(address, servers.has(address) ? undefined : each);
    }
  }
  // A port that Envoy chooses is nobody's address.
  servers.delete('');
  for (const client of all) {
    for (const endpoint of client.clusters.flatMap(endpointsOf)) {
      const server = servers.get(addressOf(field(endpoint, 'endpoint')));
      if (server && server !== client) return { client, server };
    }
  }
  return undefined;
}

/** An address with its port; empty for a port that Envoy chooses. */
function addressOf(json: Json): string {
  const address = text(json, 'address', 'socket_address', 'address');
  const port = text(json, 'address', 'socket_address', 'port_value');
  return port && port !== '0' ? `${address}:${port}` : '';
}

export const otherHeaders: Rule = {
  id: 'other-headers',
  check(proxy, others) {
    const all = [proxy, ...others];
    const findings: Finding[] = [];
    const readers = unheardBy(proxy, all);
    if (readers.length > 0) {
      const told = headersOf(proxy, 'upstream_propagation').join(' and ');
      const heard = new Set(readers.flatMap((each) => headersOf(each, 'downstream_discovery')));
      const what = `It tells who it is in ${told}; ${namesOf(readers)} ${readers.length > 1 ? 'read' : 'reads'} ${[...heard].join(' and ')}.`;
      findings.push(error('', what, TODO));
    }
    const tellers = others.filter((each) => unheardBy(each, all).includes(proxy));
    if (tellers.length > 0) {
      const read = headersOf(proxy, 'downstream_discovery').join(' and ');
      const told = new Set(tellers.flatMap((each) => headersOf(each, 'upstream_propagation')));
      const what = `It reads who clients are in ${read}; ${namesOf(tellers)} ${tellers.length > 1 ? 'tell' : 'tells'} it in ${[...told].join(' and ')}.`;
      findings.push(error('', what, TODO));
    }
    return findings;
  },
};

const namesOf = (proxies: ProxyModel[]) => some(proxies.map(({ source }) => source.name));

const TODO = 'Give both sides the same `dialect` and `headers`.';

/** The proxies that read clients under other names than this one tells, if no other proxy reads those. */
function unheardBy(teller: ProxyModel, all: ProxyModel[]): ProxyModel[] {
  const told = headersOf(teller, 'upstream_propagation');
  const readers = all.filter((each) => each !== teller && headersOf(each, 'downstream_discovery').length > 0);
  const isHeard = readers.some((each) => headersOf(each, 'downstream_discovery').some((name) => told.includes(name)));
  return told.length === 0 || isHeard ? [] : readers;
}

type Names = Record<'downstream_discovery' | 'upstream_propagation', string[]>;

const known = new WeakMap<ProxyModel, Names>();

/** The header names under which a proxy's listeners do something. Each of many proxies is compared with each other. */
function headersOf(proxy: ProxyModel, what: keyof Names): string[] {
  const names = known.get(proxy) ?? {
    downstream_discovery: namesIn(proxy, 'downstream_discovery'),
    upstream_propagation: namesIn(proxy, 'upstream_propagation'),
  };
  known.set(proxy, names);
  return names[what];
}

function namesIn(proxy: ProxyModel, what: keyof Names): string[] {
  const own = managersOf(proxy).flatMap(({ http }) => ownExchange(http)?.exchange ?? []);
  const speaking = own.filter(({ lists }) => has(lists[what], 'istio_headers'));
  return [...new Set(speaking.flatMap(({ headers }) => headers))];
}
