// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import golden from '../../testkit/golden/istio-wasm-plugin.json' with { type: 'json' };
import { always, anyForm, canonicalForm, type StructModel, type ValueModel } from '../../testkit/random.ts';
import { canonical, concat, decodeBase64, decodeStruct, field, hex, Struct, structOf, utf8 } from './support.ts';

const TRUE = hex('20 01');

/** The one form of bytes that have one without leaving anything out. */
function whole(bytes: Uint8Array): Uint8Array {
  const result = canonical(bytes);
  expect(result?.leftOut).toBe(0);
  return result!.bytes;
}

function labels(count: number): StructModel {
  const fields: Record<string, ValueModel> = {};
  for (let i = 0; i < count; i++) fields[`example.com/label-${i}`] = { stringValue: `value ${i}` };
  return { fields: { LABELS: { structValue: { fields } }, NAME: { stringValue: 'name' } } };
}

/** A Struct with lists in each other. With 49 of them the innermost Value is inside of a hundred messages. */
function nestedLists(times: number, value: Uint8Array): Uint8Array {
  let innermost = value;
  for (let i = 0; i < times; i++) innermost = field(6, field(1, innermost));
  return structOf(innermost);
}

describe('the one form of a Struct', () => {
  test('has keys in the order of their UTF-8 bytes, at every level, and both key and value in each entry', () => {
    always(2000, (random) => {
      const struct = random.struct();
      expect(whole(Struct.encode(struct).finish())).toEqual(canonicalForm(struct));
    });
  });

  test('says the same as the Struct did', () => {
    always(500, (random) => {
      const struct = random.struct();
      expect(decodeStruct(whole(Struct.encode(struct).finish()))).toStrictEqual(struct);
    });
  });

  test('is the same however the Struct was written', () => {
    always(2000, (random) => {
      const struct = random.struct();
      expect(whole(anyForm(struct, random))).toEqual(canonicalForm(struct));
    });
  });

  test('is its own', () => {
    always(500, (random) => {
      const once = whole(anyForm(random.struct(), random));
      expect(whole(once)).toEqual(once);
    });
  });

  test('of an empty Struct is empty', () => {
    expect(whole(new Uint8Array())).toEqual(new Uint8Array());
  });

  test('orders a key before the longer one that begins with it, and by bytes, not by UTF-16 units', () => {
    const keys = ['', 'A', 'AA', 'AB', 'B', 'a', 'a ', '~', 'é', '\uffee', '😀'];
    const written = whole(concat(...[...keys].reverse().map((key) => structOf(TRUE, key))));
    expect(Object.keys(decodeStruct(written).fields)).toEqual(keys);
    expect([...keys].sort()).not.toEqual(keys);
  });

  test.each([[100], [5000]])('of %i labels, in any order, is the same', (count) => {
    const struct = labels(count);
    always(3, (random) => {
      const { LABELS, NAME } = struct.fields as { LABELS: { structValue: StructModel }; NAME: ValueModel };
      const fields = Object.fromEntries(random.shuffled(Object.entries(LABELS.structValue.fields)));
      const shuffled = { fields: { NAME, LABELS: { structValue: { fields } } } };
      expect(Buffer.compare(whole(Struct.encode(shuffled).finish()), canonicalForm(struct))).toBe(0);
    });
  });

  test('is no longer than the room for it even where an entry spares its key at every level', () => {
    let innermost = field(3, utf8('x'.repeat(100)));
    for (let i = 0; i < 32; i++) innermost = field(5, field(1, field(2, innermost)));
    const written = whole(field(1, field(2, innermost)));
    expect(decodeStruct(written)).toEqual(decodeStruct(field(1, field(2, innermost))));
  });

  test('keeps the last of the entries with the same key', () => {
    const bytes = concat(
      structOf(hex('1a0131')),
      structOf(TRUE, 'b'),
      structOf(hex('1a0132')),
      structOf(hex('1a0133')),
    );
    expect(decodeStruct(whole(bytes))).toEqual({ fields: { a: { stringValue: '3' }, b: { boolValue: true } } });
  });

  test('keeps the last of the kinds of a Value', () => {
    expect(whole(structOf(hex('2001 1a0161 11000000000000f03f')))).toEqual(structOf(hex('11000000000000f03f')));
  });

  test('writes every true as 1 and every null as 0', () => {
    expect(whole(structOf(hex('20 ff01')))).toEqual(structOf(TRUE));
    expect(whole(structOf(hex('08 05')))).toEqual(structOf(hex('0800')));
  });
});

describe('what cannot be sent', () => {
  test.each([
    ['a Value without a kind', hex('')],
    ['a NaN', hex('11 000000000000f87f')],
    ['an infinity', hex('11 000000000000f0ff')],
    ['a string that is not UTF-8', hex('1a01ff')],
    ['a malformed Value', hex('1a0261')],
    ['a malformed Struct', hex('2a010a')],
    ['a malformed list', hex('32010a')],
  ])('is left out, counted, and costs nothing but itself: %s', (_, bad) => {
    const good = [structOf(TRUE, 'a'), structOf(hex('1a0178'), 'z')];
    const around = (value: Uint8Array) => canonical(concat(good[1], structOf(value, 'm'), good[0]));
    expect(around(bad)).toEqual({ bytes: concat(...good), leftOut: 1 });

    const list = (...values: Uint8Array[]) => field(6, concat(...values.map((value) => field(1, value))));
    const sentList = concat(good[0], structOf(list(TRUE, TRUE), 'm'), good[1]);
    expect(around(list(TRUE, bad, TRUE, bad))).toEqual({ bytes: sentList, leftOut: 2 });

    const sentStruct = concat(good[0], structOf(field(5, good[0]), 'm'), good[1]);
    expect(around(field(5, concat(structOf(bad), structOf(bad, 'b'), good[0])))).toEqual({
      bytes: sentStruct,
      leftOut: 1,
    });
  });

  test.each([
    ['an entry without a value', field(1, utf8('m'))],
    ['an entry with a key that is not UTF-8', concat(field(1, hex('ff')), field(2, TRUE))],
    ['a malformed entry', hex('0a026d')],
    ['an empty entry', hex('')],
  ])('is left out and counted: %s', (_, entry) => {
    const bytes = concat(structOf(TRUE, 'z'), field(1, entry), structOf(TRUE, 'a'));
    expect(canonical(bytes)).toEqual({ bytes: concat(structOf(TRUE, 'a'), structOf(TRUE, 'z')), leftOut: 1 });
  });

  test('is left out if it is nested too deep, and the hundredth message is not', () => {
    expect(canonical(nestedLists(49, TRUE))).toEqual({ bytes: nestedLists(49, TRUE), leftOut: 0 });
    const deeper = concat(nestedLists(50, TRUE), structOf(TRUE, 'b'));
    const sent = concat(nestedLists(48, field(6, new Uint8Array())), structOf(TRUE, 'b'));
    expect(canonical(deeper)).toEqual({ bytes: sent, leftOut: 1 });
    expect(canonical(nestedLists(3000, TRUE))?.leftOut).toBe(1);
  });

  test('is left out though an earlier entry with the same key could be sent: the last one counts', () => {
    const bytes = concat(structOf(TRUE), structOf(hex('11 000000000000f87f')));
    expect(canonical(bytes)).toEqual({ bytes: new Uint8Array(), leftOut: 1 });
  });

  test('is counted anew for each Struct', () => {
    expect(canonical(structOf(hex('')))?.leftOut).toBe(1);
    expect(canonical(structOf(TRUE))?.leftOut).toBe(0);
  });

  test('is everything of a Struct of empty entries, for which the room is just enough', () => {
    for (let count = 1; count < 20; count++) {
      const bytes = concat(...Array.from({ length: count }, () => hex('0a00')));
      expect(canonical(bytes), `${count} entries`).toEqual({ bytes: new Uint8Array(), leftOut: count });
    }
  });

  test('is the whole Struct if its own bytes are malformed', () => {
    expect(canonical(hex('0a'))).toBeUndefined();
    expect(canonical(concat(structOf(TRUE), hex('0a05')))).toBeUndefined();
    expect(canonical(concat(structOf(TRUE), hex('0001')))).toBeUndefined();
  });

  test('never keeps the rest from being a Struct, whatever bytes were changed', () => {
    let sent = 0;
    always(10_000, (random) => {
      const result = canonical(random.mutated(Struct.encode(random.struct(2)).finish()));
      if (!result) return;
      sent++;
      expect(() => decodeStruct(result.bytes)).not.toThrow();
      expect(canonical(result.bytes)).toEqual({ bytes: result.bytes, leftOut: 0 });
    });
    expect(sent).toBeGreaterThan(500);
  });
});

describe("what Istio's own plugin put on the wire", () => {
  const header = utf8(golden.headers['x-envoy-peer-metadata']);

  /** A Struct as the JSON that it stands for. */
  function toJson(value: ValueModel): unknown {
    if ('structValue' in value) {
      return Object.fromEntries(Object.entries(value.structValue.fields).map(([key, each]) => [key, toJson(each)]));
    }
    return Object.values(value)[0];
  }

  test('decodes to the metadata of its node', () => {
    const struct = decodeStruct(decodeBase64(header)!) as StructModel;
    expect(toJson({ structValue: struct })).toEqual(golden.decoded);
  });

  test('is byte for byte what we write', () => {
    const bytes = decodeBase64(header)!;
    expect(whole(bytes)).toEqual(bytes);
    always(20, (random) => expect(whole(anyForm(decodeStruct(bytes) as StructModel, random))).toEqual(bytes));
  });
});
