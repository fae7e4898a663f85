// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { always } from '../../testkit/random.ts';
import { decodeBase64, decodeBase64InPlace, encodeBase64, load, utf8 } from './support.ts';

const LETTERS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** What both ways to decode say, which must be the same. */
function decode(text: string | Uint8Array): Uint8Array | undefined {
  const letters = typeof text === 'string' ? utf8(text) : text;
  const decoded = decodeBase64(letters);
  expect(decodeBase64InPlace(letters)).toEqual(decoded);
  return decoded;
}

describe('base64 that we write', () => {
  test('is what Node writes, for every size up to 100 bytes', () => {
    always(5, (random) => {
      for (let size = 0; size <= 100; size++) {
        const bytes = random.bytes(size);
        expect(encodeBase64(bytes)).toBe(Buffer.from(bytes).toString('base64'));
      }
    });
  });

  test('is what as-base64 writes', () => {
    const { call, memory } = load();
    const from = call.take(100);
    always(100, (random) => {
      const bytes = random.bytes(random.below(100));
      new Uint8Array(memory.buffer).set(bytes, from);
      const at = call.referenceBase64(from, bytes.length);
      const size = new Uint32Array(memory.buffer, at - 4, 1)[0];
      expect(encodeBase64(bytes)).toBe(Buffer.from(memory.buffer, at, size).toString('utf16le'));
    });
  });
});

describe('base64 that a peer sends', () => {
  test.each([
    ['', ''],
    ['Zg==', 'f'],
    ['Zm8=', 'fo'],
    ['Zm9v', 'foo'],
    ['Zm9vYg==', 'foob'],
    ['Zm9vYmE=', 'fooba'],
    ['Zm9vYmFy', 'foobar'],
  ])('%j is %j, with its padding and without (RFC 4648, section 10)', (letters, text) => {
    expect(decode(letters)).toEqual(utf8(text));
    expect(decode(letters.replaceAll('=', ''))).toEqual(utf8(text));
  });

  test('is decoded with padding and without, for every size up to 100 bytes', () => {
    always(5, (random) => {
      for (let size = 0; size <= 100; size++) {
        const bytes = random.bytes(size);
        const padded = Buffer.from(bytes).toString('base64');
        expect(decode(padded)).toEqual(bytes);
        expect(decode(padded.replaceAll('=', ''))).toEqual(bytes);
      }
    });
  });

  test.each([
    ['a single letter', 'Y'],
    ['a single letter after whole groups', 'Zm9vY'],
    ['a single letter, padded', 'Y==='],
    ['two letters with half their padding', 'YQ='],
    ['too much padding', 'YQ==='],
    ['padding after a whole group', 'Zm9v='],
    ['a group of padding alone', 'Zm9v===='],
    ['nothing but padding', '='],
    ['nothing but padding, twice', '=='],
    ['nothing but padding, four times', '===='],
    ['padding inside', 'YQ==Zm9v'],
    ['padding inside a group', 'Z=9v'],
    ['padding before the last letter', 'YQ=A'],
    ['bits left over behind one byte', 'YR=='],
    ['bits left over behind one byte, unpadded', 'YR'],
    ['bits left over behind two bytes', 'Zm9='],
    ['bits left over behind two bytes, unpadded', 'Zm9'],
    ['a space at the start', ' Zm9'],
    ['a line break at the end', 'Zm9v\n'],
    ['a line break between groups', 'Zm9v\r\nZm9v'],
    ['the minus of the URL alphabet', 'ab-d'],
    ['the underscore of the URL alphabet', 'ab_d'],
  ])('is refused: %s', (_, letters) => {
    expect(decode(letters)).toBeUndefined();
  });

  test('is refused if any of its bytes is not of the alphabet, wherever it stands', () => {
    for (let byte = 0; byte < 256; byte++) {
      if (LETTERS.includes(String.fromCharCode(byte))) continue;
      // 0 to 3: in a whole group. 4 to 6: in the letters left over, of which the last must leave no bits.
      for (let at = 0; at < 7; at++) {
        const letters = utf8('AAAAAAA');
        letters[at] = byte;
        expect(decode(letters), `byte ${byte} at ${at}`).toBeUndefined();
        if (at < 6) expect(decode(letters.subarray(0, 6)), `byte ${byte} at ${at} of 6`).toBeUndefined();
      }
    }
  });

  test('has one spelling with padding and one without: whatever is accepted is one of the two', () => {
    let accepted = 0;
    always(3000, (random) => {
      const letters = random.mutated(utf8(Buffer.from(random.bytes(random.below(9))).toString('base64')));
      const bytes = decode(letters);
      if (!bytes) return;
      accepted++;
      const padded = Buffer.from(bytes).toString('base64');
      expect([padded, padded.replaceAll('=', '')]).toContain(Buffer.from(letters).toString('latin1'));
    });
    expect(accepted).toBeGreaterThan(100);
  });
});
