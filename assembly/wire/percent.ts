// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/** Percent-encoding (RFC 3986): a byte as `%` and two hexadecimal digits. */

/** Writes a byte encoded; the answer is where it ends, three bytes on. */
export function putEncoded(byte: u32, to: usize): usize {
  store<u8>(to, 0x25);
  store<u8>(to, letterOf(byte >> 4), 1);
  store<u8>(to, letterOf(byte & 15), 2);
  return to + 3;
}

function letterOf(digit: u32): u8 {
  return <u8>(digit < 10 ? 0x30 + digit : 0x37 + digit);
}
