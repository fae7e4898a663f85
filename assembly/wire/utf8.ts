// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/** Eight bytes at once: set where a byte is not ASCII. */
const NOT_ASCII: u64 = 0x8080808080808080;

/** Whether a word has a byte below 0x20, or one that is 0x7F. Only for words of ASCII. */
function hasControl(word: u64): bool {
  const deleted = word ^ 0x7f7f7f7f7f7f7f7f;
  return (((word - 0x2020202020202020) | (deleted - 0x0101010101010101)) & NOT_ASCII) != 0;
}

/**
 * Whether the bytes have a control character: one below 0x20, or 0x7F. Readers end a string at NUL, and break a line
 * or a header at CR and LF.
 */
export function hasControlCharacter(at: usize, end: usize): bool {
  for (; at + 8 <= end; at += 8) {
    const word = load<u64>(at);
    if ((word & NOT_ASCII) == 0) {
      if (hasControl(word)) return true;
    } else if (hasControlByte(at, at + 8)) return true;
  }
  return hasControlByte(at, end);
}

function hasControlByte(at: usize, end: usize): bool {
  for (; at < end; at++) {
    const byte = load<u8>(at);
    if (byte < 0x20 || byte == 0x7f) return true;
  }
  return false;
}

/**
 * Whether the bytes are well-formed UTF-8 (RFC 3629): no overlong forms, no surrogates, nothing above U+10FFFF.
 * Protobuf's `string` allows nothing else, and Envoy's parser refuses a whole message for one bad byte.
 */
export function isUtf8(at: usize, end: usize): bool {
  while (at < end) {
    if (at + 8 <= end && (load<u64>(at) & NOT_ASCII) == 0) {
      at += 8;
      continue;
    }
    const first: u32 = load<u8>(at);
    if (first < 0x80) {
      at += 1;
      continue;
    }
    //  lead     second may be   more
    //  C2..DF   80..BF          -
    //  E0       A0..BF          1      (less would be overlong)
    //  E1..EF   80..BF          1
    //  ED       80..9F          1      (more would be a surrogate)
    //  F0       90..BF          2      (less would be overlong)
    //  F1..F3   80..BF          2
    //  F4       80..8F          2      (more would be above U+10FFFF)
    let size: usize = 2;
    let low: u32 = 0x80;
    let high: u32 = 0xbf;
    if (first < 0xc2 || first > 0xf4) return false;
    if (first >= 0xf0) {
      size = 4;
      if (first == 0xf0) low = 0x90;
      else if (first == 0xf4) high = 0x8f;
    } else if (first >= 0xe0) {
      size = 3;
      if (first == 0xe0) low = 0xa0;
      else if (first == 0xed) high = 0x9f;
    }
    if (at + size > end) return false;
    const second: u32 = load<u8>(at, 1);
    if (second < low || second > high) return false;
    if (size > 2 && (load<u8>(at, 2) & 0xc0) != 0x80) return false;
    if (size > 3 && (load<u8>(at, 3) & 0xc0) != 0x80) return false;
    at += size;
  }
  return true;
}
