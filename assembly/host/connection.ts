// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_close_stream,
  proxy_continue_stream,
  proxy_get_buffer_bytes,
} from '@solo-io/proxy-runtime/assembly/imports';
import { Slice, slice } from '../memory/slice';
import { DOWNSTREAM, OK } from './abi';
import { proxy_set_buffer_bytes } from './env';

/**
 * The bytes of a connection that are passing: DOWNSTREAM_DATA from the client, UPSTREAM_DATA from the server. They can be
 * changed while they are there, or are held: nothing can be sent in a direction where nothing comes.
 */

const nothing = slice(memory.data(8, 4));

/** The first `size` bytes, in the arena; false if they do not fit there. */
export function first(data: i32, size: u32, bytes: Slice): bool {
  const to = changetype<usize>(bytes);
  if (proxy_get_buffer_bytes(data, 0, size, to, to + offsetof<Slice>('size')) == OK && bytes.size == size) return true;
  bytes.set(0, 0);
  return false;
}

/** Takes the first `size` bytes out. */
export function cut(data: i32, size: u32): bool {
  return proxy_set_buffer_bytes(data, 0, size, nothing.at, 0) == OK;
}

/** Puts bytes in front. */
export function prepend(data: i32, bytes: Slice): bool {
  return proxy_set_buffer_bytes(data, 0, 0, bytes.at, bytes.size) == OK;
}

/** Lets go on what a callback held of the client's bytes. The host has no such call for the server's. */
export function release(): void {
  proxy_continue_stream(DOWNSTREAM);
}

/** Closes the connection, on both sides. */
export function close(): void {
  proxy_close_stream(DOWNSTREAM);
}
