// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice, sameBytes, slice } from '../memory/slice';
import { Cursor, LENGTH } from './protobuf';
import { ENTRY_KEY, ENTRY_VALUE, STRUCT_FIELDS } from './struct';

/**
 * envoy.config.core.v3.Node, of which we read
 *
 *     1 id: string    2 cluster: string    3 metadata: google.protobuf.Struct
 *     4 locality: 1 region: string  2 zone: string
 *
 * https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/core/v3/base.proto#config-core-v3-node
 */

const NODE_ID: u32 = 1;
const NODE_CLUSTER: u32 = 2;
const NODE_METADATA: u32 = 3;
const NODE_LOCALITY: u32 = 4;
const LOCALITY_REGION: u32 = 1;
const LOCALITY_ZONE: u32 = 2;

const node = changetype<Cursor>(memory.data(40, 8));
const metadata = changetype<Cursor>(memory.data(40, 8));
const entry = changetype<Cursor>(memory.data(40, 8));
const entryKey = slice(memory.data(8, 4));
const entryValue = slice(memory.data(8, 4));

/**
 * Reads id, cluster and the metadata under a key: `value` is then the serialized google.protobuf.Value. What the
 * node does not have is left with size 0. False if the bytes are not a Node.
 */
export function readNode(bytes: Slice, key: Slice, id: Slice, cluster: Slice, value: Slice): bool {
  id.set(bytes.at, 0);
  cluster.set(bytes.at, 0);
  value.set(bytes.at, 0);
  node.open(bytes.at, bytes.end(), 0);
  while (node.next()) {
    if (node.type != LENGTH) continue;
    if (node.field == NODE_ID) {
      id.set(node.at, node.size);
    } else if (node.field == NODE_CLUSTER) {
      cluster.set(node.at, node.size);
    } else if (node.field == NODE_METADATA) {
      if (!findField(node.at, node.at + node.size, key, value)) return false;
    }
  }
  return node.sound;
}

/** Reads all of the metadata, a Struct, and the locality; what the node does not have is left with size 0. */
export function readSurroundings(bytes: Slice, all: Slice, region: Slice, zone: Slice): void {
  all.set(bytes.at, 0);
  region.set(bytes.at, 0);
  zone.set(bytes.at, 0);
  node.open(bytes.at, bytes.end(), 0);
  while (node.next()) {
    if (node.type != LENGTH) continue;
    if (node.field == NODE_METADATA) all.set(node.at, node.size);
    if (node.field != NODE_LOCALITY) continue;
    entry.open(node.at, node.at + node.size, 1);
    while (entry.next()) {
      if (entry.type != LENGTH) continue;
      if (entry.field == LOCALITY_REGION) region.set(entry.at, entry.size);
      else if (entry.field == LOCALITY_ZONE) zone.set(entry.at, entry.size);
    }
    if (entry.sound) continue;
    region.set(bytes.at, 0);
    zone.set(bytes.at, 0);
  }
}

/** Finds one field of a Struct, if it is there; false if the bytes are not a Struct. */
export function findField(at: usize, end: usize, key: Slice, value: Slice): bool {
  metadata.open(at, end, 1);
  while (metadata.next()) {
    if (metadata.field != STRUCT_FIELDS || metadata.type != LENGTH) continue;
    entryKey.set(at, 0);
    entryValue.set(at, 0);
    entry.open(metadata.at, metadata.at + metadata.size, 2);
    while (entry.next()) {
      if (entry.type != LENGTH) continue;
      if (entry.field == ENTRY_KEY) entryKey.set(entry.at, entry.size);
      else if (entry.field == ENTRY_VALUE) entryValue.set(entry.at, entry.size);
    }
    if (!entry.sound) return false;
    if (sameBytes(entryKey, key)) value.copy(entryValue);
  }
  return metadata.sound;
}
