// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Numbers of the Proxy-WASM ABI 0.2.1 that we use.
 * https://github.com/proxy-wasm/spec/tree/main/abi-versions/v0.2.1
 */

/** Results of host calls. */
export const OK: u32 = 0;
export const NOT_FOUND: u32 = 1;

/** Header maps. */
export const REQUEST_HEADERS: i32 = 0;
export const RESPONSE_HEADERS: i32 = 2;

/** Buffers. */
export const DOWNSTREAM_DATA: i32 = 2;
export const UPSTREAM_DATA: i32 = 3;
export const GRPC_MESSAGE: i32 = 5;
export const PLUGIN_CONFIGURATION: i32 = 7;

/** Log levels. */
export const INFO: usize = 2;
export const WARN: usize = 3;
export const ERROR: usize = 4;

/** The stream of a connection that continues and closes it. */
export const DOWNSTREAM: i32 = 2;

/** What a callback returns: to go on at once, or to have what came held until more comes. */
export const CONTINUE: u32 = 0;
export const STOP: u32 = 1;
