// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { allocate, allocateFor, releaseAll } from '../memory/blocks';
import { Entry, POOL_SIZE, Pool } from '../memory/pool';
import { Slice } from '../memory/slice';

/**
 * What the owner of a stream must know beside the records in shared data: which addresses a workload has, so that they go
 * when it goes. Of a workload's uid it keeps the hash, whose seed nobody else knows. 40 bytes for each address of a workload, or for one that has none.
 */
@unmanaged
export class Holding extends Entry {
  /** The upper half of the hash; the lower half is the id. */
  high: u32;
  /** Its address, of which it has 4 or 16 bytes. */
  addressStart: u64;
  addressRest: u64;
  /** The number of the address's scope. */
  scope: u8;
  addressSize: u8;
  /** The stream that last said it is there. */
  seen: u8;

  /** Its address; size 0 if it has none. */
  address(to: Slice): void {
    to.set(changetype<usize>(this) + offsetof<Holding>('addressStart'), this.addressSize);
  }

  hash(): u64 {
    return ((<u64>this.high) << 32) | this.id;
  }
}

/** The most holdings, and lists of them. */
const MOST: u32 = 262144;
const LISTS: u32 = 16384;
/** The most scopes, which are networks. */
const MOST_SCOPES: u32 = 64;

const TABLES_SIZE: u32 = MOST_SCOPES * 8;

const HOLDING_SIZE: u32 = (<u32>offsetof<Holding>() + 7) & ~7;

@unmanaged
export class Holdings {
  pool: Pool;
  /** How many workloads there are. */
  workloads: u32;
  /** How many of the holdings have no address. */
  withoutAddress: u32;
  scopeCount: u32;
  private scopes: usize;

  /** Begins with nothing. `heads` is room for LISTS addresses and `tables` TABLES_SIZE bytes, all 0. */
  open(pool: Pool, heads: usize, tables: usize): void {
    this.pool = pool;
    pool.open(HOLDING_SIZE, MOST, heads, LISTS);
    this.scopes = tables;
  }

  /** The first holding of a workload, or null. */
  find(hash: u64): Holding | null {
    return this.sameHash(this.pool.find(<u32>hash), hash);
  }

  /** The next one of the same workload, or null. */
  findNext(holding: Holding): Holding | null {
    return this.sameHash(this.pool.findNext(holding), holding.hash());
  }

  private sameHash(entry: Entry | null, hash: u64): Holding | null {
    while (entry) {
      const holding = changetype<Holding>(changetype<usize>(entry));
      if (holding.high == <u32>(hash >> 32)) return holding;
      entry = this.pool.findNext(entry);
    }
    return null;
  }

  /** Adds a holding; null if there are as many as may be, or no memory. */
  add(hash: u64, scope: u8, address: Slice, seen: u8): Holding | null {
    const isNew = !this.find(hash);
    const entry = this.pool.add(<u32>hash);
    if (!entry) return null;
    const holding = changetype<Holding>(changetype<usize>(entry));
    holding.high = <u32>(hash >> 32);
    holding.scope = scope;
    holding.addressSize = <u8>address.size;
    holding.seen = seen;
    memory.copy(changetype<usize>(holding) + offsetof<Holding>('addressStart'), address.at, address.size);
    if (isNew) this.workloads++;
    if (address.size == 0) this.withoutAddress++;
    return holding;
  }

  remove(holding: Holding): void {
    const hash = holding.hash();
    if (holding.addressSize == 0) this.withoutAddress--;
    this.pool.remove(holding);
    if (!this.find(hash)) this.workloads--;
  }

  /** Says of a workload that this stream knows it. */
  see(hash: u64, seen: u8): void {
    let holding = this.find(hash);
    while (holding) {
      holding.seen = seen;
      holding = this.findNext(holding);
    }
  }

  /** The first of one of the lists in which all holdings stand; `next` leads on. */
  list(number: u32): Holding | null {
    return changetype<Holding | null>(changetype<usize>(this.pool.first(number)));
  }

  /** The number of a scope; MOST_SCOPES if there are too many. */
  scopeNumber(scope: u64): u32 {
    for (let i: u32 = 0; i < this.scopeCount; i++) {
      if (this.scope(i) == scope) return i;
    }
    if (this.scopeCount == MOST_SCOPES) return MOST_SCOPES;
    store<u64>(this.scopes + (this.scopeCount << 3), scope);
    return this.scopeCount++;
  }

  scope(number: u32): u64 {
    return load<u64>(this.scopes + (number << 3));
  }
}

/** Whether `scopeNumber` found a number. */
export function isScope(number: u32): bool {
  return number < MOST_SCOPES;
}

/** How many lists hold all holdings. */
export const HOLDING_LISTS: u32 = LISTS;

/** Empty holdings; null if there is no memory. */
export function newHoldings(): Holdings | null {
  const poolAt = (offsetof<Holdings>() + 7) & ~7;
  const tablesAt = poolAt + ((POOL_SIZE + 7) & ~7);
  const at = allocate(tablesAt + TABLES_SIZE);
  if (!at) return null;
  const heads = allocateFor(at, LISTS * 4);
  if (!heads) {
    releaseAll(at);
    return null;
  }
  memory.fill(at, 0, tablesAt + TABLES_SIZE);
  memory.fill(heads, 0, LISTS * 4);
  const holdings = changetype<Holdings>(at);
  holdings.open(changetype<Pool>(at + poolAt), heads, at + tablesAt);
  return holdings;
}

/** Releases holdings and all memory that they took. */
export function releaseHoldings(holdings: Holdings): void {
  holdings.pool.close();
  releaseAll(changetype<usize>(holdings));
}
