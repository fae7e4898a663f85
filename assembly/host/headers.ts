// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_get_header_map_pairs,
  proxy_get_header_map_value,
  proxy_remove_header_map_value,
  proxy_replace_header_map_value,
} from '@solo-io/proxy-runtime/assembly/imports';
import { take } from '../memory/arena';
import { Slice, sameBytes, slice } from '../memory/slice';
import { NOT_FOUND, OK } from './abi';

/** The headers of the stream that is being served. */

/** What is found. */
export const ABSENT: u32 = 0;
export const PRESENT: u32 = 1;
/** The header is there, but larger than the arena. */
export const TOO_LARGE: u32 = 2;

/**
 * Up to so many headers are fetched in one call, which is cheaper than two calls that each find one of them and call
 * back for memory. What is fetched is copied twice by the host, so that many or large headers are not worth it.
 */
const MOST_FETCHED: u32 = 32;

const key = slice(memory.data(8, 4));
const unread = slice(memory.data(8, 4));

/** The headers of one request or response, fetched in one call or asked for one by one. */
@unmanaged
export class Message {
  map: i32;
  private count: u32;
  /** Whether it was tried to fetch all headers. */
  private isTried: bool;
  /**
   * All headers, if they were fetched; else of size 0.
   *
   *     | count | key size, value size | key size, value size | ... | key NUL value NUL | key NUL value NUL | ...
   */
  private pairs: usize;
  private pairsSize: u32;

  /** Begins with a message that has `count` headers. */
  open(map: i32, count: u32): void {
    this.map = map;
    this.count = count;
    this.isTried = false;
    this.pairsSize = 0;
  }

  /**
   * Finds a header; `value` is then its first copy that is not empty, in the arena, or an empty one if all copies are.
   * One host call for a message with few headers, however many of them are asked for, else one for each header.
   */
  find(name: Slice, value: Slice): u32 {
    if (this.count <= MOST_FETCHED) this.fetch();
    if (this.pairsSize > 0) return this.pick(name, value);
    const found = get(this.map, name, value);
    // The host shows only the first copy: when that is empty all headers are fetched, to see behind it.
    if (found != PRESENT || value.size > 0) return found;
    return this.fetch() ? this.pick(name, value) : TOO_LARGE;
  }

  /** Finds a header that is seldom there: among those that were fetched, or by a call of its own, which finds nothing. */
  peek(name: Slice, value: Slice): u32 {
    return this.pairsSize > 0 ? this.pick(name, value) : get(this.map, name, value);
  }

  /** Whether a header may be there: not where all headers were fetched and it is none of them. Never a host call. */
  mayHave(name: Slice): bool {
    return this.pairsSize == 0 || this.pick(name, unread) != ABSENT;
  }

  /**
   * Finds all copies of a header, as the one list that they are: `value` is then its bytes with commas between the
   * copies, in the arena, and room for `more` bytes behind them. TOO_LARGE: there is no room, or there are more than
   * `most` bytes.
   */
  findList(name: Slice, value: Slice, most: u32, more: u32): u32 {
    value.set(0, 0);
    if (!this.fetch()) return TOO_LARGE;
    const size = this.copies(name, 0);
    if (size == 0) return ABSENT;
    if (size > most) return TOO_LARGE;
    const start = take(size + more);
    if (!start) return TOO_LARGE;
    this.copies(name, start);
    value.set(start, size);
    return PRESENT;
  }

  /** Fetches all headers, the first time; false if they are larger than the arena. */
  private fetch(): bool {
    if (!this.isTried) {
      this.isTried = true;
      key.set(0, 0);
      const to = changetype<usize>(key);
      if (proxy_get_header_map_pairs(this.map, to, to + offsetof<Slice>('size')) == OK) {
        this.pairs = key.at;
        this.pairsSize = key.size;
      }
    }
    return this.pairsSize > 0;
  }

  /** Of the headers that were fetched, the first copy of one that is not empty, else an empty one, if there is any. */
  private pick(name: Slice, value: Slice): u32 {
    const count = load<u32>(this.pairs);
    let sizes = this.pairs + 4;
    let text = sizes + count * 8;
    let found = ABSENT;
    value.set(0, 0);
    for (let i: u32 = 0; i < count; i++) {
      const keySize = load<u32>(sizes);
      const valueSize = load<u32>(sizes, 4);
      if (keySize == name.size) {
        key.set(text, keySize);
        if (sameBytes(key, name)) {
          found = PRESENT;
          value.set(text + keySize + 1, valueSize);
          if (valueSize > 0) break;
        }
      }
      text += keySize + valueSize + 2;
      sizes += 8;
    }
    return found;
  }

  /** How many bytes all copies of a header have, with commas between them; they are written to `start`, unless that is 0. */
  private copies(name: Slice, start: usize): u32 {
    const count = load<u32>(this.pairs);
    let sizes = this.pairs + 4;
    let text = sizes + count * 8;
    let size: u32 = 0;
    for (let i: u32 = 0; i < count; i++) {
      const keySize = load<u32>(sizes);
      const valueSize = load<u32>(sizes, 4);
      key.set(text, keySize);
      if (valueSize > 0 && sameBytes(key, name)) {
        if (size > 0) {
          if (start) store<u8>(start + size, 0x2c);
          size++;
        }
        if (start) memory.copy(start + size, key.end() + 1, valueSize);
        size += valueSize;
      }
      text += keySize + valueSize + 2;
      sizes += 8;
    }
    return size;
  }
}

/**
 * The first copy of a header; `value` is then its bytes, in the arena. An empty one is PRESENT, with size 0.
 * Envoy answers InvalidMemoryAccess where `malloc` had no room.
 */
function get(map: i32, name: Slice, value: Slice): u32 {
  const to = changetype<usize>(value);
  const result = proxy_get_header_map_value(map, name.at, name.size, to, to + offsetof<Slice>('size'));
  if (result == OK) return PRESENT;
  value.set(0, 0);
  return result == NOT_FOUND ? ABSENT : TOO_LARGE;
}

/** Makes a header have this value, in place of all its copies if there are any. */
export function replace(map: i32, name: Slice, value: Slice): void {
  proxy_replace_header_map_value(map, name.at, name.size, value.at, value.size);
}

/** Removes all copies of a header. */
export function remove(map: i32, name: Slice): void {
  proxy_remove_header_map_value(map, name.at, name.size);
}
