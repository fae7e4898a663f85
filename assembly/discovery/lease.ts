// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as shared from '../host/shared';
import { slice } from '../memory/slice';

/**
 * Which VM of the proxy keeps the stream to a control plane: the one that said so last, as long as it says so again each
 * second. An old and a new module, or workers where nobody is on the main thread, agree by this on one stream.
 *
 *     key     | mxl1 | scope: u64, of the cluster alone |
 *     value   | nonce of the VM: u64 | second: u64, 0 given back | owner: u8 |
 */

const VALUE_SIZE: u32 = 17;
/** Seconds after which a lease that was not renewed is nobody's. */
const SECONDS: u64 = 5;

const key = slice(memory.data(8, 4));
const keyBytes = memory.data(16, 8);
key.set(keyBytes, 12);
store<u32>(keyBytes, 0x316c786d);
const value = slice(memory.data(8, 4));
const own = slice(memory.data(8, 4));
const ownBytes = memory.data(24, 8);
own.set(ownBytes, VALUE_SIZE);

/** Reads the lease of a scope as `value`; false if there is none, or somebody else wrote there. */
function read(scope: u64): bool {
  store<u64>(keyBytes, scope, 4);
  return shared.get(key, value) && value.size == VALUE_SIZE;
}

/** Whether this VM has the lease. */
export function isOurs(scope: u64, nonce: u64): bool {
  return read(scope) && load<u64>(value.at) == nonce;
}

/** Whether anybody has the lease at this second. */
export function isTaken(scope: u64, second: u64): bool {
  if (!read(scope)) return false;
  const renewed = load<u64>(value.at, 8);
  // The clock may have gone back since.
  const age = renewed < second ? second - renewed : renewed - second;
  return renewed > 0 && age < SECONDS;
}

/** The number that the last owner wrote its records with; 0 if there was none. */
export function lastOwner(scope: u64): u8 {
  return read(scope) ? load<u8>(value.at, 16) : 0;
}

/** Takes or renews the lease; second 0 gives it back. */
export function write(scope: u64, nonce: u64, second: u64, owner: u8): void {
  store<u64>(keyBytes, scope, 4);
  store<u64>(ownBytes, nonce);
  store<u64>(ownBytes, second, 8);
  store<u8>(ownBytes, owner, 16);
  shared.set(key, own);
}
