// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { ISTIO_HEADERS } from '../config/lists';
import { Slice } from '../memory/slice';
import { count } from '../metrics/metrics';
import { PEERS_RECEIVED } from '../metrics/table';
import { faultOf, SOUND } from '../wire/struct';
import { isReadableId } from './headers';
import { causeOf } from './metadata';
import { Peer } from './peer';

/**
 * The method `istio_headers` on a connection: a peer says who it is in a preface (wire/preface.ts). What cannot be read of
 * it is as if it had not been sent, and counted by the cause, as over HTTP.
 */
export function findInPreface(metadata: Slice, id: Slice, config: Config, peer: Peer): bool {
  if (metadata.size > 0) {
    const fault = faultOf(metadata);
    count(fault == SOUND ? PEERS_RECEIVED : causeOf(fault));
    if (fault == SOUND) peer.struct.copy(metadata);
  }
  if (isReadableId(id, config)) peer.id.copy(id);
  if (peer.struct.size == 0 && peer.id.size == 0) return false;
  peer.method = ISTIO_HEADERS;
  return true;
}
