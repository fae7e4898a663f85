// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice } from '../memory/slice';
import { unmap } from './workload';

/** Addresses as Envoy writes them: `10.0.0.1:8080`, `[2001:db8::1]:8080`. */

/** The sixteen bytes, or the last four of them, of the address that was read last. */
const bytes = memory.data(16, 8);
/** Where the text that is being read goes on, and where it ends. */
const rest = memory.data(8, 4);

function position(): usize {
  return load<usize>(rest);
}

function move(at: usize): void {
  store<usize>(rest, at);
}

/** The byte at the position; 0 at the end. */
function peek(): u8 {
  return position() < load<usize>(rest, 4) ? load<u8>(position()) : 0;
}

/** Goes on over a byte, if it stands there. */
function accept(byte: u8): bool {
  if (peek() != byte) return false;
  move(position() + 1);
  return true;
}

/**
 * Reads an address with a port. `address` is then its 4 or 16 bytes, until the next one is read; an IPv4 address that is
 * mapped into IPv6 has 4. False for anything else, such as a path, and for port 0: that is what somebody said in
 * X-Forwarded-For, and not where a connection came from.
 */
export function readAddress(text: Slice, address: Slice): bool {
  store<usize>(rest, text.at);
  store<usize>(rest, text.end(), 4);
  if (accept(0x5b)) {
    if (!readIpv6() || !accept(0x5d)) return false;
    address.set(bytes, 16);
  } else {
    if (!readIpv4(bytes)) return false;
    address.set(bytes, 4);
  }
  if (!accept(0x3a)) return false;
  const port = readNumber(5);
  if (port <= 0 || port > 65535 || position() != text.end()) return false;
  unmap(address);
  return true;
}

/** A decimal number of at most so many digits; -1: there is none. */
function readNumber(mostDigits: u32): i32 {
  let number = 0;
  let digits: u32 = 0;
  for (let byte: u32 = peek(); byte >= 0x30 && byte <= 0x39 && digits < mostDigits; byte = peek()) {
    number = number * 10 + (byte - 0x30);
    digits++;
    move(position() + 1);
  }
  return digits > 0 ? number : -1;
}

function readIpv4(to: usize): bool {
  for (let i: usize = 0; i < 4; i++) {
    if (i > 0 && !accept(0x2e)) return false;
    const number = readNumber(3);
    if (number < 0 || number > 255) return false;
    store<u8>(to + i, <u8>number);
  }
  return true;
}

/** Groups of four hexadecimal digits; `::` stands once for as many zeros as are missing, and the end may be IPv4. */
function readIpv6(): bool {
  memory.fill(bytes, 0, 16);
  let filled: u32 = 0;
  let gap: i32 = -1;
  if (accept(0x3a)) {
    if (!accept(0x3a)) return false;
    gap = 0;
  }
  while (peek() != 0x5d) {
    if (filled == 16) return false;
    const begin = position();
    if (filled <= 12 && readIpv4(bytes + filled)) {
      filled += 4;
      break;
    }
    move(begin);
    const group = readGroup();
    if (group < 0) return false;
    store<u8>(bytes + filled, <u8>(group >> 8));
    store<u8>(bytes + filled, <u8>group, 1);
    filled += 2;
    if (peek() == 0x5d) break;
    if (!accept(0x3a)) return false;
    if (accept(0x3a)) {
      if (gap >= 0) return false;
      gap = filled;
    } else if (peek() == 0x5d) return false;
  }
  if (gap < 0) return filled == 16;
  if (filled > 14) return false;
  const behind: u32 = filled - gap;
  memory.copy(bytes + 16 - behind, bytes + gap, behind);
  memory.fill(bytes + gap, 0, 16 - filled);
  return true;
}

/** A group of one to four hexadecimal digits; -1: there is none. */
function readGroup(): i32 {
  let group = 0;
  for (let digits = 0; digits < 4; digits++) {
    const byte: u32 = peek();
    const lower = byte | 0x20;
    let digit: u32 = 0;
    if (byte >= 0x30 && byte <= 0x39) digit = byte - 0x30;
    else if (lower >= 0x61 && lower <= 0x66) digit = lower - 0x57;
    else return digits > 0 ? group : -1;
    group = (group << 4) | digit;
    move(position() + 1);
  }
  return group;
}
