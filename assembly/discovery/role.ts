// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { now } from '../host/clock';
import { VM_ID } from '../host/names';
import * as properties from '../host/properties';
import * as shared from '../host/shared';
import { Slice, slice } from '../memory/slice';
import { Text } from '../memory/text';
import { VERSION } from '../version';

/**
 * Whether this VM is on Envoy's main thread, where a stream for the whole proxy belongs. No call tells. But a queue's
 * messages come to the thread that registered it, and the first VM that Envoy configures, the one that only tries a
 * configuration out, is on the main thread and soon gone: so whoever finds a queue that somebody else registered, and then
 * hears of its messages, is on the main thread.
 *
 * They come to VMs of the same build only, so each build needs a queue of its own, and builds do not know themselves: two
 * may have the same version. But the two VMs of one on the main thread are configured one right after the other. So queues
 * are numbered, and whoever finds that the last one was made some time ago makes the next one:
 *
 *     key     | mxq1, version |
 *     value   | nanosecond in which it was made: u64 | number: u32 |
 */

/** What was made so many nanoseconds ago is of another build; or this VM is a late worker's, and that does no harm. */
const LONG_AGO: u64 = 2000000000;

let isAsked: bool = false;
let ownQueue: u32 = 0;
let isMain: bool = false;

const vmId = slice(memory.data(8, 4));
const queueName = slice(memory.data(8, 4));
const key = slice(memory.data(8, 4));
const keyRoom = memory.data(32);
const last = slice(memory.data(8, 4));
const made = slice(memory.data(8, 4));
const madeBytes = memory.data(12, 8);
made.set(madeBytes, 12);
const line = changetype<Text>(memory.data(12, 4));
const room = memory.data(64);

/** Asks, once for each VM, while a configuration is loaded. */
export function ask(): void {
  if (isAsked) return;
  isAsked = true;
  properties.get(VM_ID, vmId);
  line.open(keyRoom, 32);
  line.add('mxq1');
  line.add(VERSION);
  key.set(line.at, line.size);
  const time = now();
  const isThere = shared.get(key, last) && last.size == made.size;
  const number = isThere ? load<u32>(last.at, 8) : 0;
  const isOld = !isThere || time - load<u64>(last.at) >= LONG_AGO;
  // Also where it is old: a VM that Envoy made again, after it failed, may have been on the main thread.
  const queue = isThere ? shared.findQueue(vmId, nameOf(number)) : 0;
  if (queue) shared.enqueue(queue);
  if (!isOld) return;
  ownQueue = shared.registerQueue(nameOf(number + 1));
  store<u64>(madeBytes, time);
  store<u32>(madeBytes, number + 1, 8);
  shared.set(key, made);
}

/** The name of the queue with this number. */
function nameOf(number: u32): Slice {
  line.open(room, 64);
  line.add('metadata_exchange main thread ');
  line.add(VERSION);
  line.add(' ');
  line.addNumber(number);
  queueName.set(line.at, line.size);
  return queueName;
}

/** A queue has a message. Whether it was not known before that this VM is on the main thread. */
export function answer(queue: u32): bool {
  shared.dequeue(queue);
  if (isMain || queue == ownQueue) return false;
  isMain = true;
  return true;
}

/** Whether this VM is known to be on the main thread. */
export function isOnMainThread(): bool {
  return isMain;
}
