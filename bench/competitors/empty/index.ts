// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/** A Wasm filter that does nothing: what Envoy itself asks for one to be there, with the callbacks that ours has. */

export function proxy_abi_version_0_2_1(): void {}

export function malloc(_size: usize): usize {
  return 0;
}

export function proxy_on_context_create(_id: u32, _parent: u32): void {}

export function proxy_on_request_headers(_id: u32, _headers: u32, _endOfStream: u32): u32 {
  return 0;
}

export function proxy_on_response_headers(_id: u32, _headers: u32, _endOfStream: u32): u32 {
  return 0;
}

export function proxy_on_delete(_id: u32): void {}
