// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { leaveTold, useTold } from './config/application';
import { Config, readConfig } from './config/config';
import { CONNECTION_CLIENT_FIELDS, CONNECTION_SERVER_FIELDS, leavePlain, SIDES, usePlain } from './config/plain';
import { OFF } from './config/verification';
import { leaveWay, useWay } from './config/ways';
import { User } from './discovery/source';
import * as discovery from './discovery/upkeep';
import { pluginConfiguration } from './host/buffers';
import * as log from './host/log';
import { CONNECTION_PREFACES, STRUCT_SCHEMA } from './host/names';
import { CONNECTION_SPAN, declare, PROTOBUF_TYPE, REQUEST_SPAN, STRING_TYPE } from './host/properties';
import { reserve, startOver } from './memory/arena';
import { allocate, releaseAll } from './memory/blocks';
import { Entry, Pool } from './memory/pool';
import { slice } from './memory/slice';
import * as metrics from './metrics/metrics';
import { CONFIGURATIONS, OWN_HEADER_BYTES } from './metrics/table';
import { Identity, readIdentity } from './own/identity';
import { closeCache, countCache, resizeCache } from './peers/metadata';
import { CLIENT, CONNECTION_CLIENT, CONNECTION_SERVER, SERVER, Side } from './peers/peer';
import { closeAnswers, openAnswers } from './peers/workload_discovery';
import { openSeries } from './traffic/series_of';
import { VERSION } from './version';

/**
 * Root contexts: one for each plugin configuration, from its configuration to its end. One VM hosts many at once: those
 * of several listeners, and during an update the old one beside the new one until the old one's streams have ended.
 */
@unmanaged
export class Root {
  /** The next of all roots. */
  next: Root | null;
  config: Config;
  identity: Identity;
  /** How many of its streams are alive: a root that ended stays as long as they do. */
  streams: u32;
  hasEnded: bool;
  /** Its part in workload discovery; null: it has none. */
  discovery: User | null;
  /** Whether the gauges have it: from its first tick on, since a VM that only tries a configuration out never ticks. */
  isCounted: bool;
}

let all: Root | null = null;

/** The roots by their ids. */
@unmanaged
class RootEntry extends Entry {
  root: Root;
}

const MOST_ROOTS: u32 = 65536;
const ROOT_LISTS: u32 = 1024;
const roots = changetype<Pool>(memory.data(32, 4));
roots.open(<u32>offsetof<RootEntry>(), MOST_ROOTS, memory.data(4096, 4), ROOT_LISTS);

let isVersionLogged: bool = false;
const configuration = slice(memory.data(8, 4));
const noSchema = slice(memory.data(8, 4));

/** The root of an id that has not ended, or null. */
export function findRoot(id: u32): Root | null {
  const entry = roots.find(id);
  return entry ? changetype<RootEntry>(changetype<usize>(entry)).root : null;
}

/** Loads the configuration of a root context, `size` bytes; false, with the reason in the log, if it is refused. */
export function configure(id: u32, size: u32): bool {
  startOver();
  if (!isVersionLogged) {
    const line = log.line();
    line.add('version ');
    line.add(VERSION);
    log.info();
    isVersionLogged = true;
  }
  const at = allocate(offsetof<Root>());
  if (!at) return log.noMemory();
  memory.fill(at, 0, offsetof<Root>());
  const root = changetype<Root>(at);
  if (!readRoot(root, size)) {
    releaseAll(at);
    return false;
  }
  end(id);
  const entry = roots.add(id);
  if (!entry || !join(root.config)) {
    if (entry) roots.remove(entry);
    releaseAll(at);
    return log.noMemory();
  }
  declareFields(root.config);
  discover(root, id);
  const traffic = root.config.traffic;
  if (traffic && !openSeries(traffic)) {
    log.line().add('there is no memory for metrics of requests, they are not counted');
    log.warn();
    root.config.traffic = null;
  }
  changetype<RootEntry>(changetype<usize>(entry)).root = root;
  root.identity.metadataValue.add(root.identity.metadata);
  root.identity.idValue.add(root.identity.id);
  root.next = all;
  all = root;
  const wanted = mostPeers();
  const had = resizeCache(wanted);
  if (had < wanted) {
    const line = log.line();
    line.add('there is no memory for a cache of so many peers, it keeps ');
    line.addNumber(had);
    log.warn();
  }
  metrics.start();
  return true;
}

/** Has workload discovery go on for a root, if it wants that. */
function discover(root: Root, id: u32): void {
  root.discovery = discovery.begin(root.config, id, changetype<usize>(root));
  if (!root.config.discoveryCluster) return;
  openAnswers();
  if (root.discovery) return;
  log.line().add('there is no memory for workload discovery, peers are not looked up by their addresses');
  log.warn();
}

/** Takes a configuration in among those of the VM; false if there is no memory for that. */
function join(config: Config): bool {
  if (!usePlain(config)) return false;
  if (useWay(config)) {
    if (useTold(config)) return true;
    leaveWay(config);
  }
  leavePlain(config);
  return false;
}

function readRoot(root: Root, size: u32): bool {
  // Room for the text, and for what its strings are without escapes.
  if (!reserve(<usize>size * 4)) return log.noMemory();
  if (!pluginConfiguration(size, configuration)) return false;
  const owner = changetype<usize>(root);
  const config = readConfig(configuration, owner);
  if (!config) return false;
  const identity = readIdentity(config, owner);
  if (!identity) return false;
  root.config = config;
  root.identity = identity;
  declareSide(CLIENT, config);
  declareSide(SERVER, config);
  declareSide(CONNECTION_CLIENT, config);
  declareSide(CONNECTION_SERVER, config);
  declare(config.firstRun, STRING_TYPE, noSchema, REQUEST_SPAN);
  declare(CONNECTION_PREFACES, STRING_TYPE, noSchema, CONNECTION_SPAN);
  return true;
}

function declareSide(side: Side, config: Config): void {
  const span = spanOf(side.number);
  declare(side.struct, PROTOBUF_TYPE, STRUCT_SCHEMA, span);
  declare(side.id, STRING_TYPE, noSchema, span);
  if (config.verification.mode != OFF) declare(side.verified, STRING_TYPE, noSchema, span);
}

/** How long what is known of a side's peer lives. */
function spanOf(side: u32): u8 {
  return side == CONNECTION_CLIENT_FIELDS || side == CONNECTION_SERVER_FIELDS ? CONNECTION_SPAN : REQUEST_SPAN;
}

function declareFields(config: Config): void {
  const fields = config.plain;
  if (!fields) return;
  for (let i: u32 = 0; i < fields.count; i++) {
    for (let side: u32 = 0; side < SIDES; side++) declare(fields.name(i, side), STRING_TYPE, noSchema, spanOf(side));
  }
}

/** The cache size that the configuration asks for which asks for most. */
function mostPeers(): u32 {
  let most: u32 = 0;
  let root = all;
  while (root) {
    most = max(most, root.config.maxPeerCacheSize);
    root = root.next;
  }
  return most;
}

/** A second has passed for a root. */
export function tick(id: u32): void {
  const root = findRoot(id);
  if (!root) return;
  if (!root.isCounted) {
    root.isCounted = true;
    countRoot(root, 1);
  }
  discovery.tick(id);
  discovery.count();
  countCache();
  metrics.write();
}

function countRoot(root: Root, sign: i64): void {
  metrics.change(CONFIGURATIONS, sign);
  metrics.change(OWN_HEADER_BYTES, sign * root.identity.metadata.size);
}

/** A root context ended. What it was counted for is written now: no tick follows. */
export function end(id: u32): void {
  const entry = roots.find(id);
  if (!entry) return;
  const root = changetype<RootEntry>(changetype<usize>(entry)).root;
  roots.remove(entry);
  root.hasEnded = true;
  root.identity.metadataValue.remove();
  root.identity.idValue.remove();
  leaveWay(root.config);
  unchain(root);
  leaveTold(root.config);
  const user = root.discovery;
  if (user) discovery.end(user);
  if (!all) {
    closeCache();
    closeAnswers();
  }
  if (root.isCounted) {
    countRoot(root, -1);
    countCache();
    metrics.write();
  }
  releaseIfUnused(root);
}

function unchain(root: Root): void {
  if (all == root) {
    all = root.next;
    return;
  }
  let before = all;
  while (before && before.next != root) before = before.next;
  if (before) before.next = root.next;
}

/** Releases a root and all that was kept for it, if it ended and none of its streams is alive. */
export function releaseIfUnused(root: Root): void {
  if (!root.hasEnded || root.streams > 0) return;
  leavePlain(root.config);
  releaseAll(changetype<usize>(root));
}
