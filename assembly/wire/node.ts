// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice, slice } from '../memory/slice';
import { Cursor, LENGTH } from './protobuf';
import { findField } from './struct_fields';

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
const locality = changetype<Cursor>(memory.data(40, 8));
const metadata = slice(memory.data(8, 4));

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
      metadata.set(node.at, node.size);
      if (!findField(metadata, key, value)) return false;
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
    locality.open(node.at, node.at + node.size, 1);
    while (locality.next()) {
      if (locality.type != LENGTH) continue;
      if (locality.field == LOCALITY_REGION) region.set(locality.at, locality.size);
      else if (locality.field == LOCALITY_ZONE) zone.set(locality.at, locality.size);
    }
    if (locality.sound) continue;
    region.set(bytes.at, 0);
    zone.set(bytes.at, 0);
  }
}
