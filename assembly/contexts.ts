// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config, readConfig } from './config';
import { pluginConfiguration } from './host/buffers';
import * as log from './host/log';
import { DOWNSTREAM, DOWNSTREAM_ID, STRUCT_SCHEMA, UPSTREAM, UPSTREAM_ID } from './host/names';
import { declare, PROTOBUF_TYPE, STRING_TYPE } from './host/properties';
import * as http from './http';
import { Identity, readIdentity } from './identity';
import { reserve, startOver } from './memory/arena';
import { giveAll, takeBlock } from './memory/blocks';
import { entries, find, insert, remove } from './memory/id_table';
import { slice } from './memory/slice';
import * as metrics from './metrics';
import { countCache, dropCache, haveCache } from './peers';
import { VERSION } from './version';

/**
 * Who belongs to whom. One VM hosts many plugin configurations at once: those of several listeners, and during an
 * update the old one beside the new one until the old one's streams have ended. Each has a root context, and each
 * stream belongs to the root that it was created for.
 */
@unmanaged
class Root {
  id: u32;
  /** The next of the roots that are alive. */
  next: usize;
  config: Config;
  identity: Identity;
  /** Its streams, and the root context itself: when all are gone the memory is given back. */
  users: u32;
  /** What is known of its stream that ended last, if that got no response: see http.ts, `resume`. */
  unanswered: u32;
}

/** The roots that are alive, the newest first. */
let roots: usize = 0;

/** Beside what http.ts remembers of a stream: its request was seen, a response was seen. */
const REQUESTED: u32 = 0x10000;
const ANSWERED: u32 = 0x20000;

/**
 * The root of the stream that found the table full: see `insert`. Such a stream's request is served as any other;
 * its response is stripped but carries nothing of ours, since nothing is known of the request by then.
 */
let untrackedRoot: usize = 0;

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
  end(id);
  if (!insert(id, at)) {
    giveAll(at);
    return false;
  }
  const root = changetype<Root>(at);
  root.id = id;
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

/** A second has passed. */
export function tick(): void {
  let contexts = entries();
  for (let at = roots; at; at = changetype<Root>(at).next) contexts--;
  metrics.be(metrics.STREAMS, contexts);
  countCache();
  metrics.write();
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
  root.users = 1;
  root.unanswered = 0;
  declare(DOWNSTREAM, PROTOBUF_TYPE, STRUCT_SCHEMA);
  declare(DOWNSTREAM_ID, STRING_TYPE, noSchema);
  declare(UPSTREAM, PROTOBUF_TYPE, STRUCT_SCHEMA);
  declare(UPSTREAM_ID, STRING_TYPE, noSchema);
  return true;
}

/** A context begins. Root contexts, which have no parent, begin when they are configured. */
export function begin(id: u32, parent: u32): void {
  const parentEntry = parent ? find(parent) : null;
  if (!parentEntry) return;
  if (insert(id, parentEntry.owner)) changetype<Root>(parentEntry.owner).users++;
  else untrackedRoot = parentEntry.owner;
}

/** A request of a stream. */
export function onRequestHeaders(id: u32): void {
  startOver();
  const entry = find(id);
  const at = entry ? entry.owner : untrackedRoot;
  if (!at) return;
  const root = changetype<Root>(at);
  const known = http.onRequestHeaders(root.config, root.identity, root.unanswered);
  root.unanswered = 0;
  if (entry) entry.known = known | REQUESTED;
}

/** A response of a stream. */
export function onResponseHeaders(id: u32): void {
  startOver();
  const entry = find(id);
  const at = entry ? entry.owner : untrackedRoot;
  if (!at) return;
  const root = changetype<Root>(at);
  const known = entry ? entry.known : http.methodsOf(root.config);
  http.onResponseHeaders(root.config, root.identity, known);
  if (entry) entry.known = known | ANSWERED;
}

/** A context ends, a stream's or a root's. */
export function end(id: u32): void {
  const entry = find(id);
  if (!entry) return;
  const at = entry.owner;
  const known = entry.known;
  remove(entry);
  const root = changetype<Root>(at);
  root.unanswered = (known & (REQUESTED | ANSWERED)) == REQUESTED ? known : 0;
  if (root.id == id) endRoot(root);
  root.users--;
  if (root.users > 0) return;
  if (untrackedRoot == at) untrackedRoot = 0;
  giveAll(at);
}

/** A root context ends, perhaps before its streams. What it counted must be written now: it will not tick again. */
function endRoot(root: Root): void {
  const place = changetype<usize>(root);
  if (roots == place) {
    roots = root.next;
  } else {
    let before = roots;
    while (before && changetype<Root>(before).next != place) before = changetype<Root>(before).next;
    if (before) changetype<Root>(before).next = root.next;
  }
  countRoot(root, -1);
  if (!roots) dropCache();
  tick();
}
