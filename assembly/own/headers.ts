// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { ABSENT, remove, replace } from '../host/headers';
import { Slice } from '../memory/slice';
import { count } from '../metrics/metrics';
import { HEADERS_SENT } from '../metrics/table';

/** The method `istio_headers`: we say who we are in two headers. */

/**
 * Leaves one of the two headers as it must go on: ours in place of all copies if it is to be sent and we have one, else
 * no copy. `found` spares the removal of what is known to be absent.
 */
export function settleHeader(map: i32, name: Slice, own: Slice, sends: bool, found: u32): void {
  if (sends && own.at) {
    replace(map, name, own);
    count(HEADERS_SENT);
  } else if (found != ABSENT) {
    remove(map, name);
  }
}
