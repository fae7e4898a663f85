// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, isText } from '../memory/ascii';
import { allocate } from '../memory/blocks';
import { slice } from '../memory/slice';
import * as json from '../wire/json';
import * as idle from './idle';
import {
  expect,
  isNamed,
  isNew,
  isWellFormed,
  keepRoom,
  key,
  malformed,
  REFUSED,
  readBool,
  refuse,
  skipNull,
  step,
  stepBack,
  stepInto,
  UNKNOWN,
} from './reader';

/**
 * The four lists of a configuration: by which methods a stream learns about its peers and tells them who we are, each in
 * the order in which the methods are asked. A new method has a number here, its name in `methodOf`, and its file and
 * line in peers/methods.ts or own/methods.ts.
 */

/** Methods. */
export const ISTIO_HEADERS: u32 = 1;
export const BAGGAGE: u32 = 2;
export const ENDPOINT_METADATA: u32 = 3;

export const WORKLOAD_DISCOVERY: u32 = 4;

/** A method that Istio's native filter has, and that does nothing here: no list has it (idle.ts). */
const UPSTREAM_FILTER_STATE: u32 = 5;

@unmanaged
export class Method {
  kind: u32;
  /** For telling: whether clusters are left out that are not of the mesh. */
  skipsExternal: bool;
  /** The next in the list. */
  next: Method | null;
}

@unmanaged
export class Lists {
  /** How to learn about clients, and about servers. */
  downstreamDiscovery: Method | null;
  upstreamDiscovery: Method | null;
  /** How to tell clients, and servers. */
  downstreamPropagation: Method | null;
  upstreamPropagation: Method | null;
}

/** Whether a list has a method. */
export function has(list: Method | null, kind: u32): bool {
  let method = list;
  while (method) {
    if (method.kind == kind) return true;
    method = method.next;
  }
  return false;
}

/** Whether a list asks workload discovery. */
export function usesDiscovery(lists: Lists): bool {
  return has(lists.downstreamDiscovery, WORKLOAD_DISCOVERY) || has(lists.upstreamDiscovery, WORKLOAD_DISCOVERY);
}

/**
 * What is done where no lists are configured, by the direction of the listener:
 *
 *                  request                              response
 *     inbound      read the client's, strip             strip forged copies, add ours if the request had the header
 *     outbound     replace forged copies by ours        read the server's, strip
 *     unspecified  read, strip, add ours                read, strip, add ours if the request had the header
 */
export const INBOUND: Lists = listsOf(true, false);
export const OUTBOUND: Lists = listsOf(false, true);
export const UNSPECIFIED: Lists = listsOf(true, true);

function listsOf(isServer: bool, isClient: bool): Lists {
  const headers = changetype<Method>(allocate(offsetof<Method>()));
  headers.kind = ISTIO_HEADERS;
  headers.skipsExternal = false;
  headers.next = null;
  const lists = changetype<Lists>(allocate(offsetof<Lists>()));
  lists.downstreamDiscovery = isServer ? headers : null;
  lists.upstreamDiscovery = isClient ? headers : null;
  lists.downstreamPropagation = isServer ? headers : null;
  lists.upstreamPropagation = isClient ? headers : null;
  return lists;
}

/** The numbers of the lists, for `readList`. */
export const DOWNSTREAM_DISCOVERY: u32 = 0;
export const UPSTREAM_DISCOVERY: u32 = 1;
export const DOWNSTREAM_PROPAGATION: u32 = 2;
export const UPSTREAM_PROPAGATION: u32 = 3;

/** Reads a list of methods. */
export function readList(lists: Lists, number: u32): bool {
  if (!expect(json.ARRAY)) return false;
  let last: Method | null = null;
  let index: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(index++);
    const at = keepRoom(offsetof<Method>());
    if (!at) return refuse(json.offset(), 'does not fit into memory');
    const method = changetype<Method>(at);
    method.kind = 0;
    method.skipsExternal = false;
    method.next = null;
    if (!readMethod(method, number)) return false;
    stepBack(size);
    if (isIdle(method.kind)) continue;
    if (last) last.next = method;
    else store<usize>(changetype<usize>(lists) + number * sizeof<usize>(), at);
    last = method;
  }
  return isWellFormed();
}

/** Whether a method does nothing here; if so, that is remembered. */
function isIdle(kind: u32): bool {
  if (kind == UPSTREAM_FILTER_STATE) idle.note(idle.UPSTREAM_FILTER_STATE);
  else if (kind == 0) idle.note(idle.NO_METHOD);
  else return false;
  return true;
}

/** Reads one method: an object with one field at most, that names it, and in it the method's own settings. */
function readMethod(method: Method, list: u32): bool {
  if (!expect(json.OBJECT)) return false;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    if (method.kind) return refuse(json.keyOffset(), 'is one method too many: each has an object of its own');
    method.kind = methodOf();
    if (!method.kind) return refuse(json.keyOffset(), UNKNOWN_METHOD);
    const problem = problemOf(method.kind, list);
    if (problem) return refuse(json.keyOffset(), problem);
    if (!readSettings(method, list)) return false;
    stepBack(size);
  }
  return isWellFormed();
}

/** The method that the key names that was just read, or 0. */
function methodOf(): u32 {
  if (isNamed('istio_headers')) return ISTIO_HEADERS;
  if (isText(key, 'baggage')) return BAGGAGE;
  if (isNamed('endpoint_metadata')) return ENDPOINT_METADATA;
  if (isNamed('workload_discovery')) return WORKLOAD_DISCOVERY;
  if (isNamed('upstream_filter_state')) return UPSTREAM_FILTER_STATE;
  return 0;
}

const UNKNOWN_METHOD: Ascii =
  'is not a method that this version has: istio_headers, baggage, endpoint_metadata and workload_discovery are';

/** Why a method may not stand in a list, or 0. */
function problemOf(kind: u32, list: u32): Ascii {
  if (kind == ENDPOINT_METADATA && list != UPSTREAM_DISCOVERY) return 'is a method for upstream_discovery';
  if (list == DOWNSTREAM_DISCOVERY || list == UPSTREAM_DISCOVERY) return 0;
  if (kind == WORKLOAD_DISCOVERY || kind == UPSTREAM_FILTER_STATE) return 'is a method for discovery';
  return 0;
}

/** Where native's upstream_filter_state looks: read, and not kept. */
const stateKey = slice(memory.data(8, 4));

/** Reads the settings of a method. */
function readSettings(method: Method, list: u32): bool {
  if (!expect(json.OBJECT)) return false;
  const tells = list == DOWNSTREAM_PROPAGATION || list == UPSTREAM_PROPAGATION;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    const isSkip = method.kind == ISTIO_HEADERS && isNamed('skip_external_clusters');
    const isKey = method.kind == UPSTREAM_FILTER_STATE && isNamed('peer_metadata_key');
    if (!isNew(isSkip || isKey ? 1 : UNKNOWN, seen)) return false;
    seen = 2;
    if (!skipNull()) {
      if (isKey) {
        if (!expect(json.STRING)) return false;
        if (!json.readString(stateKey)) return malformed();
      } else {
        const isTrue = readBool();
        if (isTrue == REFUSED) return false;
        method.skipsExternal = tells && isTrue != 0;
        if (!tells && isTrue != 0) idle.note(idle.SKIP_IN_DISCOVERY);
      }
    }
    stepBack(size);
  }
  return isWellFormed();
}
