// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { ROOT } from '../envoy/binary.ts';
import { struct } from '../struct.ts';

const proto = protobuf.loadSync(join(ROOT, 'proto/node.proto')).lookupType('metadata_exchange.Node');

/** A serialized Node, as the host gives it. */
export function node(fields: { id?: string; cluster?: string; metadata?: object; locality?: object }): Buffer {
  const { metadata, ...texts } = fields;
  const bytes = Buffer.from(proto.encode(texts).finish());
  if (!metadata) return bytes;
  const content = struct.write(metadata);
  const writer = protobuf.Writer.create().uint32(0x1a).bytes(content);
  return Buffer.concat([bytes, writer.finish()]);
}

/** A node with an id, a cluster and metadata. */
export const NODE = node({ id: 'own-id', cluster: 'own-cluster', metadata: { 'istio.io/metadata': { NAME: 'own' } } });
