// SPDX-License-Identifier: Apache-2.0
import { proxy } from '../testkit/envoy/config.ts';
import { Envoy } from '../testkit/envoy/process.ts';
import { toEnvoyCore } from './cpu.ts';
import * as peers from './sized_peer.ts';

/**
 * A server behind the Envoys that are measured, for what a filter asks about its cluster and its endpoint. It is an
 * Envoy of its own that answers by itself: its time is not that of the worker that is measured. It takes turns with it
 * on one core. On the load's core it would hand its answers over in pieces of many sizes, and the same filter differed
 * from itself by 20 % instead of 3 to 6 %.
 */

/** Pairs of names under which the headers of the exchange go: ours, and those of Istio's dialect. */
export const NAMES = [
  ['x-istio-peer-metadata', 'x-istio-peer-id'],
  ['x-envoy-peer-metadata', 'x-envoy-peer-metadata-id'],
];

/** Where a server without a filter answers, and one that is in the exchange, under all names. */
export const PATHS = { silent: '/silent', known: '/known' };

const LISTENER = 'server';
const direct = (path: string, more: object = {}) => ({ match: { path }, direct_response: { status: 200 }, ...more });
const adds = (key: string, value: string) => ({ header: { key, value } });

/** A cluster of one server, as istiod describes them: what they are called stands in their metadata. */
export function clusterOf(port: number): { port: number } {
  const workload = 'reviews-v1;default;reviews;v1;client-cluster';
  const services = [{ host: 'reviews.default.svc.cluster.local', name: 'reviews', namespace: 'default' }];
  const address = { socket_address: { address: '127.0.0.1', port_value: port } };
  const endpoint = { endpoint: { address }, metadata: { filter_metadata: { istio: { workload } } } };
  const more = {
    http2: true,
    metadata: { filter_metadata: { istio: { default_original_port: 9080, services } } },
    load_assignment: { cluster_name: LISTENER, endpoints: [{ lb_endpoints: [endpoint] }] },
  };
  return { port, ...more };
}

/** Starts the server. Its port: `port(server)`. */
export async function startServer(): Promise<Envoy> {
  const told = NAMES.flatMap(([metadata, id]) => [adds(metadata, peers.header(600)), adds(id, peers.ID)]);
  const routes = [direct(PATHS.silent), direct(PATHS.known, { response_headers_to_add: told })];
  const manager = { access_log: [], http2_protocol_options: { max_concurrent_streams: 10_000 } };
  const config = proxy({ listeners: [{ name: LISTENER, filters: [], routes, manager }] });
  const envoy = await Envoy.start(config, { name: LISTENER });
  toEnvoyCore(envoy.pid);
  return envoy;
}

/** Where it listens. */
export const portOf = (server: Envoy) => server.port(LISTENER);
