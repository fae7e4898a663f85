// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { ISTIO_HEADERS } from '../config/lists';
import { ABSENT, Message, PRESENT, TOO_LARGE } from '../host/headers';
import { allocate } from '../memory/blocks';
import { SLICE_SIZE, Slice, slice } from '../memory/slice';
import { count } from '../metrics/metrics';
import { OVERSIZE, REFUSED_ID } from '../metrics/table';
import { faultOfText, SOUND } from '../wire/struct';
import { firstMember, readMetadata } from './metadata';
import { Peer } from './peer';

/** The method `istio_headers`: a peer says who it is in two headers. */

/** The two headers of a message as they came. */
@unmanaged
export class PeerHeaders {
  metadata: Slice;
  id: Slice;
  /** ABSENT, PRESENT or TOO_LARGE. */
  metadataFound: u32;
  idFound: u32;

  /** Nothing is known of them: they may be there. */
  clear(): void {
    this.metadata.set(0, 0);
    this.id.set(0, 0);
    this.metadataFound = PRESENT;
    this.idFound = PRESENT;
  }

  /** Reads both headers: of each the first copy that is not empty. */
  read(message: Message, config: Config): void {
    this.metadataFound = message.find(config.metadataHeader, this.metadata);
    this.idFound = message.find(config.idHeader, this.id);
    firstMember(this.id, this.id);
  }

  /** Whether one of them is there, even an empty one. */
  areThere(): bool {
    return this.metadataFound != ABSENT || this.idFound != ABSENT;
  }
}

/** Room for the headers of one message: for module variables only. */
export function newPeerHeaders(): PeerHeaders {
  const at = allocate(offsetof<PeerHeaders>() + 2 * SLICE_SIZE);
  const headers = changetype<PeerHeaders>(at);
  headers.metadata = slice(at + offsetof<PeerHeaders>());
  headers.id = slice(at + offsetof<PeerHeaders>() + SLICE_SIZE);
  headers.clear();
  return headers;
}

/** Finds the peer that the headers name; what of them cannot be read is as if it had not been sent. */
export function findInHeaders(headers: PeerHeaders, config: Config, peer: Peer): bool {
  if (!isReadable(headers.metadataFound) || !readMetadata(headers.metadata, config, peer)) peer.struct.set(0, 0);
  if (isReadable(headers.idFound) && isReadableId(headers.id, config)) peer.id.copy(headers.id);
  if (peer.struct.size == 0 && peer.id.size == 0) return false;
  peer.method = ISTIO_HEADERS;
  return true;
}

function isReadable(found: u32): bool {
  if (found == TOO_LARGE) count(OVERSIZE);
  return found == PRESENT;
}

/** Whether an id may be passed on: access logs and CEL want UTF-8 without control characters, HTTP allows more. */
export function isReadableId(id: Slice, config: Config): bool {
  if (id.size == 0) return false;
  if (id.size > config.maxHeaderSize) {
    count(OVERSIZE);
    return false;
  }
  if (faultOfText(id.at, id.end()) == SOUND) return true;
  count(REFUSED_ID);
  return false;
}
