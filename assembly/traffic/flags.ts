// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { Text } from '../memory/text';

/**
 * Response flags as Envoy's access logs write them: `UF,URX`, or `-`. The attribute `response.flags` has them as bits, in
 * the order of Envoy's CoreResponseFlag (envoy/stream_info/stream_info.h); flags that are added there come at the end.
 */

/** A name for each bit, each with a space behind it. */
const NAMES: Ascii =
  'LH UH UT LR UR UF UC UO NR DI FI RL UAEX RLSE DC URX SI IH DPE UMSDR RFCF NFCF DT UPE NC OM DF DO DR UDO ';

/**
 * Flags that Envoy sets before the one that ends a request: DI, RLSE and URX. The access log has flags in the order in which
 * they were set, which the bits do not tell.
 */
const EARLY: u64 = 0xa200;

/** Adds the names of flags to a line, in the order in which the access log has them. */
export function addFlags(line: Text, flags: u64): void {
  const before = line.size;
  addNames(line, flags & EARLY, before);
  addNames(line, flags & ~EARLY, before);
  if (line.size == before) line.add('-');
}

function addNames(line: Text, flags: u64, before: u32): void {
  const end = bytesOf(NAMES) + sizeOf(NAMES);
  let rest = flags;
  for (let at = bytesOf(NAMES); at < end && rest != 0; rest >>= 1) {
    const begin = at;
    while (load<u8>(at) != 0x20) at++;
    if (rest & 1) {
      if (line.size > before) line.add(',');
      line.addBytes(begin, <u32>(at - begin));
    }
    at++;
  }
}
