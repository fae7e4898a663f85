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
/** Streams that are alive. */
export const STREAMS: u32 = 18;
/** Peers in the caches. */
export const CACHE_ENTRIES: u32 = 19;
/** Room that they take, in bytes. */
export const CACHE_BYTES: u32 = 20;
/** Plugin configurations that are loaded, over all VMs. */
export const CONFIGURATIONS: u32 = 21;
/** Size of the own metadata header, over all of these: divide by `configurations`. */
export const OWN_HEADER_BYTES: u32 = 22;

/** From here on metrics are gauges. */
export const FIRST_GAUGE: u32 = 18;
/** How many there are. */
export const METRICS: u32 = 23;
/** Their names, in order, each with a space behind it. */
export const NAMES: Ascii =
  'peers_received refused_base64 refused_protobuf refused_utf8 refused_control refused_no_json_form refused_nesting refused_id refused_baggage oversize mismatches unverified cache_hits cache_misses cache_evictions headers_sent own_fields_left_out streams_unserved streams cache_entries cache_bytes configurations own_header_bytes ';
