// SPDX-License-Identifier: Apache-2.0

/** Why the module refuses a header: the counter `metadata_exchange_refused_…` that it adds to. */
export type Counter = 'base64' | 'protobuf' | 'utf8' | 'control' | 'no_json_form' | 'nesting';

/** A header that the module refuses: why, and where. */
export class Broken extends Error {
  constructor(
    readonly counter: Counter,
    /** A byte of the header's value; where base64 is not the problem, of what it says. */
    readonly at: number,
    reason: string,
  ) {
    super(reason);
  }
}

const ALPHABET = /[A-Za-z0-9+/]/;

/** The last letter of a text whose length is not a multiple of four has bits that say nothing: they must be 0. */
const LAST_OF_TWO = /[AQgw]/;
const LAST_OF_THREE = /[AEIMQUYcgkosw048]/;

/**
 * The bytes that base64 says, padded or not, as strictly as the module reads it (assembly/wire/base64.ts); throws where
 * it is broken. `from` is where the text begins in the header.
 */
export function fromBase64(text: string, from = 0): Buffer {
  const refuse = (at: number, reason: string) => new Broken('base64', from + at, reason);
  let size = text.length;
  if (size > 0 && size % 4 === 0 && text[size - 1] === '=') size -= text[size - 2] === '=' ? 2 : 1;
  for (let i = 0; i < size; i++) {
    if (ALPHABET.test(text[i])) continue;
    if (text[i] !== '=') throw refuse(i, `${JSON.stringify(text[i])} is no letter of base64`);
    throw refuse(i, 'padding that does not fill up the last four letters');
  }
  const last = size - 1;
  if (size % 4 === 1) throw refuse(last, 'a single letter is left over: the end is missing');
  const ending = size % 4 === 2 ? LAST_OF_TWO : LAST_OF_THREE;
  if (size % 4 > 1 && !ending.test(text[last])) throw refuse(last, 'the last letter has bits that no byte needs');
  return Buffer.from(text, 'base64');
}

/**
 * The bytes of a header's value. Several copies of a header may have been joined by commas: then it is the first that
 * is not empty.
 */
export function bytesOfHeader(value: string): Buffer {
  if (!value.includes(',')) return fromBase64(value);
  let from = 0;
  for (const member of value.split(',')) {
    const text = member.replaceAll(/^ +| +$/g, '');
    if (text !== '') return fromBase64(text, from + member.indexOf(text));
    from += member.length + 1;
  }
  return Buffer.alloc(0);
}
