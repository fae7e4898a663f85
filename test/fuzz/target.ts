// SPDX-License-Identifier: Apache-2.0
import { Random } from '../../testkit/random.ts';
import type { Instrumented } from './coverage.ts';

/** What is fuzzed: the built module and the codecs below it, as they are released or with counters. */
export interface Builds {
  module: WebAssembly.Module;
  codecs: WebAssembly.Module;
}

/** One of the things that hostile bytes go into. */
export interface Target {
  readonly name: string;
  /** Begins with new instances: what an input leaves behind ends here. */
  renew(): void;
  /** An input, made from a random source and now and then from inputs that were worth keeping. */
  generate(random: Random, corpus: Uint8Array[]): Uint8Array;
  /** Tries an input. Whether it was accepted; throws if anything is as it must not be. */
  check(input: Uint8Array): boolean;
  /** What is to be known when it is over, and may throw as `check` does. */
  summary?(): string;
  /** Reads the counters of the instances. */
  counters(): { of: keyof Builds; global: (name: string) => number }[];
}

export type InstrumentedBuilds = Record<keyof Builds, Instrumented>;

/** A random source for one input of one target: the same whatever came before. */
export function sourceOf(seed: number, target: string, index: number): Random {
  let state = Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b);
  for (const character of target) state = Math.imul(state ^ character.charCodeAt(0), 0x01000193);
  return new Random(state);
}

/** Fails if two things are not the same. */
export function same<T>(what: string, actual: T, expected: T): void {
  if (actual === expected) return;
  throw new Error(`${what}: the module says ${show(actual)}, right is ${show(expected)}`);
}

/** Fails if two byte strings are not the same; undefined is none. */
export function sameBytes(what: string, actual: Uint8Array | undefined, expected: Uint8Array | undefined): void {
  if (actual === expected) return;
  if (actual && expected && Buffer.compare(actual, expected) === 0) return;
  throw new Error(`${what}: the module says ${show(actual)}, right is ${show(expected)}`);
}

function show(value: unknown): string {
  if (value === undefined) return 'no';
  const text = value instanceof Uint8Array ? Buffer.from(value).toString('hex') : JSON.stringify(value);
  return text.length > 2000 ? `${text.slice(0, 2000)}...` : text;
}

/**
 * Memory that a module may have taken when everything has come and gone: blocks wait in lists for the next of their
 * size, and a cache of peers is one block. With more than the default of 500 peers, all that there is.
 */
export function mostMemory(peers: number): number {
  return (peers > 500 ? 32 : 6) * 1024 * 1024;
}

const TOKENS = [
  '',
  '=',
  ',]',
  ',}',
  '\\udc00',
  '\\ud83dx',
  '\\ud83d\\u0041',
  '==',
  '\\u',
  '\\ud800',
  'null',
  '{}',
  '[]',
  '"',
  ',',
  ':',
  'istio_headers',
  '\0',
].map((text) => Buffer.from(text, 'latin1'));
const NUMBERS = [
  '00',
  '7f',
  '80',
  'ff',
  '8000',
  'ffffffff0f',
  'ffffffffffffffffff01',
  '8080808010',
  '0a00',
  '1200',
].map((digits) => Buffer.from(digits, 'hex'));

/** Bytes with something done to them: bits, pieces moved, doubled or lost, pieces of another input. */
export function mutated(random: Random, bytes: Uint8Array, corpus: Uint8Array[]): Uint8Array {
  let result = Buffer.from(bytes);
  for (let changes = 1 + random.below(3); changes > 0; changes--) {
    const at = random.below(result.length + 1);
    const end = Math.min(result.length, at + 1 + random.below(random.oneIn(4) ? 40 : 4));
    const [before, piece, after] = [result.subarray(0, at), result.subarray(at, end), result.subarray(end)];
    const kind = random.below(10);
    if (kind < 3) {
      result = Buffer.from(random.mutated(result));
    } else if (kind === 3) {
      result = Buffer.concat([before, after]);
    } else if (kind === 4) {
      result = Buffer.concat([before, piece, piece, after]);
    } else if (kind === 5) {
      result = Buffer.concat([before, random.pick(TOKENS), piece, after]);
    } else if (kind === 6) {
      result = Buffer.concat([before, random.pick(NUMBERS), random.oneIn(2) ? piece : after, after]);
    } else if (kind === 7) {
      result = Buffer.from(result.subarray(0, at));
    } else {
      const other = corpus.length > 0 ? random.pick(corpus) : bytes;
      const from = random.below(other.length);
      const more = other.subarray(from, from + 1 + random.below(30));
      result = Buffer.concat([before, more, random.oneIn(2) ? after : Buffer.concat([piece, after])]);
    }
  }
  return new Uint8Array(result);
}
