// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_get_property,
  proxy_remove_header_map_value,
  proxy_replace_header_map_value,
} from '@solo-io/proxy-runtime/assembly/imports';

/**
 * Another Wasm filter, in another module: it reads what the exchange learned, and says it in headers of the request and
 * of the response. `make build/reader.wasm` builds it.
 */

const REQUEST = 0;
const RESPONSE = 2;
const CONTINUE: u32 = 0;

/**
 * Through `filter_state` a Struct is walked field by field, the parts of the path with a NUL between them. A property
 * under its own name is all of it: for metadata the bytes of a google.protobuf.Struct, for the id a string.
 */
const CALLER_APP = String.UTF8.encode('filter_state\0wasm.envoy.wasm.metadata_exchange.downstream\0LABELS\0app');
const CALLER_ID = String.UTF8.encode('envoy.wasm.metadata_exchange.downstream_id');
const SERVER_APP = String.UTF8.encode('filter_state\0wasm.envoy.wasm.metadata_exchange.upstream\0LABELS\0app');
const SERVER_ID = String.UTF8.encode('envoy.wasm.metadata_exchange.upstream_id');

const X_CALLER_APP = String.UTF8.encode('x-caller-app');
const X_CALLER_ID = String.UTF8.encode('x-caller-id');
const X_SERVER_APP = String.UTF8.encode('x-server-app');
const X_SERVER_ID = String.UTF8.encode('x-server-id');

const ROOM: usize = 65536;
const room = memory.data(65536);
let taken: usize = 0;

const value = memory.data(4, 4);
const valueSize = memory.data(4, 4);

/** Where the host puts the values that it hands out. They are needed until the next is asked for, and no longer. */
export function malloc(size: usize): usize {
  if (size > ROOM - taken) taken = 0;
  if (size > ROOM) return 0;
  const at = room + taken;
  taken += size;
  return at;
}

/** Whether the value that was read is plain text. A peer may say anything: line breaks, or an object for a string. */
function isPlain(): bool {
  for (let at = load<usize>(value), end = at + load<usize>(valueSize); at < end; at++) {
    const byte = load<u8>(at);
    if (byte < 0x20 || byte > 0x7e) return false;
  }
  return true;
}

/** Copies a property to a header. A header of this name that is there already goes, even if there is no property. */
function copy(property: ArrayBuffer, map: i32, header: ArrayBuffer): void {
  const path = changetype<usize>(property);
  const name = changetype<usize>(header);
  if (proxy_get_property(path, property.byteLength, value, valueSize) == 0 && isPlain()) {
    proxy_replace_header_map_value(map, name, header.byteLength, load<usize>(value), load<usize>(valueSize));
  } else {
    proxy_remove_header_map_value(map, name, header.byteLength);
  }
}

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_context_create(_context: u32, _parent: u32): void {}

export function proxy_on_request_headers(_context: u32, _headers: u32, _endOfStream: u32): u32 {
  copy(CALLER_APP, REQUEST, X_CALLER_APP);
  copy(CALLER_ID, REQUEST, X_CALLER_ID);
  return CONTINUE;
}

export function proxy_on_response_headers(_context: u32, _headers: u32, _endOfStream: u32): u32 {
  copy(SERVER_APP, RESPONSE, X_SERVER_APP);
  copy(SERVER_ID, RESPONSE, X_SERVER_ID);
  return CONTINUE;
}
