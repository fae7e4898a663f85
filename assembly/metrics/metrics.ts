// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { add, COUNTER, define, GAUGE, tickEvery } from '../host/metrics';
import { name } from '../host/names';
import { Slice, slice } from '../memory/slice';
import { Text } from '../memory/text';
import { FIRST_GAUGE, METRICS, NAMES } from './table';

/**
 * What is counted. Serving a stream counts in memory, which costs nothing; once a second what came since is added to
 * Envoy's metrics. Each VM adds its own: gauges are sums over all of them. A VM that only tries a configuration out
 * (Envoy has one for each) never ticks, and so leaves no trace.
 */

const TICK_MS: u32 = 1000;

/** For each metric: what it is now, and what of it Envoy knows. */
const values = memory.data(512, 8);
const written = memory.data(512, 8);
const ids = memory.data(256, 4);

let isDefined: bool = false;

const PREFIX: Slice = name('metadata_exchange.');
const names: Slice = name(NAMES);
const room = memory.data(64);
const line = changetype<Text>(memory.data(12, 4));
const metricName = slice(memory.data(8, 4));

/** Defines all metrics, the first time, and has the root context that is being configured tick. */
export function start(): void {
  tickEvery(TICK_MS);
  if (isDefined) return;
  isDefined = true;
  let at = names.at;
  for (let metric: u32 = 0; metric < METRICS; metric++) {
    line.open(room, 64);
    line.addBytes(PREFIX.at, PREFIX.size);
    const first = at;
    while (load<u8>(at) != 0x20) at++;
    line.addBytes(first, <u32>(at - first));
    at++;
    metricName.set(line.at, line.size);
    store<u32>(ids + (metric << 2), define(metric < FIRST_GAUGE ? COUNTER : GAUGE, metricName));
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

/** Sets a metric of this VM. */
export function set(metric: u32, value: u64): void {
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
