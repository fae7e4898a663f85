// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { readBaggage } from './baggage';
import {
  BY_DIRECTION,
  Config,
  ENFORCE,
  OFF,
  READ_REQUEST,
  READ_RESPONSE,
  WRITE_REQUEST,
  WRITE_RESPONSE,
} from './config';
import { REQUEST_HEADERS, RESPONSE_HEADERS } from './host/abi';
import * as headers from './host/headers';
import {
  BAGGAGE,
  CLUSTER_DISABLED,
  CLUSTER_EXTERNAL,
  CLUSTER_NAME,
  DOWNSTREAM,
  DOWNSTREAM_ID,
  DOWNSTREAM_VERIFIED,
  LISTENER_DIRECTION,
  OLD_LISTENER_DIRECTION,
  ORIGINAL_URL,
  UPSTREAM,
  UPSTREAM_ID,
  UPSTREAM_VERIFIED,
} from './host/names';
import * as properties from './host/properties';
import { Identity } from './identity';
import { isText } from './memory/ascii';
import { Slice, sameBytes, slice } from './memory/slice';
import { count, HEADERS_SENT, MISMATCHES, OVERSIZE } from './metrics';
import { isReadableId, readMetadata } from './peers';
import { MISMATCH, textOf, verify } from './verify';

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
/** The answer of `earlierRun`, beside these. */
const SECOND_RUN: u32 = 0x40;

/** Values of `xds.listener_direction`: envoy.config.core.v3.TrafficDirection. */
const INBOUND: u64 = 1;
const OUTBOUND: u64 = 2;

const direction = slice(memory.data(8, 4));

/** The two headers of the message that was read last, and whether they are there. */
const metadata = slice(memory.data(8, 4));
const id = slice(memory.data(8, 4));
let metadataFound: u32 = 0;
let idFound: u32 = 0;
/** Whether all of its headers were fetched. */
let isFetched: bool = false;

const struct = slice(memory.data(8, 4));
const url = slice(memory.data(8, 4));
const baggage = slice(memory.data(8, 4));

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

/** Does what is to be done with a request that has so many headers, and returns what is to be known at its response. */
export function onRequestHeaders(config: Config, identity: Identity, headerCount: u32): u32 {
  let methods = methodsOf(config);
  const strips = (methods & (READ_REQUEST | WRITE_REQUEST)) != 0;
  const isOutside = (config.skipsExternal & WRITE_REQUEST) != 0 && isExternal();
  if (isOutside) methods &= ~WRITE_REQUEST;
  const writes = (methods & WRITE_REQUEST) != 0;
  metadataFound = headers.PRESENT;
  idFound = headers.PRESENT;
  let had: u32 = 0;
  let isKnown = false;
  isFetched = false;
  if ((methods & (READ_REQUEST | WRITE_RESPONSE)) != 0) {
    read(REQUEST_HEADERS, config, headerCount);
    had = (metadataFound != headers.ABSENT ? HAD_METADATA : 0) | (idFound != headers.ABSENT ? HAD_ID : 0);
    const earlier = earlierRun(identity, writes, had);
    isKnown = earlier != 0;
    if (isKnown) had = earlier & (HAD_METADATA | HAD_ID);
  }
  // The first method that finds something is the one that counts.
  if (!isKnown && config.baggageFirst) isKnown = publishBaggage(config);
  if (!isKnown && (methods & READ_REQUEST) != 0) isKnown = publish(config, DOWNSTREAM, DOWNSTREAM_ID);
  if (!isKnown && config.readsBaggage && !config.baggageFirst) publishBaggage(config);
  if (config.writesBaggage && !isOutside) addBaggage(identity);
  if (strips) {
    settle(REQUEST_HEADERS, config.metadataHeader, identity.metadata, writes, metadataFound);
    settle(REQUEST_HEADERS, config.idHeader, identity.id, writes, idFound);
  }
  return methods | had;
}

/** Does what is to be done with a response that has so many headers, by what `onRequestHeaders` returned. */
export function onResponseHeaders(config: Config, identity: Identity, known: u32, headerCount: u32): void {
  const reads = (known & READ_RESPONSE) != 0;
  const isAsked = (known & WRITE_RESPONSE) != 0;
  if (!reads && !isAsked) return;
  const writes = isAsked && ((config.skipsExternal & WRITE_RESPONSE) == 0 || !isExternal());
  metadataFound = headers.PRESENT;
  idFound = headers.PRESENT;
  if (reads) {
    read(RESPONSE_HEADERS, config, headerCount);
    publish(config, UPSTREAM, UPSTREAM_ID);
  }
  const answersMetadata = writes && (known & HAD_METADATA) != 0;
  const answersId = writes && (known & HAD_ID) != 0;
  settle(RESPONSE_HEADERS, config.metadataHeader, identity.metadata, answersMetadata, metadataFound);
  settle(RESPONSE_HEADERS, config.idHeader, identity.id, answersId, idFound);
}

/**
 * Whether a request leaves the mesh, as Istio's native filter sees it: to the PassthroughCluster, or to a cluster whose
 * metadata says `istio: {external: true}`, or `disable_mx: true`.
 */
function isExternal(): bool {
  if (properties.get(CLUSTER_NAME, struct) && isText(struct, 'PassthroughCluster')) return true;
  return isTrue(CLUSTER_EXTERNAL) || isTrue(CLUSTER_DISABLED);
}

function isTrue(path: Slice): bool {
  return properties.get(path, struct) && struct.size > 0 && load<u8>(struct.at) != 0;
}

/**
 * Up to so many headers are fetched in one call, which is cheaper than two calls that each find one of them and call
 * back for memory. What is fetched is copied twice by the host, so that many or large headers are not worth it.
 */
const MOST_FETCHED: u32 = 32;

/** Reads both headers of a message: of each the first copy that is not empty. */
function read(map: i32, config: Config, headerCount: u32): void {
  isFetched = headerCount <= MOST_FETCHED && headers.fetch(map);
  if (isFetched) {
    metadataFound = headers.pick(config.metadataHeader, metadata);
    idFound = headers.pick(config.idHeader, id);
  } else {
    metadataFound = readByName(map, config.metadataHeader, metadata);
    idFound = readByName(map, config.idHeader, id);
  }
}

/** `get` sees only the first copy: when that is empty all headers are fetched, to see behind it. */
function readByName(map: i32, name: Slice, value: Slice): u32 {
  const found = headers.get(map, name, value);
  if (found != headers.PRESENT || value.size > 0) return found;
  return headers.fetch(map) ? headers.pick(name, value) : headers.TOO_LARGE;
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

/**
 * Passes on to the other filters what the peer's headers say; whether it said anything of its metadata. What cannot be read
 * is as if it had not been sent.
 */
function publish(config: Config, name: Slice, idName: Slice): bool {
  const hasMetadata = isRead(metadataFound) && readMetadata(metadata, config, struct);
  if (hasMetadata && !publishStruct(config, name)) return false;
  if (isRead(idFound) && isReadableId(id, config)) properties.set(idName, id);
  return hasMetadata;
}

/** Passes on `struct`, and what its claims are worth if that is asked for; false if they are wrong and may not be. */
function publishStruct(config: Config, name: Slice): bool {
  if (config.verification != OFF) {
    const isUpstream = name == UPSTREAM;
    const verdict = verify(struct, isUpstream, config);
    properties.set(isUpstream ? UPSTREAM_VERIFIED : DOWNSTREAM_VERIFIED, textOf(verdict));
    if (verdict == MISMATCH) {
      count(MISMATCHES);
      if (config.verification == ENFORCE) return false;
    }
  }
  properties.set(name, struct);
  return true;
}

/** Passes on what a request's baggage says of its sender. The baggage goes on: others have theirs in it. */
function publishBaggage(config: Config): bool {
  if (!fetchBaggage() || !headers.join(BAGGAGE, baggage, 0) || !readBaggage(baggage, struct)) return false;
  return publishStruct(config, DOWNSTREAM);
}

/** Adds what we are to a request's baggage, behind whatever others said; not where theirs is too large to be kept. */
function addBaggage(identity: Identity): void {
  const own = identity.baggage;
  if (own.size == 0 || !fetchBaggage()) return;
  if (headers.join(BAGGAGE, baggage, own.size + 1)) {
    store<u8>(baggage.end(), 0x2c);
    memory.copy(baggage.end() + 1, own.at, own.size);
    baggage.size += own.size + 1;
    headers.replace(REQUEST_HEADERS, BAGGAGE, baggage);
  } else if (headers.pick(BAGGAGE, baggage) == headers.ABSENT || baggage.size == 0) {
    headers.replace(REQUEST_HEADERS, BAGGAGE, own);
  }
}

/** Sees to it that the request's headers are fetched. */
function fetchBaggage(): bool {
  if (!isFetched) isFetched = headers.fetch(REQUEST_HEADERS);
  return isFetched;
}

function isRead(found: u32): bool {
  if (found == headers.TOO_LARGE) count(OVERSIZE);
  return found == headers.PRESENT;
}

/**
 * An internal redirect runs the filters again on the same request, which by now carries what we made of it: no peer's
 * headers, or our own. What the client sent the first time is what counts, and filter state still has it. The answer is
 * what was read then, and SECOND_RUN, if this is such a second run; else 0.
 *
 * Envoy says where a redirected request was to go at first. A filter of Envoy's that runs the chain again without a
 * redirect (on_demand) does not: then our own headers, to the letter, and a peer in filter state tell.
 */
function earlierRun(identity: Identity, writes: bool, had: u32): u32 {
  if (writes ? !isOwn(had, identity) : had != 0) return 0;
  const isRedirect =
    (isFetched ? headers.pick(ORIGINAL_URL, url) : headers.get(REQUEST_HEADERS, ORIGINAL_URL, url)) != headers.ABSENT;
  if (!isRedirect && !writes) return 0;
  const read: u32 =
    (properties.get(DOWNSTREAM, struct) ? HAD_METADATA : 0) | (properties.get(DOWNSTREAM_ID, struct) ? HAD_ID : 0);
  // A redirect may have been another proxy's: then nobody is known yet, and a request without headers is as any other.
  return read != 0 || (isRedirect && writes) ? SECOND_RUN | read : 0;
}

/** Whether a request's headers are our own. */
function isOwn(had: u32, identity: Identity): bool {
  return (
    (identity.metadata.at != 0) == ((had & HAD_METADATA) != 0) &&
    (identity.id.at != 0) == ((had & HAD_ID) != 0) &&
    (!identity.metadata.at || sameBytes(metadata, identity.metadata)) &&
    (!identity.id.at || sameBytes(id, identity.id))
  );
}
