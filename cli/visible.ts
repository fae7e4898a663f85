// SPDX-License-Identifier: Apache-2.0

/**
 * Text of strangers, for a terminal: characters that move the cursor, change colours, turn the line around or cannot
 * be seen are written as their numbers. Nothing of Node: a browser runs it.
 */

const HIDDEN = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;

/** A text of one line: `\u{1b}` for an escape character. */
export function visible(text: string): string {
  return text.replaceAll(HIDDEN, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** JSON that stays the same JSON, with these characters escaped as JSON escapes them. */
export function visibleJson(value: unknown): string {
  return JSON.stringify(value, null, 2).replaceAll(HIDDEN, (character) => {
    // JSON.stringify has escaped those inside of strings already; its own line breaks are meant.
    if (character === '\n') return character;
    // Characters beyond U+FFFF are two units, and JSON has no other way to write them.
    const units = Array.from({ length: character.length }, (_, i) => character.charCodeAt(i));
    return units.map((unit) => `\\u${unit.toString(16).padStart(4, '0')}`).join('');
  });
}
