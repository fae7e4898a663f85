// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf, sizeOf } from './ascii';
import { Slice } from './slice';

/**
 * A line that is put together in a room of fixed size: log messages, paths in a configuration. What does not fit
 * is cut off.
 */
@unmanaged
export class Text {
  at: usize;
  size: u32;
  room: u32;

  /** Begins with nothing in a room of `room` bytes. */
  open(at: usize, room: u32): void {
    this.at = at;
    this.size = 0;
    this.room = room;
  }

  /** Adds text of ours, or as much as fits. */
  add(text: Ascii): void {
    this.addBytes(bytesOf(text), sizeOf(text));
  }

  /** Adds bytes, or as many as fit. */
  addBytes(at: usize, size: u32): void {
    const fitting = min(size, this.room - this.size);
    memory.copy(this.at + this.size, at, fitting);
    this.size += fitting;
  }

  /** Adds what somebody else wrote: its first 64 bytes, with `?` for whatever is not printable ASCII. */
  addQuoted(bytes: Slice): void {
    const fitting = min<u32>(min<u32>(bytes.size, 64), this.room - this.size);
    for (let i: u32 = 0; i < fitting; i++) {
      const byte = load<u8>(bytes.at + i);
      store<u8>(this.at + this.size + i, byte < 0x20 || byte > 0x7e ? 0x3f : byte);
    }
    this.size += fitting;
    if (bytes.size > 64) this.add('...');
  }

  /** Adds a number as eight hexadecimal digits. */
  addHex(value: u32): void {
    if (this.room - this.size < 8) return;
    for (let shift = 28; shift >= 0; shift -= 4) {
      const digit = (value >> shift) & 15;
      store<u8>(this.at + this.size, <u8>(digit < 10 ? 0x30 + digit : 0x57 + digit));
      this.size++;
    }
  }

  /** Adds a number in decimal. */
  addNumber(value: u32): void {
    let digits: u32 = 1;
    for (let rest = value / 10; rest > 0; rest /= 10) digits++;
    if (digits > this.room - this.size) return;
    this.size += digits;
    for (let to = this.at + this.size; digits > 0; digits--) {
      to--;
      store<u8>(to, <u8>(48 + (value % 10)));
      value /= 10;
    }
  }
}
