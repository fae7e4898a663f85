// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { add, COUNTER, define, GAUGE, tickEvery } from './host/metrics';
import { name } from './host/names';
import { Slice, slice } from './memory/slice';
import { Text } from './memory/text';

/**
 * What is counted. Serving a stream counts in memory, which costs nothing; once a second what came since is added to Envoy's metrics. Each VM adds its own: gauges are sums over all of them. A VM that
 * only tries a configuration out (Envoy has one for each) never ticks, and so leaves no trace.
 */

export const PEERS_RECEIVED: u32 = 0;
export const REFUSED_BASE64: u32 = 1;
export const REFUSED_PROTOBUF: u32 = 2;
export const REFUSED_UTF8: u32 = 3;
export const REFUSED_NO_JSON_FORM: u32 = 4;
export const REFUSED_NESTING: u32 = 5;
export const REFUSED_ID: u32 = 6;
export const OVERSIZE: u32 = 7;
export const CACHE_HITS: u32 = 8;
export const CACHE_MISSES: u32 = 9;
export const CACHE_EVICTIONS: u32 = 10;
export const HEADERS_SENT: u32 = 11;
export const OWN_FIELDS_LEFT_OUT: u32 = 12;
export const MISMATCHES: u32 = 13;
/** From here on gauges. */
export const CACHE_ENTRIES: u32 = 14;
export const CACHE_BYTES: u32 = 15;
export const CONFIGURATIONS: u32 = 16;
export const OWN_HEADER_BYTES: u32 = 17;
const METRICS: u32 = 18;

const TICK_MS: u32 = 1000;

/** For each metric: what it is now, and what of it Envoy knows. */
const values = memory.data(144, 8); // METRICS * 8
const written = memory.data(144, 8);
const ids = memory.data(72, 4); // METRICS * 4

let isDefined: bool = false;

const room = memory.data(64);
const line = changetype<Text>(memory.data(12, 4));
const metricName = slice(memory.data(8, 4));

/** Their names, in order, behind `metadata_exchange.`; what is in Envoy's `/stats` is documented in the README. */
const PREFIX: Slice = name('metadata_exchange.');
const NAMES: Slice = name(
  'peers_received refused_base64 refused_protobuf refused_utf8 refused_no_json_form refused_nesting refused_id oversize cache_hits cache_misses cache_evictions headers_sent own_fields_left_out mismatches cache_entries cache_bytes configurations own_header_bytes ',
);

/** Defines all metrics, the first time, and has the root context that is being configured tick. */
export function start(): void {
  tickEvery(TICK_MS);
  if (isDefined) return;
  isDefined = true;
  let at = NAMES.at;
  for (let metric: u32 = 0; metric < METRICS; metric++) {
    line.open(room, 64);
    line.addBytes(PREFIX.at, PREFIX.size);
    const first = at;
    while (load<u8>(at) != 0x20) at++;
    line.addBytes(first, <u32>(at - first));
    at++;
    metricName.set(line.at, line.size);
    store<u32>(ids + (metric << 2), define(metric < CACHE_ENTRIES ? COUNTER : GAUGE, metricName));
  }
}

/** Counts one more. */
export function count(metric: u32): void {
  change(metric, 1);
}

/** Adds to a metric, for a gauge perhaps less than nothing. */
export function change(metric: u32, amount: i64): void {
  const at = values + (metric << 3);
  store<i64>(at, load<i64>(at) + amount);
}

/** Makes a metric of this VM what it is. */
export function be(metric: u32, value: u64): void {
  store<i64>(values + (metric << 3), <i64>value);
}

/** Tells Envoy what came since the last time. */
export function write(): void {
  for (let metric: u32 = 0; metric < METRICS; metric++) {
    const value = load<i64>(values + (metric << 3));
    const known = load<i64>(written + (metric << 3));
    if (value == known) continue;
    add(load<u32>(ids + (metric << 2)), value - known);
    store<i64>(written + (metric << 3), value);
  }
}
