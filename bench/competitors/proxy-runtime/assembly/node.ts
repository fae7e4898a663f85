// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { encode } from 'as-base64/assembly';
import { BYTES, Reader } from './protobuf';

const METADATA_KEY = 'istio.io/metadata';

/** What this proxy says of itself: the values of the two headers, empty if there is none. */
export class Identity {
  metadata: string = '';
  id: string = '';
}

/** Reads a serialized envoy.config.core.v3.Node: 1 id, 2 cluster, 3 metadata. */
export function readIdentity(node: ArrayBuffer): Identity | null {
  const own = new Identity();
  let cluster = '';
  const reader = Reader.of(node);
  while (reader.next()) {
    if (reader.kind != BYTES) continue;
    if (reader.field == 1) own.id = reader.text();
    else if (reader.field == 2) cluster = reader.text();
    else if (reader.field == 3) own.metadata = encode(find(reader.message(), METADATA_KEY));
  }
  if (reader.failed) return null;
  if (own.id == '') own.id = cluster;
  return own;
}

/** The serialized Struct under a key of a Struct; empty if there is none. */
function find(struct: Reader, key: string): Uint8Array {
  while (struct.next()) {
    if (struct.field != 1 || struct.kind != BYTES) continue;
    const entry = struct.message();
    let entryKey = '';
    let found = new Uint8Array(0);
    while (entry.next()) {
      if (entry.kind != BYTES) continue;
      if (entry.field == 1) entryKey = entry.text();
      else if (entry.field == 2) {
        const value = entry.message();
        while (value.next()) if (value.field == 5 && value.kind == BYTES) found = value.bytes();
      }
    }
    if (entryKey == key) return found;
  }
  return new Uint8Array(0);
}
