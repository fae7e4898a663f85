// SPDX-License-Identifier: Apache-2.0
import { isOurs } from '../plugin/find.ts';
import { bridgeOf, type Sides } from './bridge.ts';
import { type Direction, type Exchange, exchangeOf, isNativeExchange, type Place } from './exchange.ts';
import { entries, field, type Json, list, messageOf, text, texts, typeOf } from './json.ts';
import { isSwitchedOn } from './routes.ts';
import type { Source } from './source.ts';

/** One model of an Envoy for all rules: its listeners, their chains, their filters in order, and its clusters. */

export interface Filter {
  name: string;
  /** The name of its configuration's message; empty if that has not arrived. */
  type: string;
  config: Json;
  /** Where it stands, for the eye. */
  where: string;
  /** Its place in the chain, from 0. */
  index: number;
  /** `disabled: true`, and no route switches it on. */
  isOff: boolean;
  /** Its configuration is to come from a control plane, and has not. */
  isAwaited: boolean;
  exchange?: Exchange;
  isNativeExchange: boolean;
  /** It is the Lua bridge, for these sides. */
  bridge?: Sides;
  /** Something else that Istio's agent put in our filter's place. */
  isStandIn: boolean;
}

/** The HTTP connection manager of a chain. */
export interface Manager {
  config: Json;
  statPrefix: string;
  filters: Filter[];
  /** Those of the router: behind it, for all clusters that have none of their own. */
  upstreamFilters: Filter[];
  routes: Json;
}

export interface Chain {
  where: string;
  config: Json;
  /** Filters on bytes, the connection manager too. */
  networkFilters: Filter[];
  /** Of a chain that speaks HTTP. */
  http?: Manager;
  /** The DownstreamTlsContext, if there is one. */
  tls?: Json;
}

export interface Listener {
  name: string;
  where: string;
  config: Json;
  direction: Direction;
  chains: Chain[];
}

export interface Cluster {
  name: string;
  where: string;
  config: Json;
  /** It is outside of the mesh, by its metadata or its name. */
  isExternal: boolean;
  /** It is only marked as one that peers' headers are not for, `disable_mx`. */
  isOnlyWithoutExchange: boolean;
  filters: Filter[];
  /** Of an aggregate: the clusters that it chooses from. */
  members: string[];
  /** The UpstreamTlsContext, if there is one. */
  tls?: Json;
}

export interface ProxyModel {
  source: Source;
  node: Json;
  /** sidecar, router or waypoint, if the node's id says so. */
  role: string;
  listeners: Listener[];
  clusters: Cluster[];
  /** Bootstrap services of our module. */
  services: Exchange[];
  /** The tags that the bootstrap takes out of metrics' names. */
  statsTags: string[];
}

const MANAGER = 'envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager';
const ROUTER = 'envoy.extensions.filters.http.router.v3.Router';

export function proxyOf(source: Source): ProxyModel {
  const { bootstrap } = source;
  const node = field(bootstrap, 'node');
  const builder = new Builder(source, node);
  const services = list(bootstrap, 'bootstrap_extensions').flatMap((each) => {
    const where = `bootstrap service ${text(each, 'name')}`;
    return exchangeOf(field(each, 'typed_config'), where, 'service', undefined, node) ?? [];
  });
  return {
    source,
    node,
    role: /^(sidecar|router|waypoint)~/.exec(text(node, 'id'))?.[1] ?? '',
    listeners: source.listeners.map((each) => builder.listener(each)),
    clusters: source.clusters.map((each) => builder.cluster(each)),
    services,
    statsTags: list(bootstrap, 'stats_config', 'stats_tags').map((each) => text(each, 'tag_name')),
  };
}

class Builder {
  constructor(
    private readonly source: Source,
    private readonly node: Json,
  ) {}

  listener(json: Json): Listener {
    const name = text(json, 'name');
    const where = `listener ${name || '(without a name)'}`;
    const direction = directionOf(json);
    const own = list(json, 'filter_chains');
    const fallback = field(json, 'default_filter_chain');
    const all: Json[] = fallback ? [...own, fallback] : own;
    const chains = all.map((chain, i) => {
      const called = text(chain, 'name') || (chain === fallback ? 'the default one' : String(i + 1));
      return this.chain(chain, all.length > 1 ? `${where}, chain ${called}` : where, direction);
    });
    return { name, where, config: json, direction, chains };
  }

  cluster(json: Json): Cluster {
    const name = text(json, 'name');
    const where = `cluster ${name}`;
    const [, options] = entries(json, 'typed_extension_protocol_options').find(([, any]) =>
      typeOf(any).endsWith('.HttpProtocolOptions'),
    ) ?? ['', {}];
    const istio = field(json, 'metadata', 'filter_metadata', 'istio') ?? {};
    const isOutside = name === 'PassthroughCluster' || istio.external === true;
    return {
      name,
      where,
      config: json,
      isExternal: isOutside || istio.disable_mx === true,
      isOnlyWithoutExchange: !isOutside && istio.disable_mx === true,
      filters: this.filters(list(options, 'http_filters'), where, 'cluster', undefined),
      members: texts(json, 'cluster_type', 'typed_config', 'clusters'),
      tls: tlsOf(json, 'UpstreamTlsContext'),
    };
  }

  private chain(json: Json, where: string, direction: Direction): Chain {
    const networkFilters = this.filters(list(json, 'filters'), where, 'network', direction);
    const manager = networkFilters.find(({ type }) => type === MANAGER)?.config;
    return {
      where,
      config: json,
      networkFilters,
      http: manager && this.manager(manager, where, direction),
      tls: tlsOf(json, 'DownstreamTlsContext'),
    };
  }

  private manager(config: Json, where: string, direction: Direction): Manager {
    const name = text(config, 'rds', 'route_config_name');
    const routes =
      field(config, 'route_config') ?? this.source.routes.find((each) => text(each, 'name') === name) ?? {};
    const filters = this.filters(list(config, 'http_filters'), where, 'listener', direction).map((filter) => ({
      ...filter,
      isOff: filter.isOff && !isSwitchedOn(routes, filter.name),
    }));
    const upstream = list(filters.find(({ type }) => type === ROUTER)?.config, 'upstream_http_filters');
    return {
      config,
      statPrefix: text(config, 'stat_prefix'),
      filters,
      upstreamFilters: this.filters(upstream, `${where}, behind the router`, 'router', direction),
      routes,
    };
  }

  private filters(all: Json[], chain: string, place: Place, direction: Direction): Filter[] {
    return all.map((json, index) => {
      const name = text(json, 'name');
      const any = field(json, 'typed_config') ?? this.discovered(name, field(json, 'config_discovery'));
      const isAwaited = any === undefined && field(json, 'config_discovery') !== undefined;
      const where = `${chain}, filter ${name}`;
      const exchange = exchangeOf(any, where, place, direction, this.node);
      const type = typeOf(any);
      return {
        name,
        type,
        config: messageOf(any ?? {}),
        where,
        index,
        isOff: field(json, 'disabled') === true,
        isAwaited,
        exchange,
        isNativeExchange: isNativeExchange(any),
        bridge: type.endsWith('.lua.v3.Lua') ? bridgeOf(any) : undefined,
        isStandIn: isOurs(name) && field(json, 'config_discovery') !== undefined && STAND_INS.test(type),
      };
    });
  }

  /** What a control plane said of a filter that is found by its name, or what stands in for that. */
  private discovered(name: string, discovery: Json): Json {
    if (discovery === undefined) return undefined;
    const found = this.source.extensions.find((each) => text(each, 'name') === name);
    return field(found, 'typed_config') ?? field(discovery, 'default_config');
  }
}

/** What stands in for a module that could not be downloaded: Istio's agent writes the first, our resources the second. */
const STAND_INS = /\.(rbac\.v3\.RBAC|header_mutation\.v3\.HeaderMutation)$/;

function directionOf(json: Json): Direction {
  const direction = field(json, 'traffic_direction');
  if (direction === 'INBOUND' || direction === 1) return 'INBOUND';
  return direction === 'OUTBOUND' || direction === 2 ? 'OUTBOUND' : undefined;
}

/** A TLS context of a chain or a cluster, also one that istiod chooses by the endpoint. */
function tlsOf(json: Json, message: string): Json {
  const sockets = [json, ...list(json, 'transport_socket_matches')];
  const contexts = sockets.map((each) => field(each, 'transport_socket', 'typed_config'));
  return contexts.find((any) => typeOf(any).endsWith(message));
}

/** A cluster's endpoints, as far as its configuration has them. */
export const endpointsOf = ({ config }: Cluster): Json[] =>
  list(config, 'load_assignment', 'endpoints').flatMap((each) => list(each, 'lb_endpoints'));

/** All of our filters on HTTP, wherever they stand. */
export function exchangesOf(proxy: ProxyModel): Exchange[] {
  return filtersOf(proxy).flatMap(({ exchange }) => exchange ?? []);
}

/** A chain's filter of ours on connections, which stands before what ends the chain. */
const connectionExchange = ({ networkFilters }: Chain) => networkFilters.find(({ exchange }) => exchange);

export interface ConnectionChain {
  listener: Listener;
  chain: Chain;
  filter: Filter;
  exchange: Exchange;
}

/** All chains with our filter on connections. */
export function connectionsOf(proxy: ProxyModel): ConnectionChain[] {
  return proxy.listeners.flatMap((listener) =>
    listener.chains.flatMap((chain) => {
      const filter = connectionExchange(chain);
      return filter?.exchange ? [{ listener, chain, filter, exchange: filter.exchange }] : [];
    }),
  );
}

/** All of our filters, on HTTP and on connections. */
export const allExchangesOf = (proxy: ProxyModel) => [
  ...exchangesOf(proxy),
  ...connectionsOf(proxy).map(({ exchange }) => exchange),
];

/** All HTTP filters, wherever they stand. */
export function filtersOf(proxy: ProxyModel): Filter[] {
  const managers = managersOf(proxy).flatMap(({ http }) => [...http.filters, ...http.upstreamFilters]);
  return [...managers, ...proxy.clusters.flatMap(({ filters }) => filters)];
}

export interface HttpChain {
  listener: Listener;
  chain: Chain;
  http: Manager;
}

/** All chains that speak HTTP. */
export function managersOf(proxy: ProxyModel): HttpChain[] {
  return proxy.listeners.flatMap((listener) =>
    listener.chains.flatMap((chain) => (chain.http ? [{ listener, chain, http: chain.http }] : [])),
  );
}

/** Our filter in a manager's own chain, if it is on. */
export const ownExchange = (http: Manager) => http.filters.find(({ exchange, isOff }) => exchange && !isOff);

/** Our filters behind the router that a manager's requests may meet. */
export function behindRouter(proxy: ProxyModel, http: Manager): Exchange[] {
  const filters = [...http.upstreamFilters, ...proxy.clusters.flatMap((each) => each.filters)];
  return filters.flatMap(({ exchange, isOff }) => (exchange && !isOff ? [exchange] : []));
}
