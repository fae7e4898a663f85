// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { BAGGAGE, ENDPOINT_METADATA, ISTIO_HEADERS, Method, WORKLOAD_DISCOVERY } from '../config/lists';
import { Message } from '../host/headers';
import { Slice } from '../memory/slice';
import { findInBaggage } from './baggage';
import { findAtEndpoint } from './endpoint_metadata';
import { findInHeaders, PeerHeaders } from './headers';
import { CONNECTION_SERVER, Peer, Side } from './peer';
import { findInPreface } from './preface';
import { findAtAddress, findByAddress } from './workload_discovery';

/**
 * Asks the methods of a list in their order who the peer is; the first one that finds a Struct ends the search, even if
 * what it found may not be published. An id alone, in headers, is only taken where no later method finds more: its words
 * and those of another method are never mixed. `headers` are those of the message.
 */
export function findPeer(
  list: Method | null,
  message: Message,
  headers: PeerHeaders,
  config: Config,
  peer: Peer,
): bool {
  peer.clear();
  let method = list;
  while (method) {
    if (method.kind == ISTIO_HEADERS) {
      if (findInHeaders(headers, config, peer) && peer.struct.size > 0) return true;
    } else if (isFoundBy(method.kind, message, config, peer)) {
      peer.id.set(0, 0);
      return true;
    }
    method = method.next;
  }
  return peer.method != 0;
}

function isFoundBy(kind: u32, message: Message, config: Config, peer: Peer): bool {
  if (kind == BAGGAGE) return findInBaggage(message, config, peer);
  if (kind == WORKLOAD_DISCOVERY) return findByAddress(message, config, peer);
  return kind == ENDPOINT_METADATA && findAtEndpoint(peer);
}

/**
 * The same of a connection, on which a preface stands for the headers: `metadata` and `id` are what it said, of size 0 if
 * there was none.
 */
export function findPeerOfConnection(
  list: Method | null,
  side: Side,
  metadata: Slice,
  id: Slice,
  config: Config,
  peer: Peer,
): bool {
  peer.clear();
  const isServer = side == CONNECTION_SERVER;
  let method = list;
  while (method) {
    if (method.kind == ISTIO_HEADERS) {
      if (findInPreface(metadata, id, config, peer) && peer.struct.size > 0) return true;
    } else if (
      (method.kind == WORKLOAD_DISCOVERY && findAtAddress(isServer, config, peer)) ||
      (method.kind == ENDPOINT_METADATA && isServer && findAtEndpoint(peer))
    ) {
      peer.id.set(0, 0);
      return true;
    }
    method = method.next;
  }
  return peer.method != 0;
}
