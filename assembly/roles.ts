// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from './config/config';
import * as lists from './config/lists';
import { has, ISTIO_HEADERS, Lists, Method } from './config/lists';
import {
  CLUSTER_DISABLED,
  CLUSTER_EXTERNAL,
  CLUSTER_NAME,
  LISTENER_DIRECTION,
  OLD_LISTENER_DIRECTION,
} from './host/names';
import * as properties from './host/properties';
import { isText } from './memory/ascii';
import { Entry } from './memory/pool';
import { Slice, slice } from './memory/slice';
import { Identity } from './own/identity';
import { BY_DESTINATION, BY_SOURCE, BY_WAYPOINT } from './traffic/names';

/**
 * What HTTP streams and connections have in common, and which part this proxy has in them: by the lists of its
 * configuration, or else by the direction of the listener. And who is not to be told.
 */

/** What each of them begins with. */
@unmanaged
export class Stream extends Entry {
  /** The root context that it was created for (roots.ts). */
  root: usize;
  config: Config;
  identity: Identity;
  /** What it does; null: nothing came by yet. */
  lists: Lists | null;
  /** What is known of it: flags of http.ts, or of tcp.ts. */
  flags: u32;
  /** What its two sides count as in metrics (traffic/series_of.ts); 0: nobody is known. */
  client: u64;
  server: u64;

  /** Begins a stream whose record is new. */
  begin(root: usize, config: Config, identity: Identity): void {
    this.root = root;
    this.config = config;
    this.identity = identity;
    this.lists = null;
    this.flags = 0;
    this.client = 0;
    this.server = 0;
  }
}

/** Values of `xds.listener_direction`: envoy.config.core.v3.TrafficDirection. */
const INBOUND: u64 = 1;
const OUTBOUND: u64 = 2;

/** Whether this Envoy knows the direction only under the name that it had before `xds` was there. */
let isOldHost: bool = false;

const property = slice(memory.data(8, 4));

/** What a stream does: one plugin configuration without lists may serve listeners of several directions. */
export function listsOf(config: Config): Lists {
  if (config.lists) return changetype<Lists>(config.lists);
  const direction = directionOf();
  if (direction == INBOUND) return lists.INBOUND;
  return direction == OUTBOUND ? lists.OUTBOUND : lists.UNSPECIFIED;
}

/** The direction of the listener that a stream came to; 0: it has none. */
function directionOf(): u64 {
  if (isOldHost || !properties.get(LISTENER_DIRECTION, property)) {
    isOldHost = properties.get(OLD_LISTENER_DIRECTION, property);
  }
  return property.size == 8 ? load<u64>(property.at) : 0;
}

/** Whose metrics these are, by the direction of the listener. */
export function reporterOf(lists_: Lists | null): u32 {
  let direction = 0 as u64;
  if (lists_ == lists.INBOUND) direction = INBOUND;
  else if (lists_ == lists.OUTBOUND) direction = OUTBOUND;
  else if (lists_ != lists.UNSPECIFIED) direction = directionOf();
  if (direction == INBOUND) return BY_DESTINATION;
  return direction == OUTBOUND ? BY_SOURCE : BY_WAYPOINT;
}

/** Whether anybody is told by the methods of a list: not those whom one of them leaves out. */
export function isToldBy(list: Method | null): bool {
  return skipsExternal(list) ? !isExternal() : list != null;
}

/**
 * Whether a list that tells a cluster tells it by the two headers. As Istio's native filter sees it they never go where
 * `disable_mx: true` stands; baggage does. A list that leaves clusters out has looked for that already.
 */
export function areHeadersTold(list: Method | null, config: Config): bool {
  return has(list, ISTIO_HEADERS) && (!config.speaksIstio || skipsExternal(list) || !isTrue(CLUSTER_DISABLED));
}

function skipsExternal(list: Method | null): bool {
  let method = list;
  while (method) {
    if (method.skipsExternal) return true;
    method = method.next;
  }
  return false;
}

/**
 * Whether a request leaves the mesh, as Istio's native filter sees it: to the PassthroughCluster, or to a cluster whose
 * metadata says `istio: {external: true}`, or `disable_mx: true`.
 */
function isExternal(): bool {
  if (properties.get(CLUSTER_NAME, property) && isText(property, 'PassthroughCluster')) return true;
  return isTrue(CLUSTER_EXTERNAL) || isTrue(CLUSTER_DISABLED);
}

/** Whether an attribute is `true`. */
export function isTrue(path: Slice): bool {
  return properties.get(path, property) && property.size > 0 && load<u8>(property.at) != 0;
}
