// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { now } from '../host/clock';
import { NODE_NETWORK } from '../host/names';
import * as properties from '../host/properties';
import { startOver } from '../memory/arena';
import { allocateFor } from '../memory/blocks';
import { SLICE_SIZE, slice } from '../memory/slice';
import * as metrics from '../metrics/metrics';
import * as table from '../metrics/table';
import * as client from './client';
import { Holdings, newHoldings, releaseHoldings } from './holdings';
import * as lease from './lease';
import * as role from './role';
import { firstSource, leaveSource, ownNonce, releaseSource, Source, User, useSource } from './source';
import * as store from './store';
import { forgetUnseen } from './workloads';

/**
 * What is done for the sources once a second, and when a root context begins or ends. The VM on the main thread asks the
 * control plane for all others. Where nobody turns out to be on it, one worker does.
 */

/** Ticks without an owner after which a worker takes over. */
const PATIENCE: u32 = 5;
/** Seconds after the last response of a new stream until what it did not name is taken for gone. */
const SETTLED: u64 = 5;
/** Buckets that are cleared of an earlier owner's records in one tick. */
const SWEPT_AT_ONCE: u32 = 8192;

let second: u64 = 0;

const network = slice(memory.data(8, 4));

/** The second since 1970 in which the last tick was. */
export function lastSecond(): u64 {
  return second;
}

/** Makes a root context use the source that its configuration names; false if there is no memory. `user`: see `end`. */
export function begin(config: Config, root: u32, owner: usize): User | null {
  role.ask();
  const cluster = config.discoveryCluster;
  if (!cluster) return null;
  properties.get(NODE_NETWORK, network);
  const at = allocateFor(owner, SLICE_SIZE + network.size);
  if (!at) return null;
  config.network = slice(at);
  config.network.set(at + SLICE_SIZE, network.size);
  memory.copy(config.network.at, network.at, network.size);
  config.discoveryScope = store.scopeOf(cluster, network);
  const user = useSource(cluster, root, owner);
  if (user) user.source.ownScope = config.discoveryScope;
  return user;
}

/** A root context ended that was a source's user. A stream that belonged to it is gone, without a word. */
export function end(user: User): void {
  const source = user.source;
  leaveSource(user);
  if (source.token && source.root == user.root) {
    client.lost(source);
    source.wait = 0;
  }
  if (source.users) return;
  if (source.isOwner) lease.write(source.scope, ownNonce(), 0, source.owner);
  const holdings = source.holdings;
  if (holdings) releaseHoldings(holdings);
  source.holdings = null;
  releaseSource(source);
  count();
}

/** A second has passed for a root context. */
export function tick(root: u32): void {
  second = now() / 1000000000;
  let source = firstSource();
  while (source) {
    const user = source.users;
    // Each source goes on once a second, however many configurations use it.
    if (user && user.root == root) advance(source);
    source = source.next;
  }
}

/** A queue has a message: perhaps it turns out that this VM is on the main thread. */
export function queueReady(queue: u32): void {
  startOver();
  if (!role.answer(queue)) return;
  second = now() / 1000000000;
  let source = firstSource();
  while (source) {
    advance(source);
    source = source.next;
  }
}

function advance(source: Source): void {
  startOver();
  if (!source.isOwner) {
    contend(source);
  } else if (!lease.isOurs(source.scope, ownNonce())) {
    resign(source);
  }
  if (!source.isOwner) return;
  lease.write(source.scope, ownNonce(), second, source.owner);
  client.keepOpen(source);
  const holdings = source.holdings;
  if (holdings && source.hasResponse && second >= source.lastResponse + SETTLED) tidy(source, holdings);
}

/** Takes the lease, if nobody has it. On the main thread at once; elsewhere somebody else may do the same at this moment. */
function contend(source: Source): void {
  if (source.isClaiming) {
    source.isClaiming = false;
    if (lease.isOurs(source.scope, ownNonce())) own(source);
    return;
  }
  if (lease.isTaken(source.scope, second)) {
    source.idleTicks = 0;
    return;
  }
  source.idleTicks++;
  if (!role.isOnMainThread() && source.idleTicks <= PATIENCE) return;
  source.owner = lease.lastOwner(source.scope) + 1;
  lease.write(source.scope, ownNonce(), second, source.owner);
  if (role.isOnMainThread()) own(source);
  else source.isClaiming = true;
}

function own(source: Source): void {
  const holdings = newHoldings();
  if (!holdings) return;
  source.holdings = holdings;
  // Even if nobody is left there: what an earlier owner wrote must go.
  holdings.scopeNumber(source.ownScope);
  source.isOwner = true;
  source.sweepAt = 0;
  source.wait = 0;
  if (!role.isOnMainThread()) metrics.count(table.DISCOVERY_ON_WORKER);
}

/** Somebody else has the lease: this VM was silent for too long. */
function resign(source: Source): void {
  client.stop(source);
  const holdings = source.holdings;
  if (holdings) releaseHoldings(holdings);
  source.holdings = null;
  source.isOwner = false;
  source.idleTicks = 0;
}

/** The server has said all there is for now: what it did not name is gone, of earlier streams and of earlier owners. */
function tidy(source: Source, holdings: Holdings): void {
  if (source.mustSweep) {
    source.mustSweep = false;
    forgetUnseen(source, holdings);
  }
  const all = holdings.scopeCount * store.BUCKETS;
  const until = min(all, source.sweepAt + SWEPT_AT_ONCE);
  for (; source.sweepAt < until; source.sweepAt++) {
    const scope = holdings.scope(source.sweepAt >> 16);
    store.sweep(scope, source.sweepAt & (store.BUCKETS - 1), source.owner);
  }
}

/** Tells the metrics what is known. */
export function count(): void {
  let connected: u64 = 0;
  let workloads: u64 = 0;
  let addresses: u64 = 0;
  let age: u64 = 0;
  let source = firstSource();
  while (source) {
    const holdings = source.holdings;
    if (holdings) {
      if (client.isConnected(source)) connected++;
      workloads += holdings.workloads;
      addresses += holdings.pool.live - holdings.withoutAddress;
      if (source.lastResponse && second > source.lastResponse) age = max(age, second - source.lastResponse);
    }
    source = source.next;
  }
  metrics.set(table.DISCOVERY_CONNECTED, connected);
  metrics.set(table.DISCOVERY_WORKLOADS, workloads);
  metrics.set(table.DISCOVERY_ADDRESSES, addresses);
  metrics.set(table.DISCOVERY_AGE, age);
}
