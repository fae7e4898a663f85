// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from './config/config';
import * as properties from './host/properties';
import { slice } from './memory/slice';
import { isClientIdPublished } from './peers/publish';

/**
 * Envoy may run a chain of filters several times on the same request: after an internal redirect, for a filter that
 * answers with another route's response (custom_response), on_demand before Envoy 1.40, and, in a cluster's filters, for
 * each try. Two of our filters in one chain, or one in the listener and one in the cluster, are the same: the second
 * looks at what the first made of the request. What the client sent the first time is what counts, and it is told and
 * answered as if there had been one run.
 *
 * The first run notes what it decided in filter state, which lives as long as the request: one byte, 0x40 and a set of
 * the flags below. It does so only where the published peer does not say the same: one with Struct and id had both
 * headers. Filter state that other filters wrote is not looked at where the request has headers of somebody else.
 */

/** The client's headers were looked at, and had metadata, or an id, be it an empty one. */
export const LOOKED: u32 = 1;
export const HAD_METADATA: u32 = 2;
export const HAD_ID: u32 = 4;
/** A second filter of ours in the chain answered: what the first one sees on the response may be our own. */
export const ANSWERED: u32 = 8;
/** Not noted: there was an earlier run. */
export const EARLIER: u32 = 16;
/** The client's baggage said who it is. */
export const HAD_BAGGAGE: u32 = 32;

const HAD_BOTH: u32 = HAD_METADATA | HAD_ID;
const NOTED: u32 = 47;

const text = slice(memory.data(8, 4));
const byte = memory.data(1);

/**
 * What an earlier run decided, with EARLIER; 0 if there was none. `infers`: whether a client who is known by Struct and id
 * tells what its headers were, where nothing is noted.
 */
export function recall(config: Config, infers: bool): u32 {
  let flags: u32 = 0;
  if (properties.get(config.firstRun, text) && text.size == 1) {
    flags = EARLIER | (load<u8>(text.at) & NOTED);
    // Its response is no longer that of this run.
    if (flags & ANSWERED) {
      flags &= ~ANSWERED;
      note(config, flags);
    }
  }
  if (infers && !(flags & LOOKED) && isClientIdPublished()) flags |= EARLIER | LOOKED | HAD_BOTH;
  return flags;
}

/** Notes what a run decided. */
export function note(config: Config, flags: u32): void {
  store<u8>(byte, <u8>(0x40 | (flags & NOTED)));
  text.set(byte, 1);
  properties.set(config.firstRun, text);
}

/** Whether a second filter of ours answered in this run. */
export function isAnswered(config: Config): bool {
  return properties.get(config.firstRun, text) && text.size == 1 && (load<u8>(text.at) & ANSWERED) != 0;
}
