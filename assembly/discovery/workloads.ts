// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii } from '../memory/ascii';
import { hashOf } from '../memory/hash';
import { Slice, sameBytes, slice } from '../memory/slice';
import * as metrics from '../metrics/metrics';
import * as table from '../metrics/table';
import { writeRecord } from '../wire/record';
import { NETWORK, newAddresses, UID, Workload } from '../wire/workload';
import { HOLDING_LISTS, Holding, Holdings, isScope } from './holdings';
import { ownNonce, Source } from './source';
import * as store from './store';

/** What the server said of workloads, brought into the store: one that is new, changed or gone. */

const addresses = newAddresses();
const address = slice(memory.data(8, 4));
const held = slice(memory.data(8, 4));
const record = slice(memory.data(8, 4));
const recordBytes = memory.data(4608);
const nowhere = slice(memory.data(8, 4));

/** The hash of a uid. Its seed is this VM's own: nobody can name a workload so that it is taken for another one. */
function hashOfUid(uid: Slice): u64 {
  return hashOf(uid, ownNonce());
}

/**
 * Takes a workload in: it has the addresses that are named now, and no others. An address that another workload has is
 * its own from now on, until it lets go of it. 0, or why it cannot be taken in.
 */
export function takeIn(source: Source, holdings: Holdings, workload: Workload): Ascii {
  const scope = store.scopeOf(source.cluster, workload.text(NETWORK));
  const scopeNumber = holdings.scopeNumber(scope);
  if (!isScope(scopeNumber)) return 'is in one network more than this proxy tells apart';
  const hash = hashOfUid(workload.text(UID));
  dropOthers(source, holdings, hash, <u8>scopeNumber, workload);
  let refusal: Ascii = 0;
  let count: u32 = 0;
  addresses.open(workload);
  while (addresses.next(address)) {
    count++;
    writeRecord(workload, address, hash, source.owner, recordBytes, record);
    if (!store.put(scope, address, hash, source.owner, record))
      refusal = 'finds no room among the workloads that this proxy knows';
    else if (!hold(source, holdings, hash, <u8>scopeNumber, address)) refusal = FULL;
  }
  if (count == 0 && !hold(source, holdings, hash, <u8>scopeNumber, nowhere)) refusal = FULL;
  if (!refusal) metrics.count(table.DISCOVERY_UPDATES);
  return refusal;
}

const FULL: Ascii = 'is one more than this proxy has memory for';

/** Notes that a workload has an address, or none; false if there is no memory. */
function hold(source: Source, holdings: Holdings, hash: u64, scope: u8, at: Slice): bool {
  let holding = holdings.find(hash);
  while (holding) {
    holding.address(held);
    if (holding.scope == scope && sameBytes(held, at)) {
      holding.seen = source.connection;
      return true;
    }
    holding = holdings.findNext(holding);
  }
  return holdings.add(hash, scope, at, source.connection) != null;
}

/** Lets go of those addresses of a workload that it no longer names. */
function dropOthers(source: Source, holdings: Holdings, hash: u64, scope: u8, workload: Workload): void {
  let holding = holdings.find(hash);
  while (holding) {
    const next = holdings.findNext(holding);
    holding.address(held);
    if (holding.scope != scope || !isNamed(workload)) drop(source, holdings, holding);
    holding = next;
  }
}

/** Whether `held` is among the addresses of a workload. */
function isNamed(workload: Workload): bool {
  addresses.open(workload);
  while (addresses.next(address)) {
    if (sameBytes(address, held)) return true;
  }
  return false;
}

/** Lets go of an address of a workload. */
function drop(source: Source, holdings: Holdings, holding: Holding): void {
  holding.address(held);
  if (held.size > 0) store.remove(holdings.scope(holding.scope), held, holding.hash(), source.owner);
  holdings.remove(holding);
}

/** Forgets the workload with this uid; of one that nobody knows there is nothing to forget. */
export function forget(source: Source, holdings: Holdings, uid: Slice): void {
  const hash = hashOfUid(uid);
  let holding = holdings.find(hash);
  if (holding) metrics.count(table.DISCOVERY_REMOVALS);
  while (holding) {
    drop(source, holdings, holding);
    holding = holdings.find(hash);
  }
}

/** Forgets all workloads that an earlier stream named and this one did not. */
export function forgetUnseen(source: Source, holdings: Holdings): void {
  for (let list: u32 = 0; list < HOLDING_LISTS; list++) {
    let holding = holdings.list(list);
    while (holding) {
      const next = changetype<Holding | null>(holding.next);
      if (holding.seen != source.connection) {
        const workloads = holdings.workloads;
        drop(source, holdings, holding);
        if (holdings.workloads < workloads) metrics.count(table.DISCOVERY_REMOVALS);
      }
      holding = next;
    }
  }
}
