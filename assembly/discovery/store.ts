// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as shared from '../host/shared';
import { backTo, mark, take } from '../memory/arena';
import { hashOf } from '../memory/hash';
import { Slice, slice } from '../memory/slice';
import { ANYBODY, copyOthers, copyOwned, findRecord } from '../wire/record';

/**
 * Where workloads are found by address: in shared data, which one VM fills and all read. Not under a key for each
 * address, since no key can be deleted, but in buckets: what is removed leaves nothing behind, and there are never more
 * than BUCKETS keys for each scope.
 *
 *     key     | mxw1: the form of the records | scope: u64 | bucket: u16 |
 *     value   records of wire/record.ts
 *
 * A scope is a control plane's cluster and a network: two networks may have the same addresses.
 */

export const BUCKETS: u32 = 65536;
/** The most bytes of one bucket: some 300 workloads. */
const LARGEST_BUCKET: u32 = 32768;

const key = slice(memory.data(8, 4));
const keyBytes = memory.data(16, 8);
key.set(keyBytes, 14);
store<u32>(keyBytes, 0x3177786d);
const bucket = slice(memory.data(8, 4));
const changed = slice(memory.data(8, 4));
const found = slice(memory.data(8, 4));

/** The scope of a cluster's name and a network. */
export function scopeOf(cluster: Slice, network: Slice): u64 {
  return hashOf(network, hashOf(cluster, 0));
}

function nameBucket(scope: u64, number: u32): void {
  store<u64>(keyBytes, scope, 4);
  store<u16>(keyBytes, <u16>number, 12);
}

function nameBucketOf(scope: u64, address: Slice): void {
  nameBucket(scope, <u32>hashOf(address, 0) & (BUCKETS - 1));
}

/** Finds the record of an address, in the arena. */
export function find(scope: u64, address: Slice, record: Slice): bool {
  nameBucketOf(scope, address);
  return shared.get(key, bucket) && findRecord(bucket, address, ANYBODY, record);
}

/** Finds the record of an address and one workload, in the arena. */
export function findOf(scope: u64, address: Slice, hash: u64, record: Slice): bool {
  nameBucketOf(scope, address);
  return shared.get(key, bucket) && findRecord(bucket, address, hash, record);
}

/**
 * Writes the record that an owner made of a workload at an address, before those of others that have the address too;
 * false if there is no room for it.
 */
export function put(scope: u64, address: Slice, hash: u64, owner: u8, record: Slice): bool {
  const before = mark();
  nameBucketOf(scope, address);
  shared.get(key, bucket);
  const to = take(bucket.size + record.size);
  if (!to) {
    backTo(before);
    return false;
  }
  memory.copy(to, record.at, record.size);
  const size = copyOthers(bucket, address, hash, owner, to + record.size);
  const fits = size + record.size <= LARGEST_BUCKET;
  if (fits) {
    changed.set(to, size + record.size);
    shared.set(key, changed);
  }
  backTo(before);
  return fits;
}

/** Removes the record of a workload at an address: another one that has the address stays. */
export function remove(scope: u64, address: Slice, hash: u64, owner: u8): void {
  const before = mark();
  if (findOf(scope, address, hash, found)) {
    const to = take(bucket.size);
    if (to) {
      changed.set(to, copyOthers(bucket, address, hash, owner, to));
      shared.set(key, changed);
    }
  }
  backTo(before);
}

/** Removes from one bucket what another owner than this wrote. */
export function sweep(scope: u64, number: u32, owner: u8): void {
  const before = mark();
  nameBucket(scope, number);
  if (shared.get(key, bucket)) {
    const to = take(bucket.size);
    if (to) {
      changed.set(to, copyOwned(bucket, owner, to));
      if (changed.size < bucket.size) shared.set(key, changed);
    }
  }
  backTo(before);
}
