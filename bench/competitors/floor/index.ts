// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * The straight floor: the host calls of the exchange as one would write them down, one after the other, and nothing
 * else. All bytes are constant, nothing is decoded, nothing is decided but the direction: what a filter that makes these
 * calls costs at the least. test/envoy/host_calls.test.ts holds it to that.
 */

import {
  proxy_get_header_map_value,
  proxy_get_property,
  proxy_remove_header_map_value,
  proxy_replace_header_map_value,
  proxy_set_property,
} from '@solo-io/proxy-runtime/assembly/imports';

const REQUEST: i32 = 0;
const RESPONSE: i32 = 2;
const OUTBOUND: u64 = 2;
const CONTINUE: u32 = 0;

// Static strings of AssemblyScript are UTF-16; these are narrowed once, when the module starts.
let end: usize = memory.data(4096, 16);
function text(value: string): usize {
  const at = end;
  for (let i = 0; i < value.length; i++) store<u8>(at + i, <u8>value.charCodeAt(i));
  end += value.length;
  return at;
}
const DIRECTION = text('xds\0listener_direction');
const METADATA = text('x-istio-peer-metadata');
const ID = text('x-istio-peer-id');
const DOWNSTREAM = text('envoy.wasm.metadata_exchange.downstream');
const DOWNSTREAM_ID = text('envoy.wasm.metadata_exchange.downstream_id');
const UPSTREAM = text('envoy.wasm.metadata_exchange.upstream');
const UPSTREAM_ID = text('envoy.wasm.metadata_exchange.upstream_id');
const OWN_ID = text('sidecar~10.52.0.34~own-v1.default~default.svc.cluster.local');

/** As many bytes as the Struct of the bench's usual peer, and as its header. */
const STRUCT_SIZE: usize = 600;
const HEADER_SIZE: usize = 800;
const STRUCT = memory.data(600, 16);
const HEADER = memory.data(800, 16);
memory.fill(HEADER, 0x41, HEADER_SIZE);

/** Where the host puts what it answers, and says where that is. */
const answers = memory.data(131072, 16);
let used: usize = 0;
const at = memory.data(4, 4);
const size = memory.data(4, 4);

export function malloc(bytes: usize): usize {
  const from = answers + used;
  used += (bytes + 7) & ~7;
  return from;
}

let isOutbound: bool = false;

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_context_create(_id: u32, _parent: u32): void {}

export function proxy_on_request_headers(_id: u32, _headers: u32, _endOfStream: u32): u32 {
  used = 0;
  proxy_get_property(DIRECTION, 22, at, size);
  isOutbound = load<u64>(load<usize>(at)) == OUTBOUND;
  if (isOutbound) write(REQUEST);
  else read(REQUEST, DOWNSTREAM, 39, DOWNSTREAM_ID, 42);
  return CONTINUE;
}

export function proxy_on_response_headers(_id: u32, _headers: u32, _endOfStream: u32): u32 {
  used = 0;
  if (isOutbound) read(RESPONSE, UPSTREAM, 37, UPSTREAM_ID, 40);
  else write(RESPONSE);
  return CONTINUE;
}

export function proxy_on_delete(_id: u32): void {}

function read(map: i32, key: usize, keySize: usize, idKey: usize, idKeySize: usize): void {
  proxy_get_header_map_value(map, METADATA, 21, at, size);
  proxy_get_header_map_value(map, ID, 15, at, size);
  proxy_set_property(key, keySize, STRUCT, STRUCT_SIZE);
  proxy_set_property(idKey, idKeySize, OWN_ID, 59);
  proxy_remove_header_map_value(map, METADATA, 21);
  proxy_remove_header_map_value(map, ID, 15);
}

function write(map: i32): void {
  proxy_replace_header_map_value(map, METADATA, 21, HEADER, HEADER_SIZE);
  proxy_replace_header_map_value(map, ID, 15, OWN_ID, 59);
}
