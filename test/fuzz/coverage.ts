// SPDX-License-Identifier: Apache-2.0
import {
  BR_IF,
  CODE,
  ELSE,
  END,
  EXPORT,
  GLOBAL,
  I32_CONST,
  IF,
  instructions,
  type Module,
  readModule,
} from '../../testkit/wasm.ts';

/**
 * Which branches of a debug build were taken. Each way that an `if`, an `else` or a `br_if` can go gets a counter, a
 * global of its own that the module exports: globals come last, so that no index in the module changes. A debug build
 * inlines nothing and keeps each condition of the source as a branch.
 */

export interface Branch {
  /** The source file and the line, and which way: what stays the same from one build to the next. */
  place: string;
  /** The function that it is in. */
  function: string;
}

export interface Instrumented {
  bytes: Uint8Array;
  branches: Branch[];
}

/** What the global is called that is 1 when a branch was taken. */
export const counterName = (branch: number) => `branch ${branch}`;

/** A number as LEB128, unsigned. */
function leb(value: number): number[] {
  const bytes: number[] = [];
  do {
    bytes.push((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
    value >>>= 7;
  } while (value > 0);
  return bytes;
}

/** Adds counters to the functions whose names begin with `prefix`. */
export function instrument(bytes: Uint8Array, sourceMap: string, prefix: string): Instrumented {
  const module = readModule(bytes);
  const lineAt = readSourceMap(sourceMap);
  const branches: Branch[] = [];
  const parts: Uint8Array[] = [bytes.subarray(0, 8)];
  const code = instrumentCode(module, prefix, lineAt, branches);
  for (const { id, at, end } of module.sections) {
    let content = bytes.subarray(at, end);
    if (id === CODE) content = code;
    else if (id === GLOBAL) {
      // Each is a mutable i32 that begins as 0.
      content = withMore(content, branches.length, () => [0x7f, 1, I32_CONST, 0, END]);
    } else if (id === EXPORT) {
      content = withMore(content, branches.length, (i) => {
        const name = [...Buffer.from(counterName(i))];
        return [...leb(name.length), ...name, 3, ...leb(module.globals + i)];
      });
    }
    parts.push(Uint8Array.from([id, ...leb(content.length)]), content);
  }
  return { bytes: new Uint8Array(Buffer.concat(parts)), branches };
}

/** A section that begins with a count of entries, with more of them. */
function withMore(content: Uint8Array, more: number, entry: (i: number) => number[]): Uint8Array {
  let [count, size] = [0, 0];
  do count |= (content[size] & 0x7f) << (7 * size);
  while (content[size++] & 0x80);
  const entries = Array.from({ length: more }, (_, i) => entry(i)).flat();
  return Uint8Array.from([...leb(count + more), ...content.subarray(size), ...entries]);
}

function instrumentCode(
  module: Module,
  prefix: string,
  lineAt: (offset: number) => string,
  branches: Branch[],
): Uint8Array {
  const bodies: Uint8Array[] = [Uint8Array.from(leb(module.functions.length))];
  for (const { name, at, codeAt, end } of module.functions) {
    let body = module.bytes.subarray(at, end);
    if (name.startsWith(prefix)) {
      const counter = (offset: number, way: string) => {
        const place = way === ENTERED ? `${name} ${way}` : `${lineAt(offset)} ${way}`;
        const index = branches.push({ place, function: name }) - 1;
        return [I32_CONST, 1, 0x24, ...leb(module.globals + index)];
      };
      body = Uint8Array.from([...module.bytes.subarray(at, codeAt), ...instrumentBody(module, codeAt, end, counter)]);
    }
    bodies.push(Uint8Array.from(leb(body.length)), body);
  }
  return new Uint8Array(Buffer.concat(bodies));
}

const ENTERED = 'entered';

type Counter = (offset: number, way: string) => number[];

function instrumentBody({ bytes }: Module, codeAt: number, bodyEnd: number, counter: Counter): number[] {
  const VOID = -64;
  const out: number[] = counter(codeAt, ENTERED);
  /** For each block that is open: where the `if` is, whether it has a result, whether its `else` was seen. */
  const open: { at: number; isPlainIf: boolean }[] = [{ at: codeAt, isPlainIf: false }];
  for (const { at, end, opcode, immediate } of instructions(bytes, codeAt, bodyEnd)) {
    if (opcode === BR_IF) {
      // br_if to      if; count; br to + 1; end; count
      out.push(IF, 0x40, ...counter(at, 'taken'), 0x0c, ...leb(immediate + 1), END, ...counter(at, 'not taken'));
      continue;
    }
    if (opcode === END) {
      const block = open.pop();
      if (block?.isPlainIf) out.push(ELSE, ...counter(block.at, 'false'));
    }
    for (let i = at; i < end; i++) out.push(bytes[i]);
    if (opcode >= 0x02 && opcode <= IF) open.push({ at, isPlainIf: opcode === IF && immediate === VOID });
    if (opcode === IF) out.push(...counter(at, 'true'));
    if (opcode === ELSE) {
      const block = open[open.length - 1];
      block.isPlainIf = false;
      out.push(...counter(block.at, 'false'));
    }
  }
  return out;
}

const DIGITS = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/';

/** Reads a source map: from an offset in the module to `file:line:column`. */
function readSourceMap(text: string): (offset: number) => string {
  const { sources, mappings } = JSON.parse(text) as { sources: string[]; mappings: string };
  const points: { offset: number; place: string }[] = [];
  const sums = [0, 0, 0, 0];
  for (const segment of mappings.split(/[,;]/)) {
    let [value, shift, field] = [0, 0, 0];
    for (const letter of segment) {
      const digit = DIGITS.indexOf(letter);
      value |= (digit & 31) << shift;
      shift += 5;
      if (digit & 32) continue;
      sums[field++] += value & 1 ? -(value >> 1) : value >> 1;
      [value, shift] = [0, 0];
    }
    const source = sources[sums[1]].replace(/^.*assembly\//, 'assembly/');
    points.push({ offset: sums[0], place: `${source}:${sums[2] + 1}:${sums[3] + 1}` });
  }
  return (offset) => {
    let [low, high] = [0, points.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (points[middle].offset <= offset) low = middle + 1;
      else high = middle;
    }
    return points[low - 1]?.place ?? 'nowhere';
  };
}

/** What was reached of one or more modules that were instrumented: branches of the same place are the same. */
export class Coverage {
  private readonly reached = new Set<string>();
  private readonly known = new Map<string, string>();

  /** Takes note of the branches that there are in a folder. What of other folders was inlined there is not the folder's. */
  add({ branches }: Instrumented, folder: string): void {
    for (const branch of branches) {
      if (branch.place.startsWith(folder)) this.known.set(branch.place, branch.function);
    }
  }

  /** Takes note of what an instance reached; the answer is how many branches nobody reached before. */
  collect({ branches }: Instrumented, global: (name: string) => number): number {
    const before = this.reached.size;
    for (const [i, { place }] of branches.entries()) {
      if (!this.reached.has(place) && global(counterName(i)) !== 0) this.reached.add(place);
    }
    return this.reached.size - before;
  }

  get counts(): { reached: number; known: number } {
    const reached = [...this.known.keys()].filter((place) => this.reached.has(place));
    return { reached: reached.length, known: this.known.size };
  }

  /** Branches that were not reached, each with its function. */
  missed(): Branch[] {
    const missed = [...this.known].filter(([place]) => !this.reached.has(place));
    return missed.map(([place, name]) => ({ place, function: name }));
  }
}
