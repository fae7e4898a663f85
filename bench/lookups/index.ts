// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { find, scopeOf } from '../../assembly/discovery/store';
import { now } from '../../assembly/host/clock';
import { Message, replace } from '../../assembly/host/headers';
import { backTo, mark, startOver } from '../../assembly/memory/arena';
import { Slice, slice } from '../../assembly/memory/slice';
import { Text } from '../../assembly/memory/text';
import { readRecord } from '../../assembly/wire/record';
import { newWorkload, writeStruct } from '../../assembly/wire/workload';

/**
 * What a lookup costs inside a VM, for the benchmark: each response has TURNS lookups of different addresses, and as many
 * reads of one header, and says how many nanoseconds one of each took. The records are those that the module wrote in the
 * same proxy, and they are read by its own functions.
 */

export { malloc } from '../../assembly/host/malloc';

const TURNS: u32 = 10000;
const RESPONSE: i32 = 2;

const cluster = text('workload-discovery', memory.data(32));
const network = slice(memory.data(8, 4));
const status = text(':status', memory.data(32));
const value = slice(memory.data(8, 4));
const address = slice(memory.data(8, 4));
const addressBytes = memory.data(4, 4);
const record = slice(memory.data(8, 4));
const struct = slice(memory.data(8, 4));
const workload = newWorkload();
const message = changetype<Message>(memory.data(24, 4));
const line = changetype<Text>(memory.data(12, 4));
const lineRoom = memory.data(32);
const scope = scopeOf(cluster, network);

function text(letters: string, at: usize): Slice {
  const bytes = slice(at);
  for (let i = 0; i < letters.length; i++) store<u8>(at + 8 + i, <u8>letters.charCodeAt(i));
  bytes.set(at + 8, letters.length);
  return bytes;
}

/** Nanoseconds of a lookup of addresses that begin with `first`, as the benchmark's workloads have them with 10. */
function lookups(first: u8): u32 {
  const marked = mark();
  const before = now();
  for (let i: u32 = 0; i < TURNS; i++) {
    // Neighbours in the store do not follow each other.
    const number = (i * 7919) % 1000;
    store<u8>(addressBytes, first);
    store<u8>(addressBytes, <u8>(number >> 8), 2);
    store<u8>(addressBytes, <u8>number, 3);
    if (find(scope, address, record) && readRecord(record, workload)) writeStruct(workload, struct, 0);
    backTo(marked);
  }
  return <u32>((now() - before) / TURNS);
}

/** Nanoseconds of a read of one header. */
function reads(): u32 {
  const marked = mark();
  const before = now();
  for (let i: u32 = 0; i < TURNS; i++) {
    // With so many headers that each is asked for by itself.
    message.open(RESPONSE, 100);
    message.find(status, value);
    backTo(marked);
  }
  return <u32>((now() - before) / TURNS);
}

function answer(name: Slice, nanoseconds: u32): void {
  line.open(lineRoom, 32);
  line.addNumber(nanoseconds);
  value.set(line.at, line.size);
  replace(RESPONSE, name, value);
}

const FOUND = text('x-found', memory.data(32));
const UNKNOWN = text('x-unknown', memory.data(32));
const HEADER = text('x-header', memory.data(32));

export function proxy_abi_version_0_2_1(): void {}

export function proxy_on_response_headers(_id: u32, _headers: u32, _endOfStream: u32): u32 {
  startOver();
  address.set(addressBytes, 4);
  answer(FOUND, lookups(10));
  answer(UNKNOWN, lookups(11));
  answer(HEADER, reads());
  return 0;
}
