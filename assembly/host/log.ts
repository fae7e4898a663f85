// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { proxy_log } from '@solo-io/proxy-runtime/assembly/imports';
import { Text } from '../memory/text';
import { ERROR, INFO, WARN } from './abi';

/**
 * Envoy's log. One line at a time: `line()` begins it, and `info`, `warn` or `error` writes it. Only where a
 * configuration is loaded: serving a stream logs nothing.
 */

const ROOM: u32 = 512;
const room = memory.data(512);
const text = changetype<Text>(memory.data(12, 4));

/** Begins a line. */
export function line(): Text {
  text.open(room, ROOM);
  text.add('metadata_exchange: ');
  return text;
}

export function info(): void {
  proxy_log(INFO, text.at, text.size);
}

export function warn(): void {
  proxy_log(WARN, text.at, text.size);
}

export function error(): void {
  proxy_log(ERROR, text.at, text.size);
}

/** Says why a configuration is refused for which nothing is left; always false. */
export function noMemory(): bool {
  line().add('there is no memory left for another configuration');
  error();
  return false;
}
