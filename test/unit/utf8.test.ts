// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { always } from '../../testkit/random.ts';
import { concat, hex, isUtf8, utf8 } from './support.ts';

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** What the WHATWG's decoder says. */
function isUtf8ForNode(bytes: Uint8Array): boolean {
  try {
    decoder.decode(bytes);
    return true;
  } catch {
    return false;
  }
}

/** Code points where the number of bytes changes, and at the ends of what is not allowed. */
const BOUNDARIES = [0, 0x7f, 0x80, 0x7ff, 0x800, 0xfff, 0x1000, 0xd7ff, 0xe000, 0xfeff, 0xffff, 0x10000, 0x10ffff];

/** The text alone, and at every place around the eight bytes that are looked at at once. */
function* atEveryPlace(bytes: Uint8Array): Generator<Uint8Array> {
  for (let before = 0; before <= 9; before++) {
    for (const after of [0, 1, 7, 8]) yield concat(new Uint8Array(before).fill(0x61), bytes, utf8('z'.repeat(after)));
  }
}

describe('text is UTF-8', () => {
  test('if there is none of it', () => {
    expect(isUtf8(new Uint8Array())).toBe(true);
  });

  test('at the boundary code points, wherever they stand, and not if a byte of them is missing', () => {
    for (const point of BOUNDARIES) {
      const bytes = utf8(String.fromCodePoint(point));
      for (const text of atEveryPlace(bytes)) expect(isUtf8(text), `U+${point.toString(16)}`).toBe(true);
      for (let size = 1; size < bytes.length; size++) {
        for (const text of atEveryPlace(bytes.subarray(0, size))) {
          expect(isUtf8(text), `${size} bytes of U+${point.toString(16)}`).toBe(false);
        }
      }
    }
  });

  test('if it is random text of any size', () => {
    always(500, (random) => expect(isUtf8(utf8(random.text(40)))).toBe(true));
  });
});

describe('text is not UTF-8', () => {
  test.each([
    ['an overlong NUL', 'c080'],
    ['an overlong slash in two bytes', 'c0af'],
    ['an overlong slash in three bytes', 'e080af'],
    ['an overlong slash in four bytes', 'f08080af'],
    ['the largest overlong form of two bytes', 'c1bf'],
    ['the largest overlong form of three bytes', 'e09fbf'],
    ['the largest overlong form of four bytes', 'f08fbfbf'],
    ['the first surrogate', 'eda080'],
    ['the last surrogate', 'edbfbf'],
    ['a surrogate pair (CESU-8)', 'eda081edb080'],
    ['U+110000', 'f4908080'],
    ['a lead byte above every code point', 'f5808080'],
    ['five bytes', 'f888808080'],
    ['a byte FE', 'fe'],
    ['a byte FF', 'ff'],
    ['a continuation byte alone', '80'],
    ['a lead byte followed by ASCII', 'c241'],
    ['a third byte that is none', 'e28241'],
    ['a fourth byte that is none', 'f09f9841'],
    ['one continuation byte too many', 'c2a980'],
  ])('with %s, wherever it stands', (_, digits) => {
    for (const text of atEveryPlace(hex(digits))) expect(isUtf8(text)).toBe(false);
  });
});

describe('Node has the same opinion', () => {
  test('on every sequence of one and two bytes, alone and as the end of a longer one', () => {
    const wrong: string[] = [];
    const check = (bytes: Uint8Array) => {
      if (isUtf8(bytes) !== isUtf8ForNode(bytes)) wrong.push(Buffer.from(bytes).toString('hex'));
    };
    for (let first = 0; first < 256; first++) {
      check(Uint8Array.of(first));
      for (let second = 0; second < 256; second++) {
        check(Uint8Array.of(first, second));
        if (first >= 0xc0) check(Uint8Array.of(first, second, 0x80));
        if (first >= 0xc0) check(Uint8Array.of(first, second, 0xbf, 0x80));
      }
    }
    expect(wrong).toEqual([]);
  });

  test('on random bytes and on random text with bytes changed', () => {
    let accepted = 0;
    always(5000, (random) => {
      const bytes = random.oneIn(4) ? random.bytes(random.below(12)) : random.mutated(utf8(random.text(20)));
      expect(isUtf8(bytes), Buffer.from(bytes).toString('hex')).toBe(isUtf8ForNode(bytes));
      if (isUtf8(bytes)) accepted++;
    });
    expect(accepted).toBeGreaterThan(100);
    expect(accepted).toBeLessThan(4900);
  });
});
