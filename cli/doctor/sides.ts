// SPDX-License-Identifier: Apache-2.0
import type { Exchange } from './exchange.ts';
import { connectionsOf, exchangesOf, type Listener, managersOf, ownExchange, type ProxyModel } from './model.ts';

/** Who tells servers who it is, and who learns who clients are: on HTTP, and on connections. */

export type Wire = 'HTTP' | 'TCP';

const known = new WeakMap<ProxyModel, Record<Wire, Exchange[]>>();

/** All filters of ours on one of the two, wherever they stand. Each of many proxies is compared with each other. */
export function exchangesOn(wire: Wire, proxy: ProxyModel): Exchange[] {
  const exchanges = known.get(proxy) ?? {
    HTTP: exchangesOf(proxy),
    TCP: connectionsOf(proxy).map(({ exchange }) => exchange),
  };
  known.set(proxy, exchanges);
  return exchanges[wire];
}

/** Those in chains of listeners, with their listeners. */
export function listenersOn(wire: Wire, proxy: ProxyModel): { listener: Listener; exchange: Exchange }[] {
  if (wire === 'TCP') return connectionsOf(proxy);
  return managersOf(proxy).flatMap(({ listener, http }) => {
    const exchange = ownExchange(http)?.exchange;
    return exchange ? [{ listener, exchange }] : [];
  });
}

export const tellServers = (all: Exchange[]) => all.some(({ lists }) => lists.upstream_propagation.length > 0);

export const readClients = (all: Exchange[]) => all.some(({ lists }) => lists.downstream_discovery.length > 0);
