// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { VM_ID } from '../host/names';
import * as properties from '../host/properties';
import * as shared from '../host/shared';
import { slice } from '../memory/slice';
import { Text } from '../memory/text';
import { VERSION } from '../version';

/**
 * Whether this VM is on Envoy's main thread, where a stream for the whole proxy belongs. No call tells. But a queue's
 * messages come to the thread that registered it, and the first VM that Envoy configures, the one that only tries a
 * configuration out, is on the main thread and soon gone: so whoever finds a queue that somebody else registered, and then
 * hears of its messages, is on the main thread. Two builds of the module must not share a queue.
 */

let isAsked: bool = false;
let ownQueue: u32 = 0;
let isMain: bool = false;

const vmId = slice(memory.data(8, 4));
const queueName = slice(memory.data(8, 4));
const line = changetype<Text>(memory.data(12, 4));
const room = memory.data(64);

/** Asks, once for each VM, while a configuration is loaded. */
export function ask(): void {
  if (isAsked) return;
  isAsked = true;
  line.open(room, 64);
  line.add('metadata_exchange main thread ');
  line.add(VERSION);
  queueName.set(line.at, line.size);
  properties.get(VM_ID, vmId);
  let queue = shared.findQueue(vmId, queueName);
  if (!queue) {
    queue = shared.registerQueue(queueName);
    ownQueue = queue;
  }
  if (queue) shared.enqueue(queue);
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
