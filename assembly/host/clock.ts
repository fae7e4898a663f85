// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { proxy_get_current_time_nanoseconds } from '@solo-io/proxy-runtime/assembly/imports';

const time = memory.data(8, 8);

/** Nanoseconds since 1970. */
export function now(): u64 {
  proxy_get_current_time_nanoseconds(time);
  return load<u64>(time);
}
