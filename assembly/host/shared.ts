// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_dequeue_shared_queue,
  proxy_enqueue_shared_queue,
  proxy_get_shared_data,
  proxy_register_shared_queue,
  proxy_resolve_shared_queue,
  proxy_set_shared_data,
} from '@solo-io/proxy-runtime/assembly/imports';
import { Slice, slice } from '../memory/slice';
import { OK } from './abi';

/**
 * What all VMs of one vm_id share, on whichever thread. Without a vm_id these are all modules of the proxy, also those of
 * others: what is read may be anything. Nothing can be deleted: what was written can be made empty.
 */

const version = memory.data(4, 4);
const token = memory.data(4, 4);
const message = slice(memory.data(8, 4));

/** What stands under a key, in the arena; false, and empty, if nothing does. */
export function get(key: Slice, value: Slice): bool {
  const to = changetype<usize>(value);
  if (proxy_get_shared_data(key.at, key.size, to, to + offsetof<Slice>('size'), version) == OK && value.size > 0) {
    return true;
  }
  value.set(0, 0);
  return false;
}

/** Writes what stands under a key. */
export function set(key: Slice, value: Slice): void {
  proxy_set_shared_data(key.at, key.size, value.at, value.size, 0);
}

/** The token of a queue that somebody of this vm_id registered; 0 if nobody did. */
export function findQueue(vmId: Slice, name: Slice): u32 {
  store<u32>(token, 0);
  return proxy_resolve_shared_queue(vmId.at, vmId.size, name.at, name.size, token) == OK ? load<u32>(token) : 0;
}

/** Makes a queue ours: its messages come to this thread from now on. The answer is its token, or 0. */
export function registerQueue(name: Slice): u32 {
  store<u32>(token, 0);
  return proxy_register_shared_queue(name.at, name.size, token) == OK ? load<u32>(token) : 0;
}

/** Puts a message of one byte into a queue. */
export function enqueue(queue: u32): void {
  proxy_enqueue_shared_queue(queue, version, 1);
}

/** Takes a message out of a queue. */
export function dequeue(queue: u32): void {
  const to = changetype<usize>(message);
  proxy_dequeue_shared_queue(queue, to, to + offsetof<Slice>('size'));
}
