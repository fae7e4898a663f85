// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config, readConfig } from './config';
import { pluginConfiguration } from './host/buffers';
import * as log from './host/log';
import {
  DOWNSTREAM,
  DOWNSTREAM_ID,
  DOWNSTREAM_VERIFIED,
  STRUCT_SCHEMA,
  UPSTREAM,
  UPSTREAM_ID,
  UPSTREAM_VERIFIED,
} from './host/names';
import { declare, PROTOBUF_TYPE, STRING_TYPE } from './host/properties';
import * as http from './http';
import { Identity, readIdentity } from './identity';
import { reserve, startOver } from './memory/arena';
import { giveAll, takeBlock } from './memory/blocks';
import { slice } from './memory/slice';
import { claim, find, release, releaseAll } from './memory/stream_table';
import * as metrics from './metrics';
import { countCache, haveCache } from './peers';
import { VERSION } from './version';

/**
 * Who belongs to whom. One VM hosts many plugin configurations at once: those of several listeners, and during an
 * update the old one beside the new one until the old one's streams have ended. Each has a root context, and each
 * stream belongs to the root that it was created for.
 *
 * Envoy tells a module that a context ended only if it wants to hear it of every stream as well, which is dear (see
 * memory/stream_table.ts). A root is known to have ended by its silence: each ticks once a second while it lives, and
 * Envoy lets it live as long as its streams.
 */
@unmanaged
class Root {
  id: u32;
  /** The next of the roots that are alive. */
  next: usize;
  config: Config;
  identity: Identity;
  /** The round in which it ticked last. */
  round: u32;
}

/** The roots that are alive, the one that was sought last first. */
let roots: usize = 0;

/** Ticks come in rounds: a new one begins when a root ticks again. A root that missed so many of them is gone. */
const MISSED_ROUNDS: u32 = 4;
let round: u32 = 0;

/** Beside what http.ts remembers of a stream: its request was seen. */
const REQUESTED: u32 = 0x10000;

let isVersionLogged: bool = false;
const configuration = slice(memory.data(8, 4));
const noSchema = slice(memory.data(8, 4));

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
  const at = takeBlock(offsetof<Root>());
  if (!at) return false;
  if (!readRoot(changetype<Root>(at), size)) {
    giveAll(at);
    return false;
  }
  const earlier = findRoot(id);
  if (earlier) end(earlier);
  const root = changetype<Root>(at);
  root.id = id;
  root.round = round;
  root.next = roots;
  roots = at;
  if (!haveCache(mostPeers())) {
    log.line().add('there is no memory for a cache of peers: each header is decoded anew');
    log.warn();
  }
  metrics.start();
  countRoot(root, 1);
  return true;
}

/** The cache size that the configuration asks for which asks for most. */
function mostPeers(): u32 {
  let most: u32 = 0;
  for (let at = roots; at; at = changetype<Root>(at).next) {
    most = max(most, changetype<Root>(at).config.maxPeerCacheSize);
  }
  return most;
}

function countRoot(root: Root, sign: i64): void {
  metrics.change(metrics.CONFIGURATIONS, sign);
  metrics.change(metrics.OWN_HEADER_BYTES, sign * root.identity.metadata.size);
}

/** The root of an id, or null. Few are alive at a time, and the one that was sought last comes first. */
function findRoot(id: u32): Root | null {
  let before: usize = 0;
  for (let at = roots; at; before = at, at = changetype<Root>(at).next) {
    const root = changetype<Root>(at);
    if (root.id != id) continue;
    if (before) {
      changetype<Root>(before).next = root.next;
      root.next = roots;
      roots = at;
    }
    return root;
  }
  return null;
}

/** A second has passed for a root. */
export function tick(id: u32): void {
  const ticking = findRoot(id);
  if (!ticking) return;
  if (ticking.round == round) round++;
  ticking.round = round;
  let at = roots;
  while (at) {
    const root = changetype<Root>(at);
    at = root.next;
    if (round - root.round > MISSED_ROUNDS) end(root);
  }
  countCache();
  metrics.write();
}

/** Forgets a root, its streams and all that was kept for it. */
function end(root: Root): void {
  findRoot(root.id);
  roots = root.next;
  countRoot(root, -1);
  releaseAll(changetype<usize>(root));
  giveAll(changetype<usize>(root));
}

function readRoot(root: Root, size: u32): bool {
  // Room for the text, and for what its strings are without escapes.
  if (!reserve(size * 4) || !pluginConfiguration(size, configuration)) return false;
  const owner = changetype<usize>(root);
  const config = readConfig(configuration, owner);
  if (!config) return false;
  const identity = readIdentity(config, owner);
  if (!identity) return false;
  root.config = config;
  root.identity = identity;
  declare(DOWNSTREAM, PROTOBUF_TYPE, STRUCT_SCHEMA);
  declare(DOWNSTREAM_ID, STRING_TYPE, noSchema);
  declare(UPSTREAM, PROTOBUF_TYPE, STRUCT_SCHEMA);
  declare(UPSTREAM_ID, STRING_TYPE, noSchema);
  if (config.verification) {
    declare(DOWNSTREAM_VERIFIED, STRING_TYPE, noSchema);
    declare(UPSTREAM_VERIFIED, STRING_TYPE, noSchema);
  }
  return true;
}

/** A context begins. Root contexts, which have no parent, begin when they are configured. */
export function begin(id: u32, parent: u32): void {
  const root = parent ? findRoot(parent) : null;
  if (root) {
    claim(id, changetype<usize>(root));
    return;
  }
  // Ids begin anew one day: what was known of the one before is not this one's.
  const place = find(id);
  if (place) release(place);
}

/** The request of a stream, with so many headers. */
export function onRequestHeaders(id: u32, headerCount: u32): void {
  startOver();
  const place = find(id);
  if (!place) return;
  const root = changetype<Root>(place.owner);
  place.known = http.onRequestHeaders(root.config, root.identity, headerCount) | REQUESTED;
}

/**
 * The response of a stream, with so many headers. One that was forgotten is taken for a stream of the root that was
 * sought last, whose request had no headers of ours: the response is read and stripped, and carries nothing of ours.
 */
export function onResponseHeaders(id: u32, headerCount: u32): void {
  startOver();
  const place = find(id);
  const at = place ? place.owner : roots;
  if (!at || (place && !(place.known & REQUESTED))) return;
  const root = changetype<Root>(at);
  const known = place ? place.known : http.methodsOf(root.config);
  if (place) release(place);
  http.onResponseHeaders(root.config, root.identity, known, headerCount);
}
