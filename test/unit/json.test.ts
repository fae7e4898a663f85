// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { always, type Random } from '../../testkit/random.ts';
import { codecs, concat, hex, type Json, put, readJson, utf8 } from './support.ts';

/** A document of what the reader reads: objects, arrays, strings and null. */
function anyDocument(random: Random, depth = 4): Json {
  const kind = random.below(depth > 0 ? 5 : 2);
  if (kind === 0) return null;
  if (kind === 1) return random.text();
  if (kind === 2) return Array.from({ length: random.below(4) }, () => anyDocument(random, depth - 1));
  return Object.fromEntries(
    Array.from({ length: random.below(4) }, () => [random.text(6), anyDocument(random, depth - 1)]),
  );
}

/** One of the many ways to write a document. */
function anySpelling(value: Json, random: Random): string {
  const space = () => (random.oneIn(3) ? random.pick([' ', '\n', '\t', '\r', '\r\n  ']) : '');
  const spaced = (text: string) => space() + text + space();
  if (value === null) return spaced('null');
  if (typeof value === 'string') return spaced(anyString(value, random));
  if (Array.isArray(value)) return spaced(`[${value.map((each) => anySpelling(each, random)).join(',') || space()}]`);
  const members = Object.entries(value).map(
    ([key, each]) => `${spaced(anyString(key, random))}:${anySpelling(each, random)}`,
  );
  return spaced(`{${members.join(',') || space()}}`);
}

/** A string, with each character as it is or as one of its escapes. */
function anyString(text: string, random: Random): string {
  const short: Record<string, string> = { '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '/': '\\/' };
  const written = Array.from(text, (character) => {
    if (random.oneIn(4)) {
      const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i).toString(16));
      return units
        .map((digits) => `\\u${random.oneIn(2) ? digits.padStart(4, '0') : digits.toUpperCase().padStart(4, '0')}`)
        .join('');
    }
    if (random.oneIn(2) && short[character]) return short[character];
    return JSON.stringify(character).slice(1, -1);
  });
  return `"${written.join('')}"`;
}

describe('JSON that is well-formed', () => {
  test.each<[string, Json]>([
    ['null', null],
    [' \t\r\n null \t\r\n ', null],
    ['""', ''],
    ['{}', {}],
    ['[]', []],
    ['{ }', {}],
    ['[ ]', []],
    ['[[],{},"",null]', [[], {}, '', null]],
    ['{"a":{"b":{"c":["d"]}},"e":[]}', { a: { b: { c: ['d'] } }, e: [] }],
    ['{"a":"1","a":"2"}', { a: '2' }],
    ['{"":"empty key"}', { '': 'empty key' }],
    ['{"a\\u0062":"escaped key"}', { ab: 'escaped key' }],
    ['"\\"\\\\\\/\\b\\f\\n\\r\\t"', '"\\/\b\f\n\r\t'],
    ['"\\u0000\\u007f\\u0080\\u07ff\\u0800\\uffff"', '\0\x7f\x80\u07ff\u0800\uffff'],
    ['"\\uabcd\\uABCD\\uAbCd"', '\uabcd\uabcd\uabcd'],
    ['"\\ud83d\\ude00"', '😀'],
    ['"\\ud800\\udc00\\udbff\\udfff"', '\u{10000}\u{10ffff}'],
    ['"\\\\u0061"', '\\u0061'],
    ['"é😀\x7f\u2028"', 'é😀\x7f\u2028'],
  ])('is read as JSON.parse reads it: %s', (text, value) => {
    expect(readJson(text)).toEqual({ value });
    expect(JSON.parse(text)).toEqual(value);
  });

  test('is read as JSON.parse reads it: random documents, spaced and escaped at random', () => {
    always(3000, (random) => {
      const document = anyDocument(random);
      const text = anySpelling(document, random);
      expect(JSON.parse(text)).toEqual(document);
      expect(readJson(text), text).toEqual({ value: document });
    });
  });

  test('says where each key and each value begins, in bytes', () => {
    const found: [string, number][] = [];
    readJson(' {"é" : "x\\n", "b":\n[null , true]}', (what, offset) => found.push([what, offset]));
    expect(found).toEqual([
      ['object', 1],
      ['key é', 2],
      ['string', 9],
      ['key b', 16],
      ['array', 21],
      ['null', 22],
      ['bool', 29],
    ]);
  });

  test.each([
    ['0', 'number'],
    ['-1', 'number'],
    ['9e9', 'number'],
    ['true', 'bool'],
    ['false', 'bool'],
  ])('may have values that we only recognise: %s is a %s', (text, unread) => {
    expect(readJson(text)).toEqual({ unread });
    expect(readJson(`{"a":[${text}]}`)).toEqual({ unread });
  });

  test('may be nested a hundred thousand times', () => {
    const { call } = codecs;
    const depth = 100_000;
    const at = put(utf8('['.repeat(depth) + ']'.repeat(depth)));
    new Uint32Array(codecs.memory.buffer, codecs.slices, 2).set([at, 2 * depth]);
    call.openJson(codecs.slices);
    let [arrays, inner, after] = [0, 0, 0];
    for (let i = 0; i < depth; i++) {
      if (call.peek() === 2) arrays++;
      call.enter();
      inner += call.nextElement();
    }
    for (let i = 1; i < depth; i++) after += call.nextElement();
    expect([arrays, inner, after, call.finish()]).toEqual([depth, depth - 1, 0, 1]);
  });

  test('may have a long string, and one with escapes as long as the arena', () => {
    expect(readJson(`"${'x'.repeat(200_000)}"`)).toEqual({ value: 'x'.repeat(200_000) });
    expect(readJson(`"${'\\n'.repeat(65536)}"`)).toEqual({ value: '\n'.repeat(65536) });
    expect(readJson(`["${'\\n'.repeat(65537)}"]`)).toEqual({ problem: 'a string is too long', offset: 2 });
  });
});

describe('JSON that is wrong is refused, with the offset of the fault', () => {
  test.each([
    ['', 0, 'the text ends too soon'],
    ['  ', 2, 'the text ends too soon'],
    ['{', 1, 'the text ends too soon'],
    ['{"a"', 4, 'the text ends too soon'],
    ['{"a" ', 5, 'the text ends too soon'],
    ['{"a":', 5, 'the text ends too soon'],
    ['{"a":null', 9, 'the text ends too soon'],
    ['{"a":null,', 10, 'the text ends too soon'],
    ['[', 1, 'the text ends too soon'],
    ['[null', 5, 'the text ends too soon'],
    ['[null, ', 7, 'the text ends too soon'],
    ['[[]', 3, 'the text ends too soon'],
    ['{"a" null}', 5, 'a colon was expected'],
    ['{"a",null}', 4, 'a colon was expected'],
    ['{"a"::null}', 5, 'a value was expected'],
    ['{"a":}', 5, 'a value was expected'],
    ['[,null]', 1, 'a value was expected'],
    ['[null,,null]', 6, 'a value was expected'],
    [']', 0, 'a value was expected'],
    ['nul', 0, 'a value was expected'],
    ['nulls', 0, 'a value was expected'],
    ['null_', 0, 'a value was expected'],
    ['null0', 0, 'a value was expected'],
    ['NULL', 0, 'a value was expected'],
    ['truE', 0, 'a value was expected'],
    ["'a'", 0, 'a value was expected'],
    ['+1', 0, 'a value was expected'],
    ['.5', 0, 'a value was expected'],
    ['/**/null', 0, 'a value was expected'],
    ['\ufeffnull', 0, 'a value was expected'],
    ['\fnull', 0, 'a value was expected'],
    ['\xa0null', 0, 'a value was expected'],
    ['\0', 0, 'a value was expected'],
    ['{null:null}', 1, 'a key was expected'],
    ['{a:null}', 1, 'a key was expected'],
    ['{,}', 1, 'a key was expected'],
    ['{"a":null,,}', 10, 'a key was expected'],
    ['{"a":null "b":null}', 10, 'a comma was expected'],
    ['{"a":null]', 9, 'a comma was expected'],
    ['[null null]', 6, 'a comma was expected'],
    ['[null}', 5, 'a comma was expected'],
    ['[null:null]', 5, 'a comma was expected'],
    ['[null, ]', 7, 'nothing follows a comma'],
    ['{"a":null,}', 10, 'nothing follows a comma'],
    ['null x', 5, 'something follows the end'],
    ['null,', 4, 'something follows the end'],
    ['{} {}', 3, 'something follows the end'],
    ['[]]', 2, 'something follows the end'],
    ['null\0', 4, 'something follows the end'],
    ['"é"é', 4, 'something follows the end'],
    ['"abc', 4, 'a string does not end'],
    ['"abc\\', 5, 'a string does not end'],
    ['"abc\\"', 6, 'a string does not end'],
    ['"', 1, 'a string does not end'],
    ['{"a', 3, 'a string does not end'],
    ['"ab\n"', 3, 'a control character stands in a string'],
    ['"\0"', 1, 'a control character stands in a string'],
    ['{"a":"é\x1f"}', 8, 'a control character stands in a string'],
    ['"ab\\x"', 3, 'an escape is not known'],
    ['"\\U0061"', 1, 'an escape is not known'],
    ['"\\\n"', 1, 'an escape is not known'],
    ['"\\é"', 1, 'an escape is not known'],
    ['"\\\'"', 1, 'an escape is not known'],
    ['"\\n\\u12"', 3, 'an escape is not known'],
    ['"\\u"', 1, 'an escape is not known'],
    ['"\\u00g0"', 1, 'an escape is not known'],
    ['"\\u+061"', 1, 'an escape is not known'],
    ['"\\u{61}"', 1, 'an escape is not known'],
    ['{"\\q":null}', 2, 'an escape is not known'],
  ])('%j at byte %i: %s', (text, offset, problem) => {
    expect(readJson(text)).toEqual({ problem, offset });
    expect(() => JSON.parse(text)).toThrow();
  });

  test.each([
    ['"\\ud800"', 1],
    ['"\\udfff"', 1],
    ['"ab\\ud83d"', 3],
    ['"\\ud83d\\ud83d\\ude00"', 1],
    ['"\\ude00\\ud83d"', 1],
    ['"\\ud83dx"', 1],
    ['"\\ud83d\\n"', 1],
    ['"\\ud83d\\u0061"', 1],
    ['"\\ud83d\\ue000"', 1],
    ['"\\ud83d\\u12"', 1],
    ['"\\ud83dxxde00"', 1],
    ['{"\\ud83d":null}', 2],
  ])('%j at byte %i: half a surrogate pair, for which UTF-8 has no form', (text, offset) => {
    expect(readJson(text)).toEqual({ problem: 'half a surrogate pair', offset });
  });

  test.each([
    ['a lone continuation byte', '80'],
    ['an overlong slash', 'c0af'],
    ['a surrogate', 'eda080'],
    ['a lead byte that swallows the quote', 'c3'],
    ['Latin-1', 'e92e'],
  ])('a string that is not UTF-8: %s', (_, digits) => {
    const text = concat(utf8('{"a":"b'), hex(digits), utf8('"}'));
    expect(readJson(text)).toEqual({ problem: 'a string is not UTF-8', offset: 6 });
    expect(readJson(concat(utf8('{"'), hex(digits), utf8('":null}')))).toEqual({
      problem: 'a string is not UTF-8',
      offset: 2,
    });
  });

  test('if it is cut off anywhere', () => {
    always(100, (random) => {
      const text = utf8(JSON.stringify({ a: anyDocument(random) }));
      for (let size = 0; size < text.length; size++) {
        const result = readJson(text.subarray(0, size));
        if (!('problem' in result) || result.offset > size) throw new Error(`at ${size} bytes of ${text}`);
      }
    });
  });
});

test('JSON.parse has the same opinion on documents with bytes changed', () => {
  const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
  let accepted = 0;
  always(20_000, (random) => {
    const bytes = random.mutated(utf8(anySpelling(anyDocument(random, 2), random)));
    const ours = readJson(bytes);
    if ('unread' in ours || ('problem' in ours && ours.problem === 'half a surrogate pair')) return;
    let theirs: unknown;
    try {
      theirs = { value: JSON.parse(decoder.decode(bytes)) };
    } catch {
      theirs = undefined;
    }
    if ('value' in ours) accepted++;
    expect('value' in ours ? ours : undefined, Buffer.from(bytes).toString()).toEqual(theirs);
  });
  expect(accepted).toBeGreaterThan(1000);
});
