// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { proxy_get_buffer_bytes, proxy_grpc_close, proxy_grpc_send } from '@solo-io/proxy-runtime/assembly/imports';
import { Slice, slice } from '../memory/slice';
import { GRPC_MESSAGE, OK } from './abi';
import { proxy_grpc_stream } from './env';
import { name } from './names';

/** A gRPC stream, which belongs to the root context that opens it and dies with it, without a word. */

const SERVICE: Slice = name('envoy.service.discovery.v3.AggregatedDiscoveryService');
const METHOD: Slice = name('DeltaAggregatedResources');

const token = memory.data(4, 4);
/** envoy.config.core.v3.GrpcService: 1 envoy_grpc { 1 cluster_name }. */
const service = memory.data(264);
const nothing = slice(memory.data(8, 4));

/** The longest name of a cluster that a stream can go to. */
export const LONGEST_CLUSTER: u32 = 120;

/** Opens a stream of delta ADS to a cluster; the answer is its token, 0 if the host refuses. */
export function openStream(cluster: Slice): u32 {
  const size = cluster.size;
  store<u8>(service, 0x0a);
  store<u8>(service, <u8>(size + 2), 1);
  store<u8>(service, 0x0a, 2);
  store<u8>(service, <u8>size, 3);
  memory.copy(service + 4, cluster.at, size);
  store<u32>(token, 0);
  const result = proxy_grpc_stream(
    service,
    size + 4,
    SERVICE.at,
    SERVICE.size,
    METHOD.at,
    METHOD.size,
    changetype<usize>(nothing),
    0,
    token,
  );
  return result == OK ? load<u32>(token) : 0;
}

/** Sends a message; false if the stream does not take it. */
export function send(stream: u32, message: Slice): bool {
  return proxy_grpc_send(stream, message.at, message.size, 0) == OK;
}

/** Ends a stream, or lets go of one that ended. */
export function close(stream: u32): void {
  proxy_grpc_close(stream);
}

/** A part of the message that is being received, in the arena; false if there is no room for it. */
export function receive(start: u32, size: u32, part: Slice): bool {
  const to = changetype<usize>(part);
  part.set(0, 0);
  return proxy_get_buffer_bytes(GRPC_MESSAGE, start, size, to, to + offsetof<Slice>('size')) == OK && part.size == size;
}
