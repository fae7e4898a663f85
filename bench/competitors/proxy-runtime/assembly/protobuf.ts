// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/** A small protobuf reader: no package for AssemblyScript can read google.protobuf.Struct, which is a oneof. */

export const VARINT = 0;
export const FIXED64 = 1;
export const BYTES = 2;
export const FIXED32 = 5;

/** The most messages inside each other, as in protobuf's own parsers. */
const MOST_NESTING = 100;

/** Walks the fields of one message. */
export class Reader {
  field: u32 = 0;
  kind: u32 = 0;
  /** Whether what was read is not a message. */
  failed: bool = false;
  /** Where the value of the present field begins; the value ends where the next field begins. */
  private valueAt: i32 = 0;

  constructor(
    private data: Uint8Array,
    private at: i32,
    private end: i32,
  ) {}

  static of(buffer: ArrayBuffer): Reader {
    return new Reader(Uint8Array.wrap(buffer), 0, buffer.byteLength);
  }

  /** Goes to the next field; false at the end, and if there is no sound one. */
  next(): bool {
    if (this.failed || this.at >= this.end) return false;
    const tag = this.varint();
    this.field = <u32>(tag >> 3);
    this.kind = <u32>(tag & 7);
    let size: u64 = 0;
    if (this.kind == VARINT) this.varint();
    else if (this.kind == FIXED64) size = 8;
    else if (this.kind == FIXED32) size = 4;
    else if (this.kind == BYTES) size = this.varint();
    else this.failed = true;
    if (this.failed || this.field == 0 || size > <u64>(this.end - this.at)) {
      this.failed = true;
      return false;
    }
    this.valueAt = this.at;
    this.at += <i32>size;
    return true;
  }

  /** The value of the present field, which is of the kind BYTES. */
  bytes(): Uint8Array {
    return this.data.slice(this.valueAt, this.at);
  }

  text(): string {
    return String.UTF8.decode(this.bytes().buffer);
  }

  message(): Reader {
    return new Reader(this.data, this.valueAt, this.at);
  }

  private varint(): u64 {
    let value: u64 = 0;
    for (let shift: u64 = 0; shift < 70; shift += 7) {
      if (this.at >= this.end) break;
      const byte = this.data[this.at++];
      value |= (<u64>(byte & 0x7f)) << shift;
      if (byte < 0x80) return value;
    }
    this.failed = true;
    return 0;
  }
}

/** Whether the bytes are a google.protobuf.Struct. */
export function isStruct(bytes: ArrayBuffer): bool {
  return areFields(Reader.of(bytes), 0);
}

function areFields(struct: Reader, depth: i32): bool {
  if (depth > MOST_NESTING) return false;
  while (struct.next()) {
    if (struct.field != 1 || struct.kind != BYTES) continue;
    const entry = struct.message();
    while (entry.next()) {
      if (entry.field == 2 && entry.kind == BYTES && !isValue(entry.message(), depth + 2)) return false;
    }
    if (entry.failed) return false;
  }
  return !struct.failed;
}

function isValue(value: Reader, depth: i32): bool {
  while (value.next()) {
    if (value.kind != BYTES) continue;
    if (value.field == 5 && !areFields(value.message(), depth + 1)) return false;
    if (value.field == 6 && !areValues(value.message(), depth + 1)) return false;
  }
  return !value.failed;
}

function areValues(list: Reader, depth: i32): bool {
  if (depth > MOST_NESTING) return false;
  while (list.next()) {
    if (list.field == 1 && list.kind == BYTES && !isValue(list.message(), depth + 1)) return false;
  }
  return !list.failed;
}
