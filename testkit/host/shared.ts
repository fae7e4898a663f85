// SPDX-License-Identifier: Apache-2.0
import type { Host } from './host.ts';
import { CAS_MISMATCH, type Calls, EMPTY, NOT_FOUND, OK } from './memory.ts';

/** Keys and values are bytes: one character each. */
const keyOf = (bytes: Buffer) => bytes.toString('latin1');

interface Queue {
  messages: Buffer[];
  /** Who registered it last, and is told of what comes. */
  consumer: Host;
  context: number;
}

/** What VMs without a vm_id share: data by keys, and queues. It knows no delete. */
export class Shared {
  private readonly data = new Map<string, { value: Buffer; cas: number }>();
  private readonly tokens = new Map<string, number>();
  private readonly queues: Queue[] = [];
  private nextCas = 1;

  /** The keys, one character for each byte. */
  get keys(): string[] {
    return [...this.data.keys()];
  }

  /** Bytes of all keys and values. */
  get size(): number {
    return [...this.data].reduce((sum, [key, { value }]) => sum + key.length + value.length, 0);
  }

  /** A value, if there is one. */
  get(key: string): Buffer | undefined {
    return this.data.get(key)?.value;
  }

  /** What stands beside a value, and changes with it. */
  casOf(key: string): number {
    return this.data.get(key)?.cas ?? 0;
  }

  /** Stores a value; false if `cas` is not 0 and another one was stored meanwhile. */
  set(key: string, value: Buffer, cas = 0): boolean {
    const found = this.data.get(key);
    if (cas && found && found.cas !== cas) return false;
    this.data.set(key, { value, cas: this.nextCas++ });
    return true;
  }

  /** Forgets all: the last VM is gone. */
  clear(): void {
    this.data.clear();
    this.tokens.clear();
    this.queues.length = 0;
  }

  /** A queue's token; of a queue that is there already the consumer changes. */
  register(name: string, consumer: Host, context: number): number {
    const known = this.tokens.get(name);
    if (known) {
      Object.assign(this.queues[known - 1], { consumer, context });
      return known;
    }
    const token = this.queues.push({ messages: [], consumer, context });
    this.tokens.set(name, token);
    return token;
  }

  /** The token of a queue that is there. */
  resolve(name: string): number | undefined {
    return this.tokens.get(name);
  }

  /** A queue that is there. */
  queue(token: number): Queue | undefined {
    return this.queues[token - 1];
  }
}

/** The host calls for what is shared, of one VM. */
export function sharedCalls(host: Host): Calls {
  const { shared } = host.process;
  const key = (at: number, size: number) => keyOf(host.memory.bytes(at, size));
  return {
    proxy_get_shared_data: (at, size, valueAtTo, valueSizeTo, casTo) => {
      const value = shared.get(key(at, size));
      if (!value) return NOT_FOUND;
      const result = host.memory.answer(value, valueAtTo, valueSizeTo);
      if (result === OK) host.memory.write32(shared.casOf(key(at, size)), casTo);
      return result;
    },
    proxy_set_shared_data: (at, size, valueAt, valueSize, cas) =>
      shared.set(key(at, size), host.memory.bytes(valueAt, valueSize), cas) ? OK : CAS_MISMATCH,
    proxy_register_shared_queue: (at, size, tokenTo) => {
      host.memory.write32(shared.register(`:${key(at, size)}`, host, host.effective), tokenTo);
      return OK;
    },
    proxy_resolve_shared_queue: (vmAt, vmSize, at, size, tokenTo) => {
      const token = shared.resolve(`${key(vmAt, vmSize)}:${key(at, size)}`);
      if (token === undefined) return NOT_FOUND;
      host.memory.write32(token, tokenTo);
      return OK;
    },
    proxy_enqueue_shared_queue: (token, at, size) => {
      const queue = shared.queue(token);
      if (!queue) return NOT_FOUND;
      queue.messages.push(host.memory.bytes(at, size));
      const { consumer, context } = queue;
      // Not the VM that registered it, but that of the same module that its thread has by then.
      host.process.post(() => consumer.process.vmBeside(consumer)?.queueReady(context, token));
      return OK;
    },
    proxy_dequeue_shared_queue: (token, atTo, sizeTo) => {
      const queue = shared.queue(token);
      if (!queue) return NOT_FOUND;
      const message = queue.messages.shift();
      return message ? host.memory.answer(message, atTo, sizeTo) : EMPTY;
    },
  };
}
