// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * Protobuf's wire format: a reader that stops at what is malformed, and a writer that goes backwards.
 * What is refused is what Google's C++ parser, which reads these messages in Envoy, refuses.
 * https://protobuf.dev/programming-guides/encoding
 */

/** Wire types: what follows a tag. */
export const VARINT: u32 = 0;
export const FIXED64: u32 = 1;
export const LENGTH: u32 = 2;
const START_GROUP: u32 = 3;
const END_GROUP: u32 = 4;
const FIXED32: u32 = 5;

/** Where the last byte of a varint may stand: the tenth of a number, the fifth of a tag or a length. */
const LONG: u64 = 63;
const SHORT: u64 = 28;

/**
 * The most messages, map entries and groups inside each other, the outermost message not counted: what Google's C++
 * parser takes. It refuses the whole message beyond: then CEL in Envoy sees nothing of a peer, whatever else it said.
 */
export const MOST_NESTING: u32 = 100;

/** The largest size of one field: protobuf's own limit on a message is 2 GiB. */
const MOST_BYTES: u64 = 0x7fffffff;

/**
 * A reader of one message. `next()` goes to the next field; then `field` and `type` say which it is, and
 *
 *     VARINT   number       its 64 bits
 *     FIXED64  at           where its 8 bytes are
 *     LENGTH   at, size     its bytes
 *
 * After the last field `next()` is false and `sound` says whether the message ended well.
 */
@unmanaged
export class Cursor {
  number: u64;
  at: usize;
  size: u32;
  field: u32;
  type: u32;
  sound: bool;
  private position: usize;
  private end: usize;
  private depth: u32;

  /** Begins with the message from `at` up to `end`, inside of `depth` others. */
  open(at: usize, end: usize, depth: u32): void {
    this.position = at;
    this.end = end;
    this.depth = depth;
    this.sound = true;
  }

  /** Goes to the next field, over groups and anything else without interest; false at the end or a fault. */
  next(): bool {
    while (this.position < this.end) {
      if (!this.tag()) return this.fault();
      if (this.type == START_GROUP) {
        if (!this.skipGroup()) return this.fault();
        continue;
      }
      if (this.type == END_GROUP || !this.value()) return this.fault();
      return true;
    }
    return false;
  }

  private fault(): bool {
    this.sound = false;
    return false;
  }

  /** A tag: field number and wire type, at most 32 bits of them; there is no field 0. */
  private tag(): bool {
    if (!this.varint(SHORT) || this.number > 0xffffffff) return false;
    this.field = <u32>this.number >> 3;
    this.type = <u32>this.number & 7;
    return this.field != 0;
  }

  /** What follows a tag that is not a group's. */
  private value(): bool {
    if (this.type == VARINT) return this.varint(LONG);
    if (this.type == LENGTH) {
      if (!this.varint(SHORT) || this.number > MOST_BYTES) return false;
      this.size = <u32>this.number;
    } else if (this.type == FIXED64) {
      this.size = 8;
    } else if (this.type == FIXED32) {
      this.size = 4;
    } else {
      return false;
    }
    if (this.size > <u32>(this.end - this.position)) return false;
    this.at = this.position;
    this.position += this.size;
    return true;
  }

  /** Skips a group whose start was read, with the groups inside it, up to the end that belongs to it. */
  private skipGroup(): bool {
    let open: u32 = 0;
    while (true) {
      if (this.type == START_GROUP) {
        if (this.depth + open >= MOST_NESTING) return false;
        store<u32>(groups + (open << 2), this.field);
        open++;
      } else if (this.type == END_GROUP) {
        open--;
        if (load<u32>(groups + (open << 2)) != this.field) return false;
        if (open == 0) return true;
      } else if (!this.value()) {
        return false;
      }
      if (this.position >= this.end || !this.tag()) return false;
    }
  }

  /** A varint: seven bits a byte, lowest first, the last byte at most at this shift, and 64 bits in all. */
  private varint(mostShift: u64): bool {
    let at = this.position;
    const end = this.end;
    if (at >= end) return false;
    let byte: u64 = load<u8>(at);
    at++;
    let number = byte & 0x7f;
    let shift: u64 = 7;
    while (byte >= 0x80) {
      if (at >= end || shift > mostShift) return false;
      byte = load<u8>(at);
      at++;
      if (shift == 63 && byte > 1) return false;
      number |= (byte & 0x7f) << shift;
      shift += 7;
    }
    this.position = at;
    this.number = number;
    return true;
  }
}

/** Bytes that one Cursor takes. */
export const CURSOR_SIZE: u32 = <u32>(offsetof<Cursor>() + 7) & ~7;

/** Field numbers of the groups that are open while one is skipped. */
const groups = memory.data(400); // MOST_NESTING * 4

/** A tag, for fields up to 15: one byte. */
export function tagOf(field: u32, type: u32): u8 {
  return <u8>((field << 3) | type);
}

/** Bytes that a number takes as a varint, 1 to 10. */
export function varintSize(value: u64): u32 {
  let size: u32 = 1;
  for (let rest = value >> 7; rest != 0; rest >>= 7) size++;
  return size;
}

/**
 * A writer that begins at the end of its room and goes towards the start. A message's length stands before
 * its content and is known only when the content is written; backwards, it simply comes later:
 *
 *     room |....... head -> | tag | length | content |
 *
 * When the room is used up, `full` is set and nothing more is written.
 */
@unmanaged
export class Writer {
  /** The first byte written. */
  head: usize;
  full: bool;
  private start: usize;

  /** Begins with an empty room of `size` bytes from `start` on. */
  open(start: usize, size: u32): void {
    this.start = start;
    this.head = start + size;
    this.full = false;
  }

  private room(size: usize): bool {
    if (this.full || this.head - this.start < size) {
      this.full = true;
      return false;
    }
    this.head -= size;
    return true;
  }

  byte(value: u8): void {
    if (this.room(1)) store<u8>(this.head, value);
  }

  bytes(at: usize, size: u32): void {
    if (this.room(size)) memory.copy(this.head, at, size);
  }

  varint(value: u64): void {
    const size: usize = varintSize(value);
    if (!this.room(size)) return;
    for (let i: usize = 0; i < size; i++) {
      const more: u64 = i + 1 < size ? 0x80 : 0;
      store<u8>(this.head + i, <u8>((value & 0x7f) | more));
      value >>= 7;
    }
  }

  /** Closes a field of type LENGTH whose content was written since the head stood at `end`. */
  close(field: u32, end: usize): void {
    this.varint(end - this.head);
    this.byte(tagOf(field, LENGTH));
  }
}
