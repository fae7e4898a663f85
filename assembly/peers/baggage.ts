// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { BAGGAGE } from '../config/lists';
import { Message, PRESENT, TOO_LARGE } from '../host/headers';
import { BAGGAGE_HEADER } from '../host/names';
import { slice } from '../memory/slice';
import { count } from '../metrics/metrics';
import { OVERSIZE, PEERS_RECEIVED, REFUSED_BAGGAGE } from '../metrics/table';
import { REFUSED, readBaggage, WORKLOAD } from '../wire/baggage';
import { Peer } from './peer';

/** The method `baggage`: a peer says who it is in W3C baggage. The baggage goes on: others have theirs in it. */

const list = slice(memory.data(8, 4));

/** Finds the peer that a message's baggage names. */
export function findInBaggage(message: Message, config: Config, peer: Peer): bool {
  const found = message.findList(BAGGAGE_HEADER, list, config.maxHeaderSize, 0);
  if (found == TOO_LARGE) count(OVERSIZE);
  if (found != PRESENT) return false;
  const said = readBaggage(list, peer.struct);
  if (said == REFUSED) count(REFUSED_BAGGAGE);
  if (said != WORKLOAD) {
    peer.struct.set(0, 0);
    return false;
  }
  count(PEERS_RECEIVED);
  peer.method = BAGGAGE;
  return true;
}
