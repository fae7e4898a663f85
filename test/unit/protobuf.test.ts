// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { always, type Random } from '../../testkit/random.ts';
import { bytesAt, codecs, concat, END, hex, put } from './support.ts';

const { call, cursorNumber, writeVarint } = codecs;

interface Field {
  field: number;
  type: number;
  number?: bigint;
  content?: Uint8Array;
}

/** All fields that the reader finds, and whether the message ended well. */
function readFields(bytes: Uint8Array): { fields: Field[]; sound: boolean } {
  call.openCursor(put(bytes), END);
  const fields: Field[] = [];
  while (call.nextField()) {
    const [field, type] = [call.cursorField(), call.cursorType()];
    if (type === 0) fields.push({ field, type, number: BigInt.asUintN(64, cursorNumber()) });
    else fields.push({ field, type, content: bytesAt(call.cursorAt(), call.cursorSize()) });
  }
  return { fields, sound: call.cursorSound() === 1 };
}

/** A varint of any of the sizes, as often as any other. */
function anyVarint(random: Random): bigint {
  return BigInt.asUintN(1 + random.below(64), new DataView(random.bytes(8).buffer).getBigUint64(0));
}

/** What protobuf's documentation says that a varint is. */
function varint(value: bigint): Uint8Array {
  const bytes = [];
  for (let rest = value; ; rest >>= 7n) {
    if (rest < 0x80n) return Uint8Array.from([...bytes, Number(rest)]);
    bytes.push(Number(rest & 0x7fn) | 0x80);
  }
}

describe('the reader', () => {
  test('finds the fields that protobufjs wrote, in their order, and skips groups', () => {
    always(1000, (random) => {
      const writer = protobuf.Writer.create();
      const expected: Field[] = [];
      for (let count = random.below(10); count > 0; count--) {
        const field = 1 + random.below(random.pick([15, 2047, 536870911]));
        const type = random.pick([0, 1, 2, 3, 5]);
        writer.uint32(((field << 3) | type) >>> 0);
        if (type === 3) {
          writer
            .uint32(0x08)
            .uint32(1)
            .uint32(((field << 3) | 4) >>> 0);
        } else if (type === 0) {
          const number = anyVarint(random);
          writer.raw(varint(number));
          expected.push({ field, type, number });
        } else {
          const content = random.bytes(type === 1 ? 8 : type === 5 ? 4 : random.below(300));
          if (type === 2) writer.bytes(content);
          else writer.raw(content);
          expected.push({ field, type, content });
        }
      }
      expect(readFields(writer.finish())).toEqual({ fields: expected, sound: true });
    });
  });

  test.each([
    ['0', '00', 0n],
    ['127', '7f', 127n],
    ['128', '8001', 128n],
    ['1, with more bytes than it needs', '8180808000', 1n],
    ['1, in ten bytes', '81808080808080808000', 1n],
    ['2^63 - 1', 'ffffffffffffffff7f', 2n ** 63n - 1n],
    ['2^64 - 1', 'ffffffffffffffffff01', 2n ** 64n - 1n],
  ])('reads a varint: %s', (_, digits, number) => {
    expect(readFields(concat(hex('08'), hex(digits)))).toEqual({
      fields: [{ field: 1, type: 0, number }],
      sound: true,
    });
  });

  test('stops at a fault for good, and keeps what it found before', () => {
    const { fields, sound } = readFields(hex('0801 1001 00 1801'));
    expect(fields.map(({ field }) => field)).toEqual([1, 2]);
    expect(sound).toBe(false);
  });
});

describe('the writer', () => {
  test('writes varints as protobuf has them', () => {
    always(1000, (random) => {
      const value = anyVarint(random);
      const expected = varint(value);
      call.openWriter(END - 10, 10);
      writeVarint(BigInt.asIntN(64, value));
      expect(bytesAt(call.writerHead(), END - call.writerHead())).toEqual(expected);
      expect(call.writerFull()).toBe(0);
    });
  });

  test('puts the length before a content that was written first', () => {
    for (const size of [0, 1, 127, 128, 16383, 16384, 100000]) {
      const content = new Uint8Array(size).fill(0x61);
      call.openWriter(END - size - 5, size + 5);
      const end = call.writerHead();
      call.writeBytes(put(content, END - size - 5), size);
      call.closeField(3, end);
      const expected = protobuf.Writer.create().uint32(0x1a).bytes(content).finish();
      expect(Buffer.compare(bytesAt(call.writerHead(), END - call.writerHead()), expected)).toBe(0);
    }
  });

  test('fills its room to the last byte', () => {
    call.openWriter(END - 4, 4);
    call.writeByte(4);
    writeVarint(300n);
    call.writeByte(1);
    expect(bytesAt(END - 4, 4)).toEqual(hex('01 ac02 04'));
    expect(call.writerFull()).toBe(0);
  });

  test.each<[string, () => void]>([
    ['a byte', () => call.writeByte(1)],
    ['bytes', () => call.writeBytes(END - 1, 1)],
    ['a varint', () => writeVarint(1n)],
    ['the length of a field', () => call.closeField(1, END)],
  ])('says that it is full and writes nothing in front of its room: %s', (_, write) => {
    put(hex('55 55 55 55 55 55 55 55'));
    call.openWriter(END - 3, 3);
    call.writeBytes(put(hex('010203'), END - 8), 3);
    expect(call.writerFull()).toBe(0);
    write();
    expect(call.writerFull()).toBe(1);
    expect(bytesAt(END - 5, 5)).toEqual(hex('55 55 01 02 03'));
  });

  test('stays full: what would still fit is not written either', () => {
    put(hex('55 55 55'));
    call.openWriter(END - 3, 3);
    writeVarint(2n ** 40n);
    call.writeByte(1);
    expect(call.writerFull()).toBe(1);
    expect(bytesAt(END - 3, 3)).toEqual(hex('55 55 55'));
  });
});
