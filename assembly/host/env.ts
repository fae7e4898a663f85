// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Host calls whose declaration in @solo-io/proxy-runtime is wrong or missing. What is declared here is imported from the module
 * `env`, after which this file is called.
 */

/** Envoy wants nine arguments: the metadata that the stream begins with stand before the token. The package has seven. */
export declare function proxy_grpc_stream(
  serviceAt: usize,
  serviceSize: u32,
  serviceNameAt: usize,
  serviceNameSize: u32,
  methodAt: usize,
  methodSize: u32,
  metadataAt: usize,
  metadataSize: u32,
  token: usize,
): u32;

/** Puts bytes in place of others; the package declares it under a name that no host has. */
export declare function proxy_set_buffer_bytes(type: i32, start: u32, size: u32, bytesAt: usize, bytesSize: u32): u32;
