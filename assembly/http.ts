// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { BY_DIRECTION, Config, READ_REQUEST, READ_RESPONSE, WRITE_REQUEST, WRITE_RESPONSE } from './config';
import { REQUEST_HEADERS, RESPONSE_HEADERS } from './host/abi';
import * as headers from './host/headers';
import {
  DOWNSTREAM,
  DOWNSTREAM_ID,
  LISTENER_DIRECTION,
  OLD_LISTENER_DIRECTION,
  UPSTREAM,
  UPSTREAM_ID,
} from './host/names';
import * as properties from './host/properties';
import { Identity } from './identity';
import { Slice, sameBytes, slice } from './memory/slice';
import { count, HEADERS_SENT, OVERSIZE } from './metrics';
import { isReadableId, readMetadata } from './peers';

/**
 * One HTTP stream. What happens to the two headers, where no lists are configured:
 *
 *                  request                              response
 *     inbound      read the client's, strip             strip forged copies, add ours if the request had the header
 *     outbound     replace forged copies by ours        read the server's, strip
 *     unspecified  read, strip, add ours                read, strip, add ours if the request had the header
 *
 * With lists, each list switches one of the four on: downstream_discovery reads requests, upstream_discovery reads
 * responses, downstream_propagation writes responses, upstream_propagation writes requests. Each of the two headers
 * answers for itself: an id alone is answered by an id alone.
 */

/** What is known of a stream after its request: its methods (config.ts), and these. 0: nothing. */
const HAD_METADATA: u32 = 0x10;
const HAD_ID: u32 = 0x20;

/** Values of `xds.listener_direction`: envoy.config.core.v3.TrafficDirection. */
const INBOUND: u64 = 1;
const OUTBOUND: u64 = 2;

const direction = slice(memory.data(8, 4));
const metadata = slice(memory.data(8, 4));
const id = slice(memory.data(8, 4));
const struct = slice(memory.data(8, 4));

/** Whether this Envoy knows the direction only under the name that it had before `xds` was there. */
let isOldHost: bool = false;

/** What a stream does: a set of methods. One plugin configuration may serve listeners of several directions. */
export function methodsOf(config: Config): u32 {
  if (config.methods != BY_DIRECTION) return config.methods;
  if (isOldHost || !properties.get(LISTENER_DIRECTION, direction)) {
    isOldHost = properties.get(OLD_LISTENER_DIRECTION, direction);
  }
  const value = direction.size == 8 ? load<u64>(direction.at) : 0;
  if (value == INBOUND) return READ_REQUEST | WRITE_RESPONSE;
  if (value == OUTBOUND) return WRITE_REQUEST | READ_RESPONSE;
  return READ_REQUEST | WRITE_REQUEST | READ_RESPONSE | WRITE_RESPONSE;
}

/**
 * Does what is to be done with a request, and returns what is to be remembered for the response. `unanswered` is what
 * was remembered of the stream that ended last under this configuration, if that got no response: see `resume`.
 */
export function onRequestHeaders(config: Config, identity: Identity, unanswered: u32): u32 {
  const methods = methodsOf(config);
  const writes = (methods & WRITE_REQUEST) != 0;
  let metadataFound = headers.PRESENT;
  let idFound = headers.PRESENT;
  let had: u32 = 0;
  if ((methods & (READ_REQUEST | WRITE_RESPONSE)) != 0) {
    metadataFound = headers.get(REQUEST_HEADERS, config.metadataHeader, metadata);
    idFound = headers.get(REQUEST_HEADERS, config.idHeader, id);
    had = (metadataFound != headers.ABSENT ? HAD_METADATA : 0) | (idFound != headers.ABSENT ? HAD_ID : 0);
    const earlier = unanswered ? resume(identity, writes, had, unanswered) : 0;
    if (earlier) {
      had = earlier & (HAD_METADATA | HAD_ID);
    } else if ((methods & READ_REQUEST) != 0) {
      publish(REQUEST_HEADERS, config, metadataFound, idFound, DOWNSTREAM, DOWNSTREAM_ID);
    }
  }
  if (writes || (methods & READ_REQUEST) != 0) {
    settle(REQUEST_HEADERS, config.metadataHeader, identity.metadata, writes, metadataFound);
    settle(REQUEST_HEADERS, config.idHeader, identity.id, writes, idFound);
  }
  return methods | had;
}

/** Does what is to be done with a response of a stream of which `known` was remembered. */
export function onResponseHeaders(config: Config, identity: Identity, known: u32): void {
  const reads = (known & READ_RESPONSE) != 0;
  const writes = (known & WRITE_RESPONSE) != 0;
  if (!reads && !writes) return;
  let metadataFound = headers.PRESENT;
  let idFound = headers.PRESENT;
  if (reads) {
    metadataFound = headers.get(RESPONSE_HEADERS, config.metadataHeader, metadata);
    idFound = headers.get(RESPONSE_HEADERS, config.idHeader, id);
    publish(RESPONSE_HEADERS, config, metadataFound, idFound, UPSTREAM, UPSTREAM_ID);
  }
  const answersMetadata = writes && (known & HAD_METADATA) != 0;
  const answersId = writes && (known & HAD_ID) != 0;
  settle(RESPONSE_HEADERS, config.metadataHeader, identity.metadata, answersMetadata, metadataFound);
  settle(RESPONSE_HEADERS, config.idHeader, identity.id, answersId, idFound);
}

/**
 * Leaves a header as it must go on: ours in place of all copies if it is to be sent and we have one, else no copy.
 * `found` spares the removal of what is known to be absent.
 */
function settle(map: i32, name: Slice, own: Slice, sends: bool, found: u32): void {
  if (sends && own.at) {
    headers.replace(map, name, own);
    count(HEADERS_SENT);
  } else if (found != headers.ABSENT) {
    headers.remove(map, name);
  }
}

/** Passes on to the other filters what the peer's headers say. What cannot be read is as if it had not been sent. */
function publish(map: i32, config: Config, metadataFound: u32, idFound: u32, name: Slice, idName: Slice): void {
  if (isFetched(map, config.metadataHeader, metadata, metadataFound) && readMetadata(metadata, config, struct)) {
    properties.set(name, struct);
  }
  if (isFetched(map, config.idHeader, id, idFound) && isReadableId(id, config)) {
    properties.set(idName, id);
  }
}

/** Whether the value of a header that was sought is there; if its first copy is empty, of the first that is not. */
function isFetched(map: i32, name: Slice, value: Slice, found: u32): bool {
  const fetched = found == headers.PRESENT && value.size == 0 ? headers.getFilled(map, name, value) : found;
  if (fetched == headers.TOO_LARGE) count(OVERSIZE);
  return fetched == headers.PRESENT;
}

/**
 * An internal redirect ends a stream without a response and runs the filters again on the same request, which by now
 * carries what we made of it: no peer's headers, or our own. What the client sent the first time is what counts:
 * filter state still has the peer, `unanswered` what was remembered. The answer is `unanswered` if this is such a
 * second run, else 0.
 *
 * Envoy starts the second run before anything else happens on this thread, so only the stream right after one that
 * ended without a response can be one; that spares all other streams the question. The headers of an ordinary request
 * after a broken one are not taken for ours unless they are ours to the letter.
 */
function resume(identity: Identity, writes: bool, had: u32, unanswered: u32): u32 {
  if (writes) {
    const isOwn =
      (identity.metadata.at != 0) == ((had & HAD_METADATA) != 0) &&
      (identity.id.at != 0) == ((had & HAD_ID) != 0) &&
      (!identity.metadata.at || sameBytes(metadata, identity.metadata)) &&
      (!identity.id.at || sameBytes(id, identity.id));
    return isOwn ? unanswered : 0;
  }
  if (had) return 0;
  const hadMetadata = (unanswered & HAD_METADATA) != 0;
  if (hadMetadata && properties.get(DOWNSTREAM, struct)) return unanswered;
  return (unanswered & HAD_ID) != 0 && properties.get(DOWNSTREAM_ID, struct) ? unanswered : 0;
}
