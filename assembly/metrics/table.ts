// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii } from '../memory/ascii';

// Made by `make format` from assembly/metrics/metrics.json: change that.

/** Peers that were read, of metadata headers and of baggage, and may be passed on. */
export const PEERS_RECEIVED: u32 = 0;
/** Metadata headers that are not strict base64. */
export const REFUSED_BASE64: u32 = 1;
/** Metadata headers that are not a well-formed Struct. */
export const REFUSED_PROTOBUF: u32 = 2;
/** Metadata headers with a string or key that is not UTF-8. */
export const REFUSED_UTF8: u32 = 3;
/** Metadata headers with a control character (NUL, a line break, a tab) in a string or key. */
export const REFUSED_CONTROL: u32 = 4;
/** Metadata headers with a value that has no JSON form: no kind, NaN, an infinity. */
export const REFUSED_NO_JSON_FORM: u32 = 5;
/** Metadata headers nested deeper than Envoy's own parser goes. */
export const REFUSED_NESTING: u32 = 6;
/** Ids that are not UTF-8, or have control characters. */
export const REFUSED_ID: u32 = 7;
/** Baggage with members of several workloads, or with what no metadata may hold. */
export const REFUSED_BAGGAGE: u32 = 8;
/** Headers, and baggage, larger than `max_header_size`. */
export const OVERSIZE: u32 = 9;
/** Peers whose claims the certificate disproves: see `verify_peer`. */
export const MISMATCHES: u32 = 10;
/** Peers whose claims the certificate neither proves nor disproves: see `verify_peer`. */
export const UNVERIFIED: u32 = 11;
/** Metadata headers found in the cache of peers. */
export const CACHE_HITS: u32 = 12;
/** Metadata headers not found there. */
export const CACHE_MISSES: u32 = 13;
/** Entries of the cache that were pushed out by others. */
export const CACHE_EVICTIONS: u32 = 14;
/** Headers written: metadata, ids and baggage. */
export const HEADERS_SENT: u32 = 15;
/** Fields of the own metadata that did not fit into the header, for each VM and configuration. */
export const OWN_FIELDS_LEFT_OUT: u32 = 16;
/** Streams beyond the most that a VM serves: their peer headers are removed, and nothing is published. */
export const STREAMS_UNSERVED: u32 = 17;
/** Workloads that a control plane told of, new or changed. */
export const DISCOVERY_UPDATES: u32 = 18;
/** Workloads that are gone. */
export const DISCOVERY_REMOVALS: u32 = 19;
/** Resources of a control plane that could not be taken. */
export const DISCOVERY_REFUSED: u32 = 20;
/** Attempts to open a stream to a control plane that Envoy took. */
export const DISCOVERY_STREAMS: u32 = 21;
/** Of these, the second and every later one. */
export const DISCOVERY_RECONNECTS: u32 = 22;
/** Streams that ended, and attempts to open one that failed. */
export const DISCOVERY_FAILURES: u32 = 23;
/** Times that a worker took over the stream, since no VM was known to be on the main thread. */
export const DISCOVERY_ON_WORKER: u32 = 24;
/** Lookups of an address in what is known, with a workload as their answer. */
export const DISCOVERY_FOUND: u32 = 25;
/** Lookups with nobody as their answer. */
export const DISCOVERY_UNKNOWN: u32 = 26;
/** Requests whose peer counts as `unknown` in Istio's metrics, since there are `max_series` series already. */
export const TRAFFIC_UNNAMED: u32 = 27;
/** Prefaces that a peer sent on a connection. */
export const PREFACE_FOUND: u32 = 28;
/** Connections on which a preface could come, and the first bytes were none. */
export const PREFACE_NOT_FOUND: u32 = 29;
/** Connections whose first bytes begin like a preface, and are too long for one or malformed: they pass as they are. */
export const PREFACE_REFUSED: u32 = 30;
/** Prefaces that stopped for 5 seconds: the client's bytes then pass as they are, a server's connection is closed. */
export const PREFACE_STALLED: u32 = 31;
/** Own prefaces that were sent. */
export const PREFACE_SENT: u32 = 32;
/** Streams that are alive. */
export const STREAMS: u32 = 33;
/** Connections that are alive, of listeners with the filter for connections. */
export const CONNECTIONS: u32 = 34;
/** Peers in the caches. */
export const CACHE_ENTRIES: u32 = 35;
/** Room that they take, in bytes. */
export const CACHE_BYTES: u32 = 36;
/** Plugin configurations that are loaded, over all VMs. */
export const CONFIGURATIONS: u32 = 37;
/** Size of the own metadata header, over all of these: divide by `configurations`. */
export const OWN_HEADER_BYTES: u32 = 38;
/** Streams to a control plane that are up and have brought a response. */
export const DISCOVERY_CONNECTED: u32 = 39;
/** Workloads that are known. */
export const DISCOVERY_WORKLOADS: u32 = 40;
/** Addresses of these. */
export const DISCOVERY_ADDRESSES: u32 = 41;
/** Seconds since a control plane was last heard of. */
export const DISCOVERY_AGE: u32 = 42;
/** Series of Istio's request metrics, over all VMs. */
export const TRAFFIC_SERIES: u32 = 43;

/** From here on metrics are gauges. */
export const FIRST_GAUGE: u32 = 33;
/** How many there are. */
export const METRICS: u32 = 44;
/** Their names, in order, each with a space behind it. */
export const NAMES: Ascii =
  'peers_received refused_base64 refused_protobuf refused_utf8 refused_control refused_no_json_form refused_nesting refused_id refused_baggage oversize mismatches unverified cache_hits cache_misses cache_evictions headers_sent own_fields_left_out streams_unserved discovery_updates discovery_removals discovery_refused discovery_streams discovery_reconnects discovery_failures discovery_on_worker discovery_found discovery_unknown traffic_unnamed preface_found preface_not_found preface_refused preface_stalled preface_sent streams connections cache_entries cache_bytes configurations own_header_bytes discovery_connected discovery_workloads discovery_addresses discovery_age traffic_series ';
