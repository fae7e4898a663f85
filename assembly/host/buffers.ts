// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { proxy_get_buffer_bytes } from '@solo-io/proxy-runtime/assembly/imports';
import { Slice } from '../memory/slice';
import { OK, PLUGIN_CONFIGURATION } from './abi';

/** The configuration of the plugin that is being configured, `size` bytes of it; false if it does not fit. */
export function pluginConfiguration(size: u32, bytes: Slice): bool {
  bytes.set(0, 0);
  if (size == 0) return true;
  const to = changetype<usize>(bytes);
  return proxy_get_buffer_bytes(PLUGIN_CONFIGURATION, 0, size, to, to + offsetof<Slice>('size')) == OK;
}
