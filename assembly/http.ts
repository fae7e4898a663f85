// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from './config/config';
import { BAGGAGE, has, ISTIO_HEADERS, Lists, WORKLOAD_DISCOVERY } from './config/lists';
import { hasReaders, hasSeveralWays } from './config/ways';
import { REQUEST_HEADERS, RESPONSE_HEADERS } from './host/abi';
import { ABSENT, Message } from './host/headers';
import { CONTENT_TYPE } from './host/names';
import { beginsWith } from './memory/ascii';
import { slice } from './memory/slice';
import { removeOwnBaggage, saysWorkload, writeOwnBaggage } from './own/baggage';
import { settleHeader } from './own/headers';
import { isOurs } from './own/values';
import { tellApplication } from './peers/application';
import { newPeerHeaders } from './peers/headers';
import { findPeer } from './peers/methods';
import { CLIENT, newPeer, SERVER } from './peers/peer';
import { clearPublished, isPublished, isServerPublished, publish } from './peers/publish';
import { areHeadersTold, isToldBy, listsOf, reporterOf, Stream } from './roles';
import { ANSWERED, EARLIER, HAD_BAGGAGE, HAD_ID, HAD_METADATA, isAnswered, LOOKED, note, recall } from './runs';
import { countRequest } from './traffic/requests';
import { sideOf } from './traffic/series_of';

/**
 * One HTTP stream: the methods of each list are asked who the peer is, what was found is published, and the headers are
 * left as they must go on. Each of the two headers answers for itself: an id alone is answered by an id alone.
 */

/** A flag beside those of runs.ts: the request is one of gRPC. */
const GRPC: u32 = 64;

/** For one callback: the message that is being served, its peer headers, and the peer that they name. */
const message = changetype<Message>(memory.data(24, 4));
const headers = newPeerHeaders();
const peer = newPeer();
const property = slice(memory.data(8, 4));

/** Does what is to be done with a request that has so many headers. */
export function onRequestHeaders(stream: Stream, headerCount: u32): void {
  const config = stream.config;
  const identity = stream.identity;
  const lists = listsOf(config);
  const reads = has(lists.downstreamDiscovery, ISTIO_HEADERS);
  const looks = reads || has(lists.downstreamPropagation, ISTIO_HEADERS);
  const severalWays = hasSeveralWays();
  stream.lists = lists;
  peer.clear();
  message.open(REQUEST_HEADERS, headerCount);
  headers.clear();
  if (looks) headers.read(message, config);
  const isForeign = looks && headers.areThere() && !isOurs(headers.metadata) && !isOurs(headers.id);
  // Who knows nothing of clients, and has nobody beside it who does, needs no note of its first run.
  const writesBaggage = has(lists.upstreamPropagation, BAGGAGE);
  const looksAtBaggage = has(lists.downstreamPropagation, BAGGAGE);
  const looksAtAll = lists.downstreamDiscovery != null || looks || looksAtBaggage;
  const isNoted = looksAtAll || writesBaggage || hasReaders(config);
  let flags = isForeign || !isNoted ? 0 : recall(config, looks && !severalWays);
  const tells = isToldBy(lists.upstreamPropagation);
  if (flags & EARLIER || (!isNoted && isServerPublished())) {
    // The server that answered an earlier run is not the one that will answer this run.
    clearPublished(SERVER);
  } else if (isNoted) {
    if (looks) flags = LOOKED | flagsOf();
    if (looksAtBaggage && saysWorkload(message)) flags |= HAD_BAGGAGE;
    const isKnown = learnClient(lists, config, severalWays);
    stream.client = sideOf(peer, config);
    const isSaid = isKnown && !severalWays && flags == (LOOKED | HAD_METADATA | HAD_ID);
    // Who is found by address is found again in a later run.
    const isFoundAgain = peer.method == 0 || peer.method == WORKLOAD_DISCOVERY;
    const isNothing = isFoundAgain && (flags & ~LOOKED) == 0 && !tells && !lists.upstreamDiscovery;
    if (!isSaid && !isNothing) note(config, flags);
  }
  stream.flags = config.traffic && isGrpc() ? flags | GRPC : flags;
  if (reads || has(lists.upstreamPropagation, ISTIO_HEADERS)) {
    const sends = tells && areHeadersTold(lists.upstreamPropagation, config);
    settleHeader(REQUEST_HEADERS, config.metadataHeader, identity.metadata, sends, headers.metadataFound);
    settleHeader(REQUEST_HEADERS, config.idHeader, identity.id, sends, headers.idFound);
  }
  if (writesBaggage) {
    if (tells) writeOwnBaggage(message, identity.baggage);
    else if (flags & EARLIER) removeOwnBaggage(message);
  }
  const application = config.application;
  if (application) {
    const isPublished = severalWays || (flags & EARLIER) != 0;
    tellApplication(application, message, peer, config, lists.downstreamDiscovery != null, isPublished);
  }
}

/** Whether a request is one of gRPC. */
function isGrpc(): bool {
  return message.peek(CONTENT_TYPE, property) != ABSENT && beginsWith(property, 'application/grpc');
}

/** Does what is to be done when a request is over. */
export function onLog(stream: Stream): void {
  const config = stream.config;
  const traffic = config.traffic;
  if (!traffic) return;
  const reporter = reporterOf(stream.lists);
  countRequest(config, traffic, stream.identity, stream.client, stream.server, reporter, (stream.flags & GRPC) != 0);
}

/** Which of its headers the client sent, as flags. */
function flagsOf(): u32 {
  return (headers.metadataFound != ABSENT ? HAD_METADATA : 0) | (headers.idFound != ABSENT ? HAD_ID : 0);
}

/**
 * Finds out who the client is, and publishes it; of several filters that find one the first counts. Whether its Struct
 * and its id were published as its headers said them.
 */
function learnClient(lists: Lists, config: Config, severalWays: bool): bool {
  if (!lists.downstreamDiscovery || (severalWays && isPublished(CLIENT))) return false;
  if (!findPeer(lists.downstreamDiscovery, message, headers, config, peer)) return false;
  return publish(CLIENT, peer, config, severalWays) && peer.method == ISTIO_HEADERS;
}

/** Does what is to be done with a response that has so many headers. */
export function onResponseHeaders(stream: Stream, headerCount: u32): void {
  const lists = stream.lists;
  if (!lists) return;
  const config = stream.config;
  const identity = stream.identity;
  const reads = has(lists.upstreamDiscovery, ISTIO_HEADERS);
  const answers = has(lists.downstreamPropagation, ISTIO_HEADERS);
  message.open(RESPONSE_HEADERS, headerCount);
  headers.clear();
  if (reads) headers.read(message, config);
  if (lists.upstreamDiscovery && !isOwnAnswer(config)) {
    if (findPeer(lists.upstreamDiscovery, message, headers, config, peer)) {
      publish(SERVER, peer, config, hasSeveralWays());
      stream.server = sideOf(peer, config);
    }
  }
  const flags = stream.flags;
  const answersHeaders = answers && (flags & (HAD_METADATA | HAD_ID)) != 0;
  const answersBaggage = has(lists.downstreamPropagation, BAGGAGE) && (flags & HAD_BAGGAGE) != 0;
  const tells = (answersHeaders || answersBaggage) && isToldBy(lists.downstreamPropagation);
  if (tells && answersBaggage) writeOwnBaggage(message, identity.baggage);
  if (!reads && !answers) return;
  const sends = tells && answersHeaders && areHeadersTold(lists.downstreamPropagation, config);
  if (sends && flags & EARLIER) note(config, flags | ANSWERED);
  const sendsMetadata = sends && (flags & HAD_METADATA) != 0;
  settleHeader(RESPONSE_HEADERS, config.metadataHeader, identity.metadata, sendsMetadata, headers.metadataFound);
  settleHeader(RESPONSE_HEADERS, config.idHeader, identity.id, sends && (flags & HAD_ID) != 0, headers.idFound);
}

/** Whether the headers of a response are what a second filter of ours answered with, and not the server's. */
function isOwnAnswer(config: Config): bool {
  return (isOurs(headers.metadata) || isOurs(headers.id)) && isAnswered(config);
}
