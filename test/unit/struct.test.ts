// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { always, anyForm } from '../../testkit/random.ts';
import { protobufjsTakes } from '../../testkit/struct.ts';
import { concat, decodeStruct, field, hex, isSoundStruct, kindOf, Struct, structOf, utf8, Value } from './support.ts';

const TRUE = hex('20 01');

/** A Struct in a Value in a Struct in a Value ..., `times` times more than once. */
function nestedStructs(times: number, value = TRUE): Uint8Array {
  let innermost = value;
  for (let i = 0; i < times; i++) innermost = field(5, structOf(innermost));
  return structOf(innermost);
}

function nestedLists(times: number, value = TRUE): Uint8Array {
  let innermost = value;
  for (let i = 0; i < times; i++) innermost = field(6, field(1, innermost));
  return structOf(innermost);
}

describe("a peer's Struct is passed on", () => {
  test('if it is empty', () => {
    expect(isSoundStruct(new Uint8Array())).toBe(true);
  });

  test('if it is any Struct that protobufjs writes', () => {
    const kinds = new Set<string>();
    always(2500, (random) => {
      const struct = random.struct();
      for (const value of Object.values(struct.fields)) kinds.add(Object.keys(value)[0]);
      expect(isSoundStruct(Struct.encode(struct).finish())).toBe(true);
    });
    expect(kinds.size).toBe(6);
  });

  test('if it is written in any of the ways that protobuf allows', () => {
    always(2500, (random) => expect(isSoundStruct(anyForm(random.struct(), random))).toBe(true));
  });

  test.each([
    [
      'an empty list, an empty Struct and an empty string',
      concat(structOf(hex('3200')), structOf(hex('2a00')), structOf(hex('1a00'))),
    ],
    ['an entry without a key, which is the empty key', field(1, field(2, TRUE))],
    ['an entry with its value before its key', field(1, concat(field(2, TRUE), field(1, utf8('a'))))],
    ['the same key twice', concat(structOf(TRUE), structOf(hex('0800')))],
    ['a Value with two kinds, of which the last one counts', structOf(hex('2001 1a0161'))],
    ['a null that is not 0', structOf(hex('0805'))],
    ['a boolean of ten bytes', structOf(hex('20 80808080808080808001'))],
    ['a length of five bytes', hex('0a 8780808000 0a0161 12022001')],
    ['unknown fields of every wire type', concat(hex('1001 1900000000000000ff 2201ff 2dffffffff'), structOf(TRUE))],
    ['unknown fields in an entry', field(1, concat(hex('1801'), field(2, TRUE), hex('2201ff')))],
    ['unknown fields in a Value', structOf(concat(hex('3a01ff 4001'), TRUE))],
    ['unknown fields in a list', structOf(field(6, concat(hex('1001'), field(1, TRUE), hex('1a01ff'))))],
    ['the highest field number', hex('f8ffffff0f 01')],
    ['an unknown varint of 64 bits', hex('10 ffffffffffffffffff01')],
    ['a group', hex('7b 1001 1a01ff 7c')],
    ['groups in a group', hex('7b 83018401 7b 1900000000000000ff 7c 7c')],
    ['a group with the number of a known field', hex('0b 0a01ff 0c')],
    ['fields as a varint, skipped', hex('0801')],
    ['a key as a varint, skipped', field(1, concat(hex('0801'), field(2, TRUE)))],
    ['kinds with wire types of others, skipped', structOf(concat(hex('0a01ff 1001 1801 2201ff 2801 3001'), TRUE))],
  ])('with %s', (_, bytes) => {
    expect(isSoundStruct(bytes)).toBe(true);
    expect(() => Struct.decode(bytes)).not.toThrow();
  });
});

describe("a peer's Struct is refused", () => {
  test.each([
    ['a field that is longer than what is left', hex('0a09 0a0161 12022001')],
    ['a value that is longer than its entry', hex('0a07 0a0161 12032001')],
    ['a string that is longer than its Value', structOf(hex('1a0261'))],
    ['a list that is longer than its Value', structOf(hex('32020a'))],
    ['a tag without what should follow', hex('08')],
    ['a tag that does not end', hex('8a')],
    ['a length that does not end', hex('0a80')],
    ['a length of 2 GiB', hex('3a ffffffff0f')],
    ['a length of 4 GiB, which is 0 in 32 bits', hex('0a 8080808010')],
    ['a length that is negative', hex('3a ffffffffffffffffff01')],
    ['half a fixed64', hex('39 00000000')],
    ['half a fixed32', hex('3d 0000')],
    ['a number of seven bytes', structOf(hex('11 00000000000000'))],
    ['wire type 6', hex('3e 00')],
    ['wire type 7', hex('3f 00')],
    ['the end of a group that never began', hex('3c')],
    ['the end of a group in a Value', structOf(hex('2001 3c'))],
    ['a group that does not end', hex('3b 1001')],
    ['a group that ends with the number of another', hex('3b 44')],
    ['groups that end in the wrong order', hex('3b 43 3c 44')],
  ])('with %s', (_, bytes) => {
    expect(isSoundStruct(bytes)).toBe(false);
    expect(() => Struct.decode(bytes)).toThrow();
  });

  test.each([
    ['field number 0', hex('00 01')],
    ['field number 0 in a Value', structOf(hex('2001 0000'))],
    ['a key that is not UTF-8', field(1, concat(hex('0a01ff'), field(2, TRUE)))],
    ['a string that is not UTF-8', structOf(hex('1a02c080'))],
    ['a surrogate in a string', structOf(hex('1a03eda080'))],
    ['a bad string that a later kind replaces', structOf(hex('1a01ff 2001'))],
    ['a varint of eleven bytes', hex('10 ffffffffffffffffffff01')],
    ['a boolean of eleven bytes', structOf(hex('20 8080808080808080808001'))],
    ['a tag of six bytes', hex('8a8080808000 07 0a0161 12022001')],
    ['a length of six bytes', hex('0a 878080808000 0a0161 12022001')],
    ['the length of a string in six bytes', structOf(hex('1a 818080808000 61'))],
    ['the length of an unknown field in ten bytes', hex('3a 81808080808080808000 61')],
  ])("as Google's C++ parser in Envoy does, whatever protobufjs says, with %s", (_, bytes) => {
    expect(isSoundStruct(bytes)).toBe(false);
  });

  test.each([
    ['a tag of more than 32 bits', hex('8a80808010 07 0a0161 12022001')],
    ['a varint of more than 64 bits', hex('10 ffffffffffffffffff02')],
  ])('with %s, although Envoy drops the bits that are too many', (_, bytes) => {
    expect(isSoundStruct(bytes)).toBe(false);
  });

  test.each([
    ['a Value without a kind', ''],
    ['a Value with nothing but an unknown field', '3801'],
    ['a Value whose only kind has the wrong wire type', '0a0100'],
    ['a NaN', '11 000000000000f87f'],
    ['a signalling NaN', '11 010000000000f07f'],
    ['a negative NaN', '11 000000000000f8ff'],
    ['Infinity', '11 000000000000f07f'],
    ['-Infinity', '11 000000000000f0ff'],
    ['a NaN that a later kind replaces', '11 000000000000f87f 2001'],
  ])('with %s at any depth, since JSON has no form for it', (_, digits) => {
    const value = hex(digits);
    expect(isSoundStruct(structOf(value))).toBe(false);
    expect(isSoundStruct(concat(structOf(value), structOf(TRUE)))).toBe(false);
    for (const depth of [1, 2, 20, 32]) {
      expect(isSoundStruct(nestedStructs(depth, value))).toBe(false);
      expect(isSoundStruct(nestedLists(depth, value))).toBe(false);
      expect(isSoundStruct(nestedStructs(depth))).toBe(true);
      expect(isSoundStruct(nestedLists(depth))).toBe(true);
    }
  });

  test.each([
    ['an entry without a value', field(1, field(1, utf8('a')))],
    ['an empty entry', field(1, new Uint8Array())],
    ['an entry whose value has the wrong wire type', field(1, hex('0a0161 1001'))],
    ['an entry without a value that a later one replaces', concat(field(1, field(1, utf8('a'))), structOf(TRUE))],
  ])('with %s', (_, bytes) => {
    expect(isSoundStruct(bytes)).toBe(false);
  });
});

describe('messages inside each other', () => {
  // The innermost Value of a Struct in a Struct ... is inside of three more messages each time: Struct, entry, Value.
  // With 33 it would be the 101st. protobufjs does not count entries, and takes 49: see test/envoy/nesting.test.ts.
  test('may be a hundred inside the outermost and no more: 32 Structs in a Struct', () => {
    expect(isSoundStruct(nestedStructs(32))).toBe(true);
    expect(isSoundStruct(nestedStructs(33))).toBe(false);
    expect(() => Struct.decode(nestedStructs(33))).not.toThrow();
  });

  test('may be a hundred inside the outermost and no more: 49 lists in a list, as for protobufjs', () => {
    expect(isSoundStruct(nestedLists(49))).toBe(true);
    expect(() => Struct.decode(nestedLists(49))).not.toThrow();
    expect(isSoundStruct(nestedLists(50))).toBe(false);
    expect(() => Struct.decode(nestedLists(50))).toThrow('max depth');
  });

  test('may not be thousands: they are refused, and nothing traps', () => {
    expect(isSoundStruct(nestedLists(3000))).toBe(false);
    expect(isSoundStruct(nestedStructs(3000))).toBe(false);
  });

  test('are counted anew for each branch', () => {
    expect(isSoundStruct(concat(nestedStructs(32), nestedLists(49), nestedStructs(32)))).toBe(true);
  });

  test('leave the level above as it was: what follows a deep value is still read', () => {
    const inner = concat(structOf(field(5, structOf(field(5, structOf(TRUE))))), structOf(hex('1a01ff')));
    expect(isSoundStruct(structOf(field(5, inner)))).toBe(false);
  });

  test('may be a hundred groups and no more, and 100,000 do not trap', () => {
    const groups = (count: number) => concat(new Uint8Array(count).fill(0x3b), new Uint8Array(count).fill(0x3c));
    expect(isSoundStruct(groups(100))).toBe(true);
    expect(isSoundStruct(groups(101))).toBe(false);
    expect(isSoundStruct(nestedStructs(10, concat(TRUE, groups(68)))), 'inside of 32 messages').toBe(true);
    expect(isSoundStruct(nestedStructs(10, concat(TRUE, groups(69))))).toBe(false);
    expect(isSoundStruct(groups(50_000))).toBe(false);
    expect(isSoundStruct(new Uint8Array(100_000).fill(0x0b))).toBe(false);
  });
});

describe('protobufjs has the same opinion', () => {
  test('on random Structs cut off at every byte', () => {
    let accepted = 0;
    always(200, (random) => {
      const bytes = Struct.encode(random.struct()).finish();
      for (let size = 0; size < bytes.length; size++) {
        const cut = bytes.subarray(0, size);
        expect(isSoundStruct(cut), `${size} bytes`).toBe(protobufjsTakes(cut));
        if (isSoundStruct(cut)) accepted++;
      }
    });
    expect(accepted).toBeGreaterThan(100);
  });

  test('on random Values cut off at every byte', () => {
    let accepted = 0;
    always(500, (random) => {
      const bytes = Value.encode(random.value(2)).finish();
      for (let size = 0; size < bytes.length; size++) {
        const struct = structOf(bytes.subarray(0, size));
        expect(isSoundStruct(struct), `${size} bytes`).toBe(protobufjsTakes(struct));
        if (isSoundStruct(struct)) accepted++;
      }
    });
    expect(accepted).toBe(0);
  });

  test('on whatever we accept of random Structs with bytes changed', () => {
    let accepted = 0;
    always(10_000, (random) => {
      const bytes = random.mutated(Struct.encode(random.struct(2)).finish());
      if (!isSoundStruct(bytes)) return;
      accepted++;
      expect(protobufjsTakes(bytes), Buffer.from(bytes).toString('hex')).toBe(true);
    });
    expect(accepted).toBeGreaterThan(500);
  });
});

describe('the kind of a Value', () => {
  test('is the one that protobufjs wrote, with the bytes of a string, a Struct or a list', () => {
    always(1000, (random) => {
      const value = random.value(2);
      const names = ['none', 'nullValue', 'numberValue', 'stringValue', 'boolValue', 'structValue', 'listValue'];
      const { kind, content } = kindOf(Value.encode(value).finish());
      expect(Object.keys(value)).toEqual([names[kind]]);
      if ('stringValue' in value) expect(content).toEqual(utf8(value.stringValue));
      if ('structValue' in value) expect(decodeStruct(content)).toEqual(value.structValue);
    });
  });

  test('is the last one of several', () => {
    expect(kindOf(hex('2001 1a0161 2a00 1a0162'))).toEqual({ kind: 3, content: utf8('b') });
  });

  test('is none if there is none, or if the bytes are malformed', () => {
    expect(kindOf(hex('')).kind).toBe(0);
    expect(kindOf(hex('3801 0a0100')).kind).toBe(0);
    expect(kindOf(hex('1a0161 1a0261')).kind).toBe(0);
  });
});
