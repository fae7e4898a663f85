// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { now } from '../host/clock';
import { becomes } from '../host/contexts';
import * as grpc from '../host/grpc';
import * as log from '../host/log';
import { NODE, NODE_ID, OLD_NODE } from '../host/names';
import * as properties from '../host/properties';
import { startOver, take } from '../memory/arena';
import { allocate, release } from '../memory/blocks';
import { Slice, slice } from '../memory/slice';
import * as metrics from '../metrics/metrics';
import * as table from '../metrics/table';
import { Writer } from '../wire/protobuf';
import { readRecord } from '../wire/record';
import { faultOfText, SOUND } from '../wire/struct';
import { newWorkload, UID, VERSION } from '../wire/workload';
import * as xds from '../wire/xds';
import { HOLDING_LISTS, Holding, Holdings } from './holdings';
import { readResponse } from './response';
import { firstSource, ownNonce, Source, User } from './source';
import * as store from './store';

/**
 * The stream of delta ADS to a control plane: opened, answered, and opened again when it ends, ever more slowly while that
 * does not work. What was learned stays while the control plane is away.
 */

/** Seconds between two attempts, at most. */
const LONGEST_WAIT: u32 = 32;
/** Seconds after which a stream that still lives is up, even if the server, which may have nothing to say, said nothing. */
const QUIET: u32 = 10;
/** The most bytes of what we say that we have: servers of gRPC take 4 MiB. With more, the server sends everything again. */
const LARGEST_REQUEST: u32 = 2097152;
/** Bytes that are reserved for saying that we have one workload. */
const USUAL_VERSION: u32 = 160;
/** What stands in a request beside that. */
const ADDED: u32 = 1024;

const node = slice(memory.data(8, 4));
const request = slice(memory.data(8, 4));
const record = slice(memory.data(8, 4));
const address = slice(memory.data(8, 4));
const writer = changetype<Writer>(memory.data(16, 8));
const workload = newWorkload();

/** The source of a stream, or null: the token of one that another module, or an earlier stream, had. */
function sourceOf(token: u32): Source | null {
  let source = firstSource();
  while (source && source.token != token) source = source.next;
  return source;
}

/** Opens a stream, or waits on. Called once a second. */
export function keepOpen(source: Source): void {
  if (source.token) {
    if (++source.age == QUIET) prove(source);
    return;
  }
  if (source.wait > 0) {
    source.wait--;
    return;
  }
  const holdings = source.holdings;
  const user = source.users;
  if (holdings && user) open(source, holdings, user);
}

/** A stream has lived for a while: the next one need not wait. One that ends right after its answer proves nothing. */
function prove(source: Source): void {
  source.failures = 0;
  if (!source.isWarned) return;
  source.isWarned = false;
  log.line().add('workload discovery: the control plane answers');
  log.info();
}

function open(source: Source, holdings: Holdings, user: User): void {
  if (!becomes(user.root)) return;
  source.connection++;
  source.hasResponse = false;
  source.age = 0;
  source.root = user.root;
  const token = grpc.openStream(source.cluster);
  if (!token) {
    failed(source);
    return;
  }
  source.token = token;
  metrics.count(table.DISCOVERY_STREAMS);
  if (source.streams++ > 0) metrics.count(table.DISCOVERY_RECONNECTS);
  if (!sendFirst(source, holdings)) end(source);
}

/**
 * Sends the first request of a stream: who asks, and which workloads are known. The server then says only what changed. If
 * that is too much to say it sends everything, and what it does not name is gone.
 */
function sendFirst(source: Source, holdings: Holdings): bool {
  source.mustSweep = holdings.workloads > 0;
  readNode();
  const room = node.size + ADDED + min(LARGEST_REQUEST, holdings.workloads * USUAL_VERSION);
  const at = allocate(room);
  if (!at) return false;
  writer.open(at, room);
  xds.putFirst(writer, node);
  const bare = writer.head;
  putVersions(source, holdings);
  if (writer.full) {
    // Nothing is said of any, and so nothing is known to be there.
    source.connection++;
    writer.full = false;
    writer.head = bare;
  }
  request.set(writer.head, <u32>(at + room - writer.head));
  const isSent = grpc.send(source.token, request);
  release(at);
  return isSent;
}

/** Reads the node as the server wants to know it; of one that is too large for us only the id. */
function readNode(): void {
  startOver();
  if (properties.get(NODE, node) || properties.get(OLD_NODE, node)) {
    xds.leaveOutExtensions(node);
    return;
  }
  properties.get(NODE_ID, node);
  const at = take(node.size + 8);
  if (!at) return;
  writer.open(at, node.size + 8);
  const end = writer.head;
  writer.bytes(node.at, node.size);
  writer.close(1, end);
  node.set(writer.head, <u32>(end - writer.head));
}

/** Writes which workloads we have, as far as their uids can still be read, and notes of these that they are there. */
function putVersions(source: Source, holdings: Holdings): void {
  for (let list: u32 = 0; list < HOLDING_LISTS && !writer.full; list++) {
    let holding = holdings.list(list);
    while (holding) {
      if (holding.seen != source.connection && canReadUid(holdings, holding)) {
        xds.putVersion(writer, workload.text(UID), workload.text(VERSION));
        holdings.see(holding.hash(), source.connection);
      }
      holding = changetype<Holding | null>(holding.next);
    }
  }
}

/** Reads the record of a holding, if it is still there. */
function canReadUid(holdings: Holdings, holding: Holding): bool {
  startOver();
  holding.address(address);
  return (
    address.size > 0 &&
    store.findOf(holdings.scope(holding.scope), address, holding.hash(), record) &&
    readRecord(record, workload) &&
    isSayable(workload.text(UID)) &&
    isSayable(workload.text(VERSION))
  );
}

/** Whether the server can read a text: anybody could have written the record, and one that is no text breaks the request. */
function isSayable(text: Slice): bool {
  return faultOfText(text.at, text.end()) == SOUND;
}

/** A message came on a stream. */
export function received(token: u32, size: u32): void {
  const source = sourceOf(token);
  if (!source) return;
  const holdings = source.holdings;
  if (!holdings) return;
  const verdict = readResponse(source, holdings, size);
  source.hasResponse = true;
  source.lastResponse = now() / 1000000000;
  if (verdict.nonce.size == 0) return;
  startOver();
  const room = verdict.nonce.size + verdict.problem.size + ADDED;
  const at = take(room);
  writer.open(at, room);
  xds.putAnswer(writer, verdict.nonce, verdict.problem);
  request.set(writer.head, <u32>(at + room - writer.head));
  grpc.send(source.token, request);
}

/** A stream ended. */
export function closed(token: u32): void {
  const source = sourceOf(token);
  if (source) end(source);
}

function end(source: Source): void {
  grpc.close(source.token);
  lost(source);
  failed(source);
}

/** The stream is gone: Envoy ended it with its root context, or somebody else has the lease. */
export function lost(source: Source): void {
  source.token = 0;
  source.hasResponse = false;
}

/** Whether a stream is up. */
export function isConnected(source: Source): bool {
  return source.token != 0 && (source.hasResponse || source.age >= QUIET);
}

/** Ends a stream that is not wanted any more. */
export function stop(source: Source): void {
  if (!source.token) return;
  if (becomes(source.root)) grpc.close(source.token);
  lost(source);
}

/** Waits 1, 2, 4, ... seconds, and, so that not all proxies come at once, up to half of that less. */
function failed(source: Source): void {
  metrics.count(table.DISCOVERY_FAILURES);
  const wait = min(LONGEST_WAIT, (<u32>1) << min<u32>(source.failures, 5));
  source.failures++;
  const random = ((now() ^ ownNonce()) * 0x9e3779b97f4a7c15) >> 32;
  source.wait = wait - <u32>((random * ((wait >> 1) + 1)) >> 32);
  // That a server ends a stream now and then, and takes the next one, is usual.
  if (source.isWarned || source.failures < 2) return;
  source.isWarned = true;
  const line = log.line();
  line.add('workload discovery: no stream to the cluster ');
  line.addQuoted(source.cluster);
  line.add('; it is tried again and again, and what is known stays');
  log.warn();
}
