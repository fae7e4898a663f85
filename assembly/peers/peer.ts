// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { CLIENT_FIELDS, CONNECTION_CLIENT_FIELDS, CONNECTION_SERVER_FIELDS, SERVER_FIELDS } from '../config/plain';
import {
  CONNECTION_DOWNSTREAM,
  CONNECTION_DOWNSTREAM_ID,
  CONNECTION_DOWNSTREAM_VERIFIED,
  CONNECTION_UPSTREAM,
  CONNECTION_UPSTREAM_ID,
  CONNECTION_UPSTREAM_VERIFIED,
  DOWNSTREAM,
  DOWNSTREAM_ID,
  DOWNSTREAM_LOCAL_URI,
  DOWNSTREAM_PEER_URI,
  DOWNSTREAM_VERIFIED,
  UPSTREAM,
  UPSTREAM_ID,
  UPSTREAM_LOCAL_URI,
  UPSTREAM_PEER_URI,
  UPSTREAM_VERIFIED,
} from '../host/names';
import { allocate } from '../memory/blocks';
import { SLICE_SIZE, Slice, slice } from '../memory/slice';

/** Who stands on the other side of a stream. Methods find a peer (methods.ts), and publish.ts passes it on. */
@unmanaged
export class Peer {
  /** What it says of itself: a serialized google.protobuf.Struct that any reader in Envoy can take. Size 0: nothing. */
  struct: Slice;
  /** What it calls itself. Size 0: nothing. */
  id: Slice;
  /** Where in the Struct the published fields are (fields.ts); 0: nobody looked yet. */
  positions: usize;
  /** The method that found it (config/lists.ts); 0: nobody was found. */
  method: u32;
  /** What its claims are worth (verify.ts), once it was published. */
  verdict: u32;
  /** Whether its Struct was published. */
  isPublished: bool;

  /** Makes it nobody. */
  clear(): void {
    this.struct.set(0, 0);
    this.id.set(0, 0);
    this.positions = 0;
    this.method = 0;
    this.verdict = 0;
    this.isPublished = false;
  }
}

/** A peer that can be filled again and again: for module variables only. */
export function newPeer(): Peer {
  const at = allocate(offsetof<Peer>() + 2 * SLICE_SIZE);
  const peer = changetype<Peer>(at);
  peer.struct = slice(at + offsetof<Peer>());
  peer.id = slice(at + offsetof<Peer>() + SLICE_SIZE);
  peer.clear();
  return peer;
}

/** A side of a stream: the filter state that tells of the peer there, and where the host shows certificates. */
@unmanaged
export class Side {
  /** What config/plain.ts knows it by. */
  number: u32;
  struct: Slice;
  id: Slice;
  verified: Slice;
  peerUri: Slice;
  localUri: Slice;
}

/** The sides of an HTTP stream. */
export const CLIENT: Side = newSide(CLIENT_FIELDS, DOWNSTREAM, DOWNSTREAM_ID, DOWNSTREAM_VERIFIED);
export const SERVER: Side = newSide(SERVER_FIELDS, UPSTREAM, UPSTREAM_ID, UPSTREAM_VERIFIED);

/** The sides of a connection. */
export const CONNECTION_CLIENT: Side = newSide(
  CONNECTION_CLIENT_FIELDS,
  CONNECTION_DOWNSTREAM,
  CONNECTION_DOWNSTREAM_ID,
  CONNECTION_DOWNSTREAM_VERIFIED,
);
export const CONNECTION_SERVER: Side = newSide(
  CONNECTION_SERVER_FIELDS,
  CONNECTION_UPSTREAM,
  CONNECTION_UPSTREAM_ID,
  CONNECTION_UPSTREAM_VERIFIED,
);

function newSide(number: u32, struct: Slice, id: Slice, verified: Slice): Side {
  const side = changetype<Side>(allocate(offsetof<Side>()));
  const isClient = number == CLIENT_FIELDS || number == CONNECTION_CLIENT_FIELDS;
  side.number = number;
  side.struct = struct;
  side.id = id;
  side.verified = verified;
  side.peerUri = isClient ? DOWNSTREAM_PEER_URI : UPSTREAM_PEER_URI;
  side.localUri = isClient ? DOWNSTREAM_LOCAL_URI : UPSTREAM_LOCAL_URI;
  return side;
}
