// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { has, ISTIO_HEADERS, Method } from './config/lists';
import { ALWAYS, ENDPOINT } from './config/preface';
import { CONTINUE, DOWNSTREAM_DATA, STOP, UPSTREAM_DATA } from './host/abi';
import { now } from './host/clock';
import * as host from './host/connection';
import { becomes } from './host/contexts';
import { CONNECTION_PREFACES, ENDPOINT_PREFACE } from './host/names';
import * as properties from './host/properties';
import { startOver } from './memory/arena';
import { PLACE_SIZE, Place, Queue } from './memory/queue';
import { slice } from './memory/slice';
import * as metrics from './metrics/metrics';
import * as table from './metrics/table';
import { findPeerOfConnection } from './peers/methods';
import { CONNECTION_CLIENT, CONNECTION_SERVER, newPeer, Side } from './peers/peer';
import { isPublished, publish } from './peers/publish';
import { areHeadersTold, isToldBy, isTrue, listsOf, reporterOf, Stream } from './roles';
import { Count, countConnection } from './traffic/connections';
import { sideOf } from './traffic/series_of';
import { bodySize, HEAD_SIZE, mayBegin, readBody } from './wire/preface';

/**
 * One connection: at the begin of its bytes each way the peer's preface is read and cut out, and our own is put in front,
 * where the peer reads one (config/preface.ts). From then on its bytes pass, and no host call is made for them.
 *
 *                   client's bytes                                     server's bytes
 *     server side   the client's preface out                           own preface in front, as the answer
 *     client side   own preface in front, where the server reads it    the server's preface out, where ours went
 *
 * Bytes are held only while they may be a preface. No preface is ever written behind bytes of the application.
 */
@unmanaged
export class Connection extends Stream {
  /** Its places among those whose client's, or server's, bytes are held, and among those that are counted while open. */
  heldClient: Place;
  heldServer: Place;
  open: Place;
  count: Count;
  /** How many of the client's bytes are held. */
  heldSize: u32;
}

/** Flags of a connection. Of each direction: its preface is still to be read, nothing is to be done any more. */
const READS_CLIENT: u32 = 1;
const READS_SERVER: u32 = 2;
const CLIENT_DONE: u32 = 4;
const SERVER_DONE: u32 = 8;
/** Our preface goes to the server, and to the client. */
const TELLS_SERVER: u32 = 16;
const TELLS_CLIENT: u32 = 32;
/** The client is told if it sends a preface. */
const ANSWERS: u32 = 64;

/** What is noted in filter state of the prefaces that went out: a set of these two, and 0x40. */
const NOTED: u8 = 0x40;
const TO_SERVER: u8 = 1;
const TO_CLIENT: u8 = 2;

/** What the first bytes of a direction are. */
const NO_PREFACE: u32 = 0;
const MAY_BECOME: u32 = 1;
const PREFACE: u32 = 2;

const NANOSECONDS: u64 = 1000000000;
/** How long a preface may stop, and how often an open connection is counted. */
const MOST_HELD: u32 = 5;
const COUNTED_EVERY: u32 = 15;

/** Connections whose client's bytes are held, whose server's are, and those that are counted while they are open. */
const heldClients = changetype<Queue>(memory.data(8, 4));
const heldServers = changetype<Queue>(memory.data(8, 4));
const counted = changetype<Queue>(memory.data(8, 4));

/** For one callback. */
const bytes = slice(memory.data(8, 4));
const body = slice(memory.data(8, 4));
const metadata = slice(memory.data(8, 4));
const id = slice(memory.data(8, 4));
const noted = slice(memory.data(8, 4));
const note = memory.data(1);
const peer = newPeer();

/** Bytes of a connection's record, with what stands in it. */
const PLACES_AT: usize = (offsetof<Connection>() + 7) & ~7;
const COUNT_AT: usize = (PLACES_AT + 3 * PLACE_SIZE + 7) & ~7;
export const CONNECTION_SIZE: usize = (COUNT_AT + offsetof<Count>() + 7) & ~7;

/** Begins a connection, whose record is new, with what a stream knows of it. */
export function begin(connection: Connection, stream: Stream): void {
  const at = changetype<usize>(connection);
  connection.begin(stream.root, stream.config, stream.identity);
  memory.fill(at + PLACES_AT, 0, CONNECTION_SIZE - PLACES_AT);
  connection.heldClient = changetype<Place>(at + PLACES_AT);
  connection.heldServer = changetype<Place>(at + PLACES_AT + PLACE_SIZE);
  connection.open = changetype<Place>(at + PLACES_AT + 2 * PLACE_SIZE);
  connection.count = changetype<Count>(at + COUNT_AT);
  connection.heldSize = 0;
}

/** A connection's record is about to be taken back. */
export function end(connection: Connection): void {
  heldClients.remove(connection.heldClient);
  heldServers.remove(connection.heldServer);
  counted.remove(connection.open);
}

/** The client sent so many bytes that were not let go on yet; `isEnd`: it sends no more. */
export function onDownstreamData(connection: Connection, size: u32, isEnd: bool): u32 {
  if (connection.flags & CLIENT_DONE) return CONTINUE;
  startOver();
  decide(connection);
  let rest = size;
  if (connection.flags & READS_CLIENT) {
    // The host counts what was held again each time that more comes.
    connection.count.receivedBeside += connection.heldSize;
    connection.heldSize = 0;
    const found = lookAt(connection, DOWNSTREAM_DATA, size, isEnd);
    if (found == MAY_BECOME) {
      connection.heldSize = size;
      return STOP;
    }
    if (found == PREFACE) {
      rest -= HEAD_SIZE + body.size;
      connection.count.receivedBeside += HEAD_SIZE + body.size;
    }
  }
  return afterClient(connection, rest, isEnd);
}

/** What is to be done with the client's bytes once its preface was read, or there is none. */
function afterClient(connection: Connection, size: u32, isEnd: bool): u32 {
  // Nothing is left: an HTTP connection manager behind us would take no bytes for the begin of HTTP/1.
  if (size == 0 && !isEnd) return STOP;
  if (connection.flags & TELLS_SERVER && size > 0) tell(connection, DOWNSTREAM_DATA, TO_SERVER);
  connection.flags |= CLIENT_DONE;
  return CONTINUE;
}

/** The server sent so many bytes that were not let go on yet; `isEnd`: it sends no more. */
export function onUpstreamData(connection: Connection, size: u32, isEnd: bool): u32 {
  if (connection.flags & SERVER_DONE) return CONTINUE;
  startOver();
  decide(connection);
  let rest = size;
  if (connection.flags & READS_SERVER) {
    const found = lookAt(connection, UPSTREAM_DATA, size, isEnd);
    if (found == MAY_BECOME) return STOP;
    if (found == PREFACE) rest -= HEAD_SIZE + body.size;
  }
  if (rest == 0 && !isEnd) return CONTINUE;
  if (connection.flags & TELLS_CLIENT && rest > 0 && tell(connection, UPSTREAM_DATA, TO_CLIENT)) {
    connection.count.sentBeside += connection.identity.preface.size;
  }
  connection.flags |= SERVER_DONE;
  return CONTINUE;
}

/** At the first bytes, of whichever direction: who is told, and whose preface is read. The server is connected by then. */
function decide(connection: Connection): void {
  if (connection.lists) return;
  const config = connection.config;
  const lists = listsOf(config);
  connection.lists = lists;
  let flags = connection.flags;
  const hasPreface = connection.identity.preface.size > 0;
  const reads = has(lists.downstreamDiscovery, ISTIO_HEADERS);
  const answers = has(lists.downstreamPropagation, ISTIO_HEADERS);
  if (reads || answers) flags |= READS_CLIENT;
  if (answers && hasPreface) flags |= config.preface == ALWAYS ? TELLS_CLIENT : ANSWERS;
  if (isPrefaceRead(connection, lists.upstreamPropagation)) {
    if (hasPreface) flags |= TELLS_SERVER;
    if (has(lists.upstreamDiscovery, ISTIO_HEADERS)) flags |= READS_SERVER;
  }
  connection.flags = flags;
  if (config.traffic) counted.add(connection.open, changetype<usize>(connection), seconds() + COUNTED_EVERY);
  // On a side without a preface nothing more is to come that says who is there.
  metadata.set(0, 0);
  id.set(0, 0);
  if (!(flags & READS_CLIENT)) learn(connection, CONNECTION_CLIENT, lists.downstreamDiscovery);
  if (!(flags & READS_SERVER)) learn(connection, CONNECTION_SERVER, lists.upstreamDiscovery);
}

/** Whether the server reads our preface, as far as one is told. */
function isPrefaceRead(connection: Connection, list: Method | null): bool {
  const config = connection.config;
  if (!has(list, ISTIO_HEADERS) || config.preface < ENDPOINT) return false;
  if (config.preface == ENDPOINT && !isTrue(ENDPOINT_PREFACE)) return false;
  return isToldBy(list) && areHeadersTold(list, config);
}

/**
 * Looks for a preface at the begin of a direction's bytes. PREFACE: it is cut out, and who sent it is known; `body` is then
 * its body. NO_PREFACE: there is none, and none is to come. MAY_BECOME: the bytes are to be held.
 */
function lookAt(connection: Connection, data: i32, size: u32, isEnd: bool): u32 {
  const found = recognize(connection, data, size);
  if (found == MAY_BECOME && !isEnd) {
    hold(connection, data);
    return MAY_BECOME;
  }
  if (data == DOWNSTREAM_DATA) heldClients.remove(connection.heldClient);
  else heldServers.remove(connection.heldServer);
  const own = data == DOWNSTREAM_DATA ? TO_SERVER : TO_CLIENT;
  // What another filter of ours in the chain put there is not the peer's, which that filter has read.
  if (found == PREFACE && !(sentSoFar() & own) && host.cut(data, HEAD_SIZE + body.size)) {
    metrics.count(table.PREFACE_FOUND);
    settle(connection, data);
    if (data == DOWNSTREAM_DATA && connection.flags & ANSWERS) connection.flags |= TELLS_CLIENT;
    return PREFACE;
  }
  if (found == MAY_BECOME && size > 0) metrics.count(table.PREFACE_NOT_FOUND);
  missed(connection, data);
  return NO_PREFACE;
}

function hold(connection: Connection, data: i32): void {
  const due = seconds() + MOST_HELD;
  if (data == DOWNSTREAM_DATA) heldClients.add(connection.heldClient, changetype<usize>(connection), due);
  else heldServers.add(connection.heldServer, changetype<usize>(connection), due);
}

/** There is no preface at the begin of a direction's bytes, and none will be. */
function missed(connection: Connection, data: i32): void {
  metadata.set(0, 0);
  id.set(0, 0);
  settle(connection, data);
}

/** What the first bytes of a direction are, of which there are `size`. Nothing is held for what is refused. */
function recognize(connection: Connection, data: i32, size: u32): u32 {
  if (size == 0) return MAY_BECOME;
  if (!host.first(data, min(size, HEAD_SIZE), bytes) || !mayBegin(bytes.at, bytes.size)) {
    metrics.count(table.PREFACE_NOT_FOUND);
    return NO_PREFACE;
  }
  if (size < HEAD_SIZE) return MAY_BECOME;
  const wanted = bodySize(bytes.at);
  if (wanted == 0 || wanted > connection.config.maxHeaderSize) return refuse();
  if (size - HEAD_SIZE < wanted) return MAY_BECOME;
  if (!host.first(data, HEAD_SIZE + wanted, bytes)) return refuse();
  body.set(bytes.at + HEAD_SIZE, wanted);
  return readBody(body, metadata, id) ? PREFACE : refuse();
}

function refuse(): u32 {
  metrics.count(table.PREFACE_REFUSED);
  return NO_PREFACE;
}

/** What a direction's preface could say is known: `metadata` and `id`. */
function settle(connection: Connection, data: i32): void {
  const lists = connection.lists;
  if (!lists) return;
  if (data == DOWNSTREAM_DATA) {
    connection.flags &= ~READS_CLIENT;
    learn(connection, CONNECTION_CLIENT, lists.downstreamDiscovery);
  } else {
    connection.flags &= ~READS_SERVER;
    learn(connection, CONNECTION_SERVER, lists.upstreamDiscovery);
  }
}

/** Finds out who the peer of a side is, and publishes it; of several filters that find one the first counts. */
function learn(connection: Connection, side: Side, list: Method | null): void {
  const config = connection.config;
  if (!list || !findPeerOfConnection(list, side, metadata, id, config, peer) || isPublished(side)) return;
  publish(side, peer, config, false);
  const known = sideOf(peer, config);
  if (side == CONNECTION_CLIENT) connection.client = known;
  else connection.server = known;
}

/** Puts our preface in front of a direction's bytes, unless another filter of ours in the chain has done so. */
function tell(connection: Connection, data: i32, to: u8): bool {
  const sent = sentSoFar();
  if (sent & to || !host.prepend(data, connection.identity.preface)) return false;
  store<u8>(note, NOTED | sent | to);
  noted.set(note, 1);
  properties.set(CONNECTION_PREFACES, noted);
  metrics.count(table.PREFACE_SENT);
  return true;
}

/** Where prefaces of ours went already, by whichever filter of the chain. */
function sentSoFar(): u8 {
  return properties.get(CONNECTION_PREFACES, noted) && noted.size == 1 ? load<u8>(noted.at) : 0;
}

/** A connection has ended, and will be deleted. */
export function onLog(connection: Connection): void {
  startOver();
  report(connection, true);
}

/** Counts a connection in Istio's metrics. */
function report(connection: Connection, isOver: bool): void {
  const config = connection.config;
  const traffic = config.traffic;
  if (!traffic) return;
  if (!connection.lists) connection.lists = listsOf(config);
  countConnection(
    connection.count,
    config,
    traffic,
    connection.identity,
    connection.client,
    connection.server,
    reporterOf(connection.lists),
    isOver,
  );
}

/** A second has passed, for a root: what is due is done for the connections of all roots. */
export function tick(root: u32): void {
  if (heldClients.isEmpty() && heldServers.isEmpty() && counted.isEmpty()) return;
  const time = seconds();
  // What the host does for one of them may end others: the first one is looked for anew each time.
  for (let at = heldClients.takeDue(time); at; at = heldClients.takeDue(time)) stopHolding(changetype<Connection>(at));
  for (let at = heldServers.takeDue(time); at; at = heldServers.takeDue(time)) giveUp(changetype<Connection>(at));
  for (let at = counted.takeDue(time); at; at = counted.takeDue(time)) {
    const connection = changetype<Connection>(at);
    startOver();
    if (becomes(connection.id)) report(connection, false);
    counted.add(connection.open, at, time + COUNTED_EVERY);
  }
  becomes(root);
}

/** Lets the client's bytes go on as they are. */
function stopHolding(connection: Connection): void {
  if (!becomes(connection.id)) return;
  startOver();
  metrics.count(table.PREFACE_STALLED);
  missed(connection, DOWNSTREAM_DATA);
  afterClient(connection, 1, false);
  host.release();
}

/** The server's bytes cannot be let go on before more come. It said that it would send a preface, and does not. */
function giveUp(connection: Connection): void {
  if (!becomes(connection.id)) return;
  metrics.count(table.PREFACE_STALLED);
  host.close();
}

function seconds(): u32 {
  return <u32>(now() / NANOSECONDS);
}
