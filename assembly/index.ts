// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// A stream begins and ends in streams.ts.
// A peer is published in peers/publish.ts.
// A method is added in config/lists.ts and peers/methods.ts.

/**
 * The front door: what Envoy calls, by the names of the Proxy-WASM ABI 0.2.1. Nothing is decided here, and only
 * callbacks that are used are exported, since Envoy pays for each one that it finds.
 * https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1
 */

import * as client from './discovery/client';
import * as discovery from './discovery/upkeep';
import { CONTINUE } from './host/abi';
import * as roots from './roots';
import * as streams from './streams';

export { malloc } from './host/malloc';

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_context_create(id: u32, parent: u32): void {
  streams.begin(id, parent);
}

export function proxy_on_configure(id: u32, size: u32): u32 {
  return roots.configure(id, size) ? 1 : 0;
}

export function proxy_on_request_headers(id: u32, headers: u32, _endOfStream: u32): u32 {
  streams.onRequestHeaders(id, headers);
  return CONTINUE;
}

export function proxy_on_response_headers(id: u32, headers: u32, _endOfStream: u32): u32 {
  streams.onResponseHeaders(id, headers);
  return CONTINUE;
}

export function proxy_on_new_connection(id: u32): u32 {
  streams.becomesConnection(id);
  return CONTINUE;
}

export function proxy_on_downstream_data(id: u32, size: u32, endOfStream: u32): u32 {
  return streams.onDownstreamData(id, size, endOfStream != 0);
}

export function proxy_on_upstream_data(id: u32, size: u32, endOfStream: u32): u32 {
  return streams.onUpstreamData(id, size, endOfStream != 0);
}

export function proxy_on_log(id: u32): void {
  streams.onLog(id);
}

export function proxy_on_tick(id: u32): void {
  streams.tick(id);
}

export function proxy_on_queue_ready(_root: u32, queue: u32): void {
  discovery.queueReady(queue);
}

export function proxy_on_grpc_receive(_root: u32, stream: u32, size: u32): void {
  client.received(stream, size);
}

export function proxy_on_grpc_close(_root: u32, stream: u32, _status: u32): void {
  client.closed(stream);
}

export function proxy_on_delete(id: u32): void {
  streams.end(id);
}
