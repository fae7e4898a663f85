// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { proxy_set_effective_context } from '@solo-io/proxy-runtime/assembly/imports';
import { OK } from './abi';

/** Makes a context the one that host calls are made for; false if it is gone. */
export function becomes(context: u32): bool {
  return proxy_set_effective_context(context) == OK;
}
