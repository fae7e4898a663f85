// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { firstTold } from './config/application';
import { firstWay } from './config/ways';
import { REQUEST_HEADERS, RESPONSE_HEADERS } from './host/abi';
import { ABSENT, Message, remove } from './host/headers';
import * as http from './http';
import { HttpStream } from './http';
import { startOver } from './memory/arena';
import { Pool } from './memory/pool';
import { Slice, slice } from './memory/slice';
import * as metrics from './metrics/metrics';
import { STREAMS, STREAMS_UNSERVED } from './metrics/table';
import * as roots from './roots';
import { Root } from './roots';

/**
 * Streams: a record each, from the creation of its context to its deletion, found by the context's id in constant time.
 * The host deletes every context that it created, in whatever way a stream ended. Log and done come before that, and in
 * another order for TCP than for HTTP: so a record is released at deletion only.
 */

/** The most streams that a VM serves at once; each takes 48 bytes. */
const MOST_STREAMS: u32 = 131072;
const STREAM_LISTS: u32 = 16384;
const streams = changetype<Pool>(memory.data(32, 4));
streams.open(<u32>offsetof<HttpStream>(), MOST_STREAMS, memory.data(65536, 4), STREAM_LISTS);

/** A context begins. Root contexts, which have no parent, begin when they are configured. */
export function begin(id: u32, parent: u32): void {
  if (!parent) return;
  const root = roots.findRoot(parent);
  const entry = root ? streams.add(id) : null;
  if (!root || !entry) {
    metrics.count(STREAMS_UNSERVED);
    return;
  }
  const stream = changetype<HttpStream>(changetype<usize>(entry));
  stream.root = changetype<usize>(root);
  stream.config = root.config;
  stream.identity = root.identity;
  stream.lists = null;
  stream.flags = 0;
  stream.client = 0;
  stream.server = 0;
  root.streams++;
  metrics.set(STREAMS, streams.live);
}

/** A context was deleted: of a stream, or a root. */
export function end(id: u32): void {
  const stream = find(id);
  if (!stream) {
    roots.end(id);
    return;
  }
  const root = changetype<Root>(stream.root);
  streams.remove(stream);
  metrics.set(STREAMS, streams.live);
  root.streams--;
  roots.releaseIfUnused(root);
}

function find(id: u32): HttpStream | null {
  const entry = streams.find(id);
  return entry ? changetype<HttpStream>(changetype<usize>(entry)) : null;
}

/** The request of a stream, with so many headers. */
export function onRequestHeaders(id: u32, headerCount: u32): void {
  startOver();
  const stream = find(id);
  if (stream) http.onRequestHeaders(stream, headerCount);
  else strip(REQUEST_HEADERS, headerCount);
}

/** The response of a stream, with so many headers. */
export function onResponseHeaders(id: u32, headerCount: u32): void {
  startOver();
  const stream = find(id);
  if (stream) http.onResponseHeaders(stream, headerCount);
  else strip(RESPONSE_HEADERS, headerCount);
}

/** A stream is over, and its contexts will be deleted. */
export function onLog(id: u32): void {
  startOver();
  const stream = find(id);
  if (stream) http.onLog(stream);
}

const message = changetype<Message>(memory.data(24, 4));
const value = slice(memory.data(8, 4));

/**
 * A stream without a record: there are as many as may be, or no memory. Nobody can tell which configuration is its own.
 * So its messages carry nothing of any: neither the application nor a peer gets what it must not see.
 */
function strip(map: i32, headerCount: u32): void {
  message.open(map, headerCount);
  let way = firstWay();
  while (way) {
    stripHeader(way.metadataHeader);
    stripHeader(way.idHeader);
    way = way.next;
  }
  if (map != REQUEST_HEADERS) return;
  let told = firstTold();
  while (told) {
    stripHeader(told.name);
    told = told.next;
  }
}

function stripHeader(name: Slice): void {
  if (message.find(name, value) != ABSENT) remove(message.map, name);
}
