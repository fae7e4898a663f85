// SPDX-License-Identifier: Apache-2.0
import { type Case, exchange, type Given, inbound, MESH_TLS, NODE, outbound } from './given.ts';
import { asking } from './setting_cases.ts';

/** Cases about what a running Envoy counts. */

const SERVER = inbound([exchange()]);
const CLIENT = outbound([exchange()]);
const ASKING = asking();

/** The module runs, and requests of `http.main` came. */
const RUNS = { configurations: 3 };
const requests = (count: number) => ({ 'http.main.downstream_rq_total': count });

/** A counter that a healthy proxy has at 0. */
function counter(rule: string, name: string, config = SERVER, severity: Case['severity'] = 'warning'): Case {
  const given = (value: number): Given => ({ config, stats: { ...RUNS, ...OF_DISCOVERY, [name]: value } });
  return { rule, severity, broken: given(3), healthy: given(0) };
}

/** A control plane that tells of workloads, which are found. */
const OF_DISCOVERY = { discovery_connected: 1, discovery_workloads: 5, discovery_found: 100 };

const REFUSALS = ['base64', 'protobuf', 'utf8', 'control', 'no_json_form', 'nesting', 'id', 'baggage'];

export const COUNTED_CASES: Case[] = [
  {
    rule: 'not-loaded',
    severity: 'error',
    broken: { config: SERVER, stats: {} },
    healthy: { config: SERVER, stats: RUNS },
  },
  {
    rule: 'refused-by-envoy',
    severity: 'warning',
    broken: { config: SERVER, stats: { ...RUNS, 'listener_manager.lds.update_rejected': 1 } },
    healthy: { config: SERVER, stats: { ...RUNS, 'listener_manager.lds.update_rejected': 0 } },
  },
  {
    rule: 'nothing-sent',
    severity: 'error',
    broken: { config: CLIENT, stats: { ...RUNS, ...requests(7) } },
    healthy: {
      config: CLIENT,
      stats: { ...RUNS, ...requests(7), headers_sent: 14, own_header_bytes: 9, peers_received: 7 },
    },
  },
  {
    rule: 'nothing-arrives',
    severity: 'warning',
    broken: { config: SERVER, stats: { ...RUNS, ...requests(7) } },
    healthy: { config: SERVER, stats: { ...RUNS, ...requests(7), peers_received: 1 } },
  },
  {
    rule: 'nothing-arrives',
    severity: 'warning',
    broken: { config: CLIENT, stats: { ...RUNS, ...requests(7), headers_sent: 14, own_header_bytes: 9 } },
    healthy: { config: CLIENT, stats: { ...RUNS } },
  },
  {
    rule: 'one-side-only',
    severity: 'warning',
    broken: { config: SERVER, beside: SERVER, stats: { ...RUNS, ...requests(7) } },
    healthy: { config: SERVER, beside: CLIENT, stats: RUNS },
  },
  // Servers whose clients are elsewhere: the counters say that they are known.
  {
    rule: 'one-side-only',
    severity: 'note',
    broken: { config: SERVER, beside: SERVER, stats: RUNS },
    healthy: { config: SERVER, beside: SERVER, stats: { ...RUNS, ...requests(7), peers_received: 7 } },
  },
  {
    rule: 'some-unknown',
    severity: 'note',
    broken: { config: SERVER, stats: { ...RUNS, ...requests(100), peers_received: 60 } },
    healthy: { config: SERVER, stats: { ...RUNS, ...requests(100), peers_received: 95 } },
  },
  ...REFUSALS.map((cause) => counter('refused', `refused_${cause}`)),
  counter('oversize', 'oversize'),
  counter('streams-unserved', 'streams_unserved'),
  {
    rule: 'cache-small',
    severity: 'note',
    broken: { config: SERVER, stats: { ...RUNS, peers_received: 900, cache_hits: 400, cache_evictions: 300 } },
    healthy: { config: SERVER, stats: { ...RUNS, peers_received: 900, cache_hits: 880, cache_evictions: 10 } },
  },
  counter('unverified', 'unverified', inbound([exchange({ verify_peer: { mode: 'mark' } })], { tls: MESH_TLS })),
  counter('mismatches', 'mismatches', inbound([exchange({ verify_peer: { mode: 'mark' } })], { tls: MESH_TLS })),
  counter('unnamed-traffic', 'traffic_unnamed'),
  counter('own-metadata-cut', 'own_fields_left_out'),
  {
    rule: 'no-own-metadata',
    severity: 'warning',
    broken: {
      config: outbound([exchange()], { node: { ...NODE, metadata: undefined } }),
      stats: { ...RUNS, headers_sent: 4 },
    },
    healthy: { config: CLIENT, stats: { ...RUNS, headers_sent: 4, own_header_bytes: 90 } },
  },
  {
    rule: 'vm-failed',
    severity: 'warning',
    broken: { config: SERVER, stats: { ...RUNS, 'wasm.metadata_exchange.vm_reload_success': 2 } },
    healthy: { config: SERVER, stats: { ...RUNS, 'wasm.another.vm_reload_success': 2 } },
  },
  {
    rule: 'discovery-disconnected',
    severity: 'error',
    broken: { config: ASKING, stats: { ...RUNS, ...OF_DISCOVERY, discovery_connected: 0, discovery_age: 900 } },
    healthy: { config: ASKING, stats: { ...RUNS, ...OF_DISCOVERY } },
  },
  {
    rule: 'discovery-nobody',
    severity: 'error',
    broken: { config: ASKING, stats: { ...RUNS, discovery_connected: 1 } },
    healthy: { config: ASKING, stats: { ...RUNS, ...OF_DISCOVERY } },
  },
  {
    rule: 'discovery-unstable',
    severity: 'warning',
    broken: { config: ASKING, stats: { ...RUNS, ...OF_DISCOVERY, discovery_failures: 90 } },
    healthy: { config: ASKING, stats: { ...RUNS, ...OF_DISCOVERY, discovery_failures: 2 } },
  },
  counter('discovery-refused', 'discovery_refused', ASKING),
  counter('discovery-on-worker', 'discovery_on_worker', ASKING, 'note'),
  {
    rule: 'discovery-unknown',
    severity: 'warning',
    broken: { config: ASKING, stats: { ...RUNS, ...OF_DISCOVERY, discovery_found: 1, discovery_unknown: 900 } },
    healthy: { config: ASKING, stats: { ...RUNS, ...OF_DISCOVERY, discovery_unknown: 90 } },
  },
];
