// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { firstTold } from './config/application';
import { firstWay } from './config/ways';
import { CONTINUE, REQUEST_HEADERS, RESPONSE_HEADERS } from './host/abi';
import { ABSENT, Message, remove } from './host/headers';
import * as http from './http';
import { startOver } from './memory/arena';
import { Pool } from './memory/pool';
import { Slice, slice } from './memory/slice';
import * as metrics from './metrics/metrics';
import { CONNECTIONS, STREAMS, STREAMS_UNSERVED } from './metrics/table';
import { Stream } from './roles';
import * as roots from './roots';
import { Root } from './roots';
import * as tcp from './tcp';
import { CONNECTION_SIZE, Connection } from './tcp';

/**
 * HTTP streams, and connections of listeners with the filter for connections: a record each, from the creation of its context to its deletion, found by the context's id in constant time.
 * The host deletes every context that it created, in whatever way a stream ended. Log and done come before that, and in
 * another order for TCP than for HTTP: so a record is released at deletion only.
 */

/** The most streams that a VM serves at once; each takes 48 bytes. */
const MOST_STREAMS: u32 = 131072;
const STREAM_LISTS: u32 = 16384;
const streams = changetype<Pool>(memory.data(32, 4));
streams.open(<u32>offsetof<Stream>(), MOST_STREAMS, memory.data(65536, 4), STREAM_LISTS);
streams.fill();

/** The most connections, each of which takes CONNECTION_SIZE bytes. */
const MOST_CONNECTIONS: u32 = 65536;
const CONNECTION_LISTS: u32 = 4096;
const connections = changetype<Pool>(memory.data(32, 4));
connections.open(<u32>CONNECTION_SIZE, MOST_CONNECTIONS, memory.data(16384, 4), CONNECTION_LISTS);

/** A context begins. Root contexts, which have no parent, begin when they are configured. */
export function begin(id: u32, parent: u32): void {
  if (!parent) return;
  const root = roots.findRoot(parent);
  const entry = root ? streams.add(id) : null;
  if (!root || !entry) {
    metrics.count(STREAMS_UNSERVED);
    return;
  }
  const stream = changetype<Stream>(changetype<usize>(entry));
  stream.begin(changetype<usize>(root), root.config, root.identity);
  root.streams++;
  metrics.set(STREAMS, streams.live);
}

/** The context of a stream turns out to be that of a connection: the host tells right after it was created. */
export function becomesConnection(id: u32): void {
  const stream = find(id);
  if (!stream) return;
  const entry = connections.add(id);
  if (entry) tcp.begin(changetype<Connection>(changetype<usize>(entry)), stream);
  else metrics.count(STREAMS_UNSERVED);
  const root = changetype<Root>(stream.root);
  streams.remove(stream);
  if (!entry) leave(root);
  metrics.set(STREAMS, streams.live);
  metrics.set(CONNECTIONS, connections.live);
}

/** A context was deleted: of a stream, a connection, or a root. */
export function end(id: u32): void {
  const stream = find(id);
  if (stream) {
    const root = changetype<Root>(stream.root);
    streams.remove(stream);
    metrics.set(STREAMS, streams.live);
    leave(root);
    return;
  }
  const connection = findConnection(id);
  if (!connection) {
    roots.end(id);
    return;
  }
  const root = changetype<Root>(connection.root);
  tcp.end(connection);
  connections.remove(connection);
  metrics.set(CONNECTIONS, connections.live);
  leave(root);
}

/** A root has one stream less. */
function leave(root: Root): void {
  root.streams--;
  roots.releaseIfUnused(root);
}

function find(id: u32): Stream | null {
  const entry = streams.find(id);
  return entry ? changetype<Stream>(changetype<usize>(entry)) : null;
}

function findConnection(id: u32): Connection | null {
  const entry = connections.find(id);
  return entry ? changetype<Connection>(changetype<usize>(entry)) : null;
}

/** Bytes of a client, or of its server. A connection without a record passes as it is. */
export function onDownstreamData(id: u32, size: u32, isEnd: bool): u32 {
  const connection = findConnection(id);
  return connection ? tcp.onDownstreamData(connection, size, isEnd) : CONTINUE;
}

export function onUpstreamData(id: u32, size: u32, isEnd: bool): u32 {
  const connection = findConnection(id);
  return connection ? tcp.onUpstreamData(connection, size, isEnd) : CONTINUE;
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

/** A stream or a connection is over, and its context will be deleted. */
export function onLog(id: u32): void {
  startOver();
  const stream = find(id);
  if (stream) {
    http.onLog(stream);
    return;
  }
  const connection = findConnection(id);
  if (connection) tcp.onLog(connection);
}

/** A second has passed for a root. */
export function tick(root: u32): void {
  tcp.tick(root);
  roots.tick(root);
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
