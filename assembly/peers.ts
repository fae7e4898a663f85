// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from './config';
import { now } from './host/clock';
import { take } from './memory/arena';
import * as cache from './memory/cache';
import { Slice } from './memory/slice';
import * as metrics from './metrics';
import { decode, decodedSize } from './wire/base64';
import { isSoundStruct, NESTING, NO_JSON_FORM, NOT_UTF8, whyNotSound } from './wire/struct';
import { isUtf8 } from './wire/utf8';

/**
 * What other proxies say of themselves, and whether it may be passed on. A header that was seen before costs a hash and
 * a compare: what was made of it is kept under its bytes, never under what its sender calls itself, so that nobody gets
 * what somebody else sent, and a peer whose labels change is right at once. One cache serves all configurations of a
 * VM, as large as the one that asks for most.
 */

/** Sees to it that the cache is as large as a configuration asks; false if there is no memory for it. */
export function haveCache(entries: u32): bool {
  return cache.cacheCapacity() == entries || cache.openCache(entries, now() * 0x9e3779b97f4a7c15);
}

/** Tells the metrics what is in the cache. */
export function countCache(): void {
  metrics.be(metrics.CACHE_ENTRIES, cache.cacheEntries());
  metrics.be(metrics.CACHE_BYTES, cache.cacheBytes());
  metrics.be(metrics.CACHE_EVICTIONS, cache.cacheEvictions());
}

/**
 * Reads a metadata header; `struct` is then the peer's own bytes, a serialized google.protobuf.Struct that any reader in
 * Envoy can take. False, and counted by its cause, if it is none: then nothing is passed on.
 */
export function readMetadata(header: Slice, config: Config, struct: Slice): bool {
  if (header.size == 0) return false;
  if (header.size > config.maxHeaderSize) return refuse(metrics.OVERSIZE);
  const isCached = config.maxPeerCacheSize > 0;
  if (isCached && cache.find(header, struct)) {
    metrics.count(metrics.CACHE_HITS);
    metrics.count(metrics.PEERS_RECEIVED);
    return true;
  }
  if (isCached) metrics.count(metrics.CACHE_MISSES);
  const room = take(decodedSize(header.size));
  if (!room) return refuse(metrics.OVERSIZE);
  if (!decode(header, room, struct)) return refuse(metrics.REFUSED_BASE64);
  if (!isSoundStruct(struct)) return refuse(causeOf(whyNotSound()));
  if (isCached) cache.keep(header, struct);
  metrics.count(metrics.PEERS_RECEIVED);
  return true;
}

/** Whether an id header may be passed on: access logs and CEL want UTF-8, HTTP allows any bytes. */
export function isReadableId(header: Slice, config: Config): bool {
  if (header.size == 0) return false;
  if (header.size > config.maxHeaderSize) return refuse(metrics.OVERSIZE);
  return isUtf8(header.at, header.end()) || refuse(metrics.REFUSED_ID);
}

function refuse(cause: u32): bool {
  metrics.count(cause);
  return false;
}

function causeOf(fault: u32): u32 {
  if (fault == NOT_UTF8) return metrics.REFUSED_UTF8;
  if (fault == NO_JSON_FORM) return metrics.REFUSED_NO_JSON_FORM;
  return fault == NESTING ? metrics.REFUSED_NESTING : metrics.REFUSED_PROTOBUF;
}
