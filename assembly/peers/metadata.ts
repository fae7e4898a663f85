// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { PlainFields } from '../config/plain';
import { now } from '../host/clock';
import { take } from '../memory/arena';
import { Cache } from '../memory/cache';
import { Slice, slice } from '../memory/slice';
import * as metrics from '../metrics/metrics';
import * as table from '../metrics/table';
import { decode, decodedSize } from '../wire/base64';
import { CONTROL_CHARACTER, faultOf, NESTING, NO_JSON_FORM, NOT_UTF8, SOUND } from '../wire/struct';
import { locate, tableSize } from './fields';
import { Peer } from './peer';

/**
 * What a metadata header says, and whether it may be passed on. A header that was seen before costs a hash and a compare:
 * what was made of it is kept under its bytes, never under what its sender calls itself, so that nobody gets what
 * somebody else sent, and a peer whose labels change is right at once. One cache serves all configurations of a VM, as
 * large as the one that asks for most.
 */
const cache = changetype<Cache>(memory.data(80, 8));
const member = slice(memory.data(8, 4));

/**
 * Makes the cache as large as a configuration asks, or, where there is no memory for that, half of it, and so on. The
 * answer is how many peers can be kept.
 */
export function resizeCache(entries: u32): u32 {
  if (cache.capacity == entries) return entries;
  while (entries > 0 && !cache.open(entries, now() * 0x9e3779b97f4a7c15)) entries >>= 1;
  if (entries == 0) cache.close();
  return entries;
}

/** Releases the cache: there is no configuration any more. */
export function closeCache(): void {
  cache.close();
}

/** Tells the metrics what is in the cache. */
export function countCache(): void {
  metrics.set(table.CACHE_ENTRIES, cache.count);
  metrics.set(table.CACHE_BYTES, cache.bytes);
  metrics.set(table.CACHE_EVICTIONS, cache.evictions);
}

/**
 * Reads a metadata header; the peer's Struct is then its own bytes, a serialized google.protobuf.Struct that any reader in
 * Envoy can take, and what is published of it by itself is found. False, and counted by its cause, if it is none: then nothing is passed on. `header` may point at
 * anything afterwards.
 */
export function readMetadata(header: Slice, config: Config, peer: Peer): bool {
  if (header.size == 0) return false;
  if (header.size > config.maxHeaderSize) return refuse(table.OVERSIZE);
  const struct = peer.struct;
  const fields = config.plain;
  const use = fields ? fields.number : 0;
  let hash: u64 = 0;
  const isCached = config.maxPeerCacheSize > 0;
  if (isCached) {
    if (cache.findNewest(header, use, struct)) return receivedFromCache(peer, fields);
    hash = cache.hash(header);
    if (cache.find(header, hash, use, struct)) return receivedFromCache(peer, fields);
    metrics.count(table.CACHE_MISSES);
  }
  const room = take(decodedSize(header.size) + tableSize(fields));
  // Where there is no room beside the header, it is decoded where it stands, and cannot be kept.
  if (!decode(header, room ? room : header.at, struct) && !(room && decodeFirst(header, room, struct))) {
    return refuse(table.REFUSED_BASE64);
  }
  const fault = faultOf(struct);
  if (fault != SOUND) return refuse(causeOf(fault));
  if (isCached && room) {
    keepPeer(cache, header, hash, fields, peer);
  }
  metrics.count(table.PEERS_RECEIVED);
  return true;
}

/** Several copies of a header may come joined by commas, which base64 does not have: the first counts, as elsewhere. */
function decodeFirst(header: Slice, room: usize, struct: Slice): bool {
  return firstMember(header, member) && decode(member, room, struct);
}

/** The first member of a list that is not empty, without spaces around it; false if the value is no list. */
export function firstMember(list: Slice, found: Slice): bool {
  const end = list.end();
  let begin = list.at;
  for (let at = begin; at <= end; at++) {
    if (at < end && load<u8>(at) != 0x2c) continue;
    if (at == end && begin == list.at) return false;
    let last = at;
    while (begin < last && load<u8>(begin) == 0x20) begin++;
    while (begin < last && load<u8>(last - 1) == 0x20) last--;
    if (begin < last) {
      found.set(begin, <u32>(last - begin));
      return true;
    }
    begin = at + 1;
  }
  found.set(end, 0);
  return true;
}

/** Keeps a peer's Struct, which has room for the table of these fields behind it, in a cache. */
export function keepPeer(to: Cache, key: Slice, hash: u64, fields: PlainFields | null, peer: Peer): void {
  const struct = peer.struct;
  if (fields) locate(struct, fields, struct.end());
  struct.size += tableSize(fields);
  to.keep(key, hash, fields ? fields.number : 0, struct);
  splitTable(peer, fields);
}

/** Takes the table of positions off what stands in a cache. */
export function splitTable(peer: Peer, fields: PlainFields | null): void {
  if (!fields) return;
  peer.struct.size -= tableSize(fields);
  peer.positions = peer.struct.end();
}

function receivedFromCache(peer: Peer, fields: PlainFields | null): bool {
  splitTable(peer, fields);
  metrics.count(table.CACHE_HITS);
  metrics.count(table.PEERS_RECEIVED);
  return true;
}

function refuse(cause: u32): bool {
  metrics.count(cause);
  return false;
}

/** By which metric a fault of a peer's Struct is counted. */
export function causeOf(fault: u32): u32 {
  if (fault == NOT_UTF8) return table.REFUSED_UTF8;
  if (fault == CONTROL_CHARACTER) return table.REFUSED_CONTROL;
  if (fault == NO_JSON_FORM) return table.REFUSED_NO_JSON_FORM;
  return fault == NESTING ? table.REFUSED_NESTING : table.REFUSED_PROTOBUF;
}
