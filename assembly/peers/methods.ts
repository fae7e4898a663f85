// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { BAGGAGE, ENDPOINT_METADATA, ISTIO_HEADERS, Method, WORKLOAD_DISCOVERY } from '../config/lists';
import { Message } from '../host/headers';
import { findInBaggage } from './baggage';
import { findAtEndpoint } from './endpoint_metadata';
import { findInHeaders, PeerHeaders } from './headers';
import { Peer } from './peer';
import { findByAddress } from './workload_discovery';

/**
 * Asks the methods of a list in their order who the peer is; the first one that finds somebody ends the search, even if
 * what it found may not be published. `headers` are those of the message.
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
    if (method.kind == ISTIO_HEADERS && findInHeaders(headers, config, peer)) return true;
    if (method.kind == BAGGAGE && findInBaggage(message, config, peer)) return true;
    if (method.kind == WORKLOAD_DISCOVERY && findByAddress(message, config, peer)) return true;
    if (method.kind == ENDPOINT_METADATA && findAtEndpoint(peer)) return true;
    method = method.next;
  }
  return false;
}
