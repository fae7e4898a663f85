// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_define_metric,
  proxy_increment_metric,
  proxy_record_metric,
  proxy_set_tick_period_milliseconds,
} from '@solo-io/proxy-runtime/assembly/imports';
import { Slice } from '../memory/slice';
import { OK } from './abi';

/** Envoy's metrics, and the clock that tells when to write them. */

export const COUNTER: i32 = 0;
export const GAUGE: i32 = 1;
export const HISTOGRAM: i32 = 2;

const id = memory.data(4, 4);

/** Defines a metric, or finds the one of this name: the host's id for it, 0 if it has none for us. */
export function define(type: i32, name: Slice): u32 {
  return proxy_define_metric(type, name.at, name.size, id) == OK ? load<u32>(id) : 0;
}

/** Adds to a metric. A gauge is the sum of what all VMs added: it is never set. */
export function add(metric: u32, amount: i64): void {
  proxy_increment_metric(metric, amount);
}

/** Adds a value to a histogram. */
export function record(metric: u32, value: u64): void {
  proxy_record_metric(metric, value);
}

/** Has the host call `proxy_on_tick` of this root context from now on. */
export function tickEvery(milliseconds: u32): void {
  proxy_set_tick_period_milliseconds(milliseconds);
}
