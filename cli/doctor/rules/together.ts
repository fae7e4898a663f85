// SPDX-License-Identifier: Apache-2.0
import { field, type Json, text } from '../json.ts';
import { endpointsOf, type HttpChain, managersOf, ownExchange, type ProxyModel } from '../model.ts';
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
      const { hasPeers, waits } = COUNTED[wire];
      // Ten servers whose clients are elsewhere are in order, as their counters say.
      if (own.length === 0 || all.length < 2 || all.some(hasPeers)) return [];
      const exchanges = all.flatMap((each) => exchangesOn(wire, each));
      // Where nobody does either, `switched-off-by-lists` says so.
      if (tellServers(exchanges) === readClients(exchanges)) return [];
      const side = tellServers(exchanges) ? NOBODY_READS : NOBODY_TELLS;
      const what = `${side.what}${wire === 'TCP' ? ' over TCP' : ''}: ${whyOf(wire, proxy, side)}.`;
      const where = places(own.map(({ listener }) => listener));
      const [pair] = all.flatMap((client) =>
        all.flatMap((server) => (leadsTo(client, server) ? [{ client, server }] : [])),
      );
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
  what: 'None of these proxies reads who its clients are',
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
  byDirection(wire, proxy).length > 0 ? `it must be ${direction}` : `the lists need ${list}`;

/** Whether a cluster's endpoint is another proxy's listener. A wildcard address could be anybody's. */
function leadsTo(client: ProxyModel, server: ProxyModel): boolean {
  const listens = server.listeners.map(({ config }) => addressOf(config));
  const endpoints = client.clusters.flatMap(endpointsOf).map((each) => addressOf(field(each, 'endpoint')));
  return client !== server && endpoints.some((each) => each !== undefined && listens.includes(each));
}

function addressOf(json: Json): string | undefined {
  const address = text(json, 'address', 'socket_address', 'address');
  const port = text(json, 'address', 'socket_address', 'port_value');
  return port && port !== '0' ? `${address}:${port}` : undefined;
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

/** The header names under which a proxy's listeners do something. */
function headersOf(proxy: ProxyModel, what: 'downstream_discovery' | 'upstream_propagation'): string[] {
  const chains = managersOf(proxy).filter(({ http }: HttpChain) =>
    ownExchange(http)?.exchange?.lists[what].some(({ name }) => name === 'istio_headers'),
  );
  return [...new Set(chains.flatMap(({ http }) => ownExchange(http)?.exchange?.headers ?? []))];
}
