// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { now } from '../host/clock';
import { allocate, allocateFor, release } from '../memory/blocks';
import { SLICE_SIZE, Slice, sameBytes, slice } from '../memory/slice';
import { Holdings, releaseHoldings } from './holdings';
import { scopeOf } from './store';

/**
 * Control planes that this VM asks for workloads: one for each cluster that a configuration names, as long as one does.
 * Only the VM that has the lease (lease.ts) keeps a stream to it; in all others a source only waits.
 */
@unmanaged
export class Source {
  /** The next of this VM's sources. */
  next: Source | null;
  /** The configurations that name its cluster. The stream belongs to the root context of one of them. */
  users: User | null;
  cluster: Slice;
  /** The scope of the cluster alone, under which the lease stands. */
  scope: u64;
  /** The scope of the records that this node looks at. */
  ownScope: u64;

  /** Whether this VM has the lease, and the number of its records. */
  isOwner: bool;
  owner: u8;
  /** Whether this VM wrote its name into the lease, and looks at the next tick whether it still stands there. */
  isClaiming: bool;
  /** Ticks in which nobody had the lease. */
  idleTicks: u32;

  /** The stream's token and the root context that opened it; 0: there is no stream. */
  token: u32;
  root: u32;
  /** Ticks until the next attempt to open a stream, and how many failed since the last response. */
  wait: u32;
  failures: u32;
  /** Streams that were opened before this one. */
  streams: u32;
  /** Counts up with each stream: what the server does not send again on a new one is gone. */
  connection: u8;
  /** Ticks that the stream lives. */
  age: u32;
  /** Whether this stream brought a response, and the second of the last one. */
  hasResponse: bool;
  lastResponse: u64;
  /** Whether what an earlier stream brought is still to be compared with what this one does. */
  mustSweep: bool;
  /** The next bucket to be cleared of what an earlier owner wrote; BUCKETS * number of scopes: all are. */
  sweepAt: u32;
  isWarned: bool;
  /** What the owner knows; null in all other VMs. */
  holdings: Holdings | null;
}

/** A configuration that names a source's cluster. */
@unmanaged
export class User {
  next: User | null;
  source: Source;
  root: u32;
}

let all: Source | null = null;

/** Tells VMs apart; made with the first source. */
let nonce: u64 = 0;

const noNetwork = slice(memory.data(8, 4));

export function firstSource(): Source | null {
  return all;
}

/** What tells this VM from others. */
export function ownNonce(): u64 {
  return nonce;
}

/** Makes a root context use a cluster as a source, for as long as `owner` lives; null if there is no memory. */
export function useSource(cluster: Slice, root: u32, owner: usize): User | null {
  if (nonce == 0) nonce = (now() * 0x9e3779b97f4a7c15) | 1;
  const at = allocateFor(owner, offsetof<User>());
  if (!at) return null;
  const source = sourceOf(cluster);
  if (!source) return null;
  const user = changetype<User>(at);
  user.source = source;
  user.root = root;
  user.next = null;
  // The oldest comes first: its stream need not move.
  if (!source.users) {
    source.users = user;
    return user;
  }
  let last = changetype<User>(source.users);
  while (last.next) last = changetype<User>(last.next);
  last.next = user;
  return user;
}

function sourceOf(cluster: Slice): Source | null {
  let source = all;
  while (source) {
    if (sameBytes(source.cluster, cluster)) return source;
    source = source.next;
  }
  const size = offsetof<Source>() + SLICE_SIZE;
  const at = allocate(size + cluster.size);
  if (!at) return null;
  memory.fill(at, 0, size);
  source = changetype<Source>(at);
  source.cluster = slice(at + offsetof<Source>());
  memory.copy(at + size, cluster.at, cluster.size);
  source.cluster.set(at + size, cluster.size);
  source.scope = scopeOf(cluster, noNetwork);
  source.next = all;
  all = source;
  return source;
}

/** A root context no longer uses its source. */
export function leaveSource(user: User): void {
  const source = user.source;
  if (source.users == user) {
    source.users = user.next;
    return;
  }
  let before = source.users;
  while (before && before.next != user) before = before.next;
  if (before) before.next = user.next;
}

/** Forgets a source that nobody uses. */
export function releaseSource(source: Source): void {
  if (all == source) {
    all = source.next;
  } else {
    let before = all;
    while (before && before.next != source) before = before.next;
    if (before) before.next = source.next;
  }
  if (source.holdings) releaseHoldings(changetype<Holdings>(source.holdings));
  release(changetype<usize>(source));
}
