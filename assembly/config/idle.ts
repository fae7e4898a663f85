// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as log from '../host/log';
import { Ascii } from '../memory/ascii';
import { Text } from '../memory/text';

/**
 * Parts of a configuration that Istio's native filter takes, and that do nothing here: there are none of these things in
 * a Wasm filter, or there is nothing to do. They are taken, so that a configuration moves over as it is, and one warning
 * names them.
 */

/** The parts: flags. */
export const UPSTREAM_FILTER_STATE: u32 = 1;
export const SHARED_WITH_UPSTREAM: u32 = 2;
export const SKIP_IN_DISCOVERY: u32 = 4;
export const NO_METHOD: u32 = 8;

/** Those of the configuration that is being read. */
let found: u32 = 0;

/** Begins with a configuration. */
export function begin(): void {
  found = 0;
}

/** Remembers a part. */
export function note(part: u32): void {
  found |= part;
}

/** Warns of all that were found, in one line. */
export function warn(): void {
  if (found == 0) return;
  const line = log.line();
  line.add('taken from the configuration, and without effect in this filter:');
  add(line, UPSTREAM_FILTER_STATE, ' upstream_filter_state');
  add(line, SHARED_WITH_UPSTREAM, ' shared_with_upstream');
  add(line, SKIP_IN_DISCOVERY, ' skip_external_clusters of discovery');
  add(line, NO_METHOD, ' a method without a name');
  log.warn();
}

/** Adds a part to the line, if it was found; commas stand behind all but the last one. */
function add(line: Text, part: u32, name: Ascii): void {
  if ((found & part) == 0) return;
  line.add(name);
  if (found >= part << 1) line.add(',');
}
