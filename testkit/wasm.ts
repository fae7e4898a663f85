// SPDX-License-Identifier: Apache-2.0

/**
 * A small reader of WebAssembly modules: sections, function names, and every instruction with where it stands. Enough
 * for a walk of the call graph (tools/check-no-trap.ts) and for counters at each branch (test/fuzz/coverage.ts). It
 * knows what asc emits: the MVP, sign extension, saturating truncation, bulk memory. Anything else is an error, not a
 * guess.
 * https://webassembly.github.io/spec/core/binary
 */

export interface Section {
  id: number;
  /** Where the content begins and ends: behind the section's size. */
  at: number;
  end: number;
}

export interface Instruction {
  at: number;
  end: number;
  opcode: number;
  /** The number behind the prefix 0xFC. */
  sub: number;
  /** Its first immediate, where that is an index, a depth or a constant. */
  immediate: number;
}

export interface Func {
  /** Its index, imports counted. */
  index: number;
  name: string;
  /** Where its body begins (the locals) and ends, and where the first instruction is. */
  at: number;
  codeAt: number;
  end: number;
}

export interface Module {
  bytes: Uint8Array;
  sections: Section[];
  /** What each imported function is called. */
  imports: string[];
  functions: Func[];
  /** Exported functions: name and index. */
  exports: Map<string, number>;
  /** How many globals there are, imported ones counted. */
  globals: number;
}

export const TYPE = 1;
export const IMPORT = 2;
export const GLOBAL = 6;
export const EXPORT = 7;
export const CODE = 10;

export class Reader {
  constructor(
    private readonly bytes: Uint8Array,
    public at: number,
  ) {}

  byte(): number {
    return this.bytes[this.at++];
  }

  /** An unsigned LEB128 number. */
  unsigned(): number {
    let [result, factor, byte] = [0, 1, 0];
    do {
      byte = this.byte();
      result += (byte & 0x7f) * factor;
      factor *= 128;
    } while (byte & 0x80);
    return result;
  }

  /** A signed LEB128 number; of 64-bit ones no more than a double can hold is kept. */
  signed(): number {
    let [result, factor, byte] = [0, 1, 0];
    do {
      byte = this.byte();
      result += (byte & 0x7f) * factor;
      factor *= 128;
    } while (byte & 0x80);
    return byte & 0x40 ? result - factor : result;
  }

  text(): string {
    const size = this.unsigned();
    this.at += size;
    return Buffer.from(this.bytes.subarray(this.at - size, this.at)).toString();
  }
}

export const BLOCK = 0x02;
export const LOOP = 0x03;
export const IF = 0x04;
export const ELSE = 0x05;
export const END = 0x0b;
export const BR_IF = 0x0d;
export const CALL = 0x10;
export const I32_CONST = 0x41;
export const I64_CONST = 0x42;

/** Reads the instructions from `at` up to `end`. */
export function* instructions(bytes: Uint8Array, at: number, end: number): Generator<Instruction> {
  const reader = new Reader(bytes, at);
  while (reader.at < end) {
    const instruction: Instruction = { at: reader.at, end: 0, opcode: reader.byte(), sub: -1, immediate: 0 };
    readImmediates(reader, instruction);
    instruction.end = reader.at;
    yield instruction;
  }
}

function readImmediates(reader: Reader, instruction: Instruction): void {
  const { opcode } = instruction;
  if (opcode === BLOCK || opcode === LOOP || opcode === IF) instruction.immediate = reader.signed();
  else if (opcode === 0x0c || opcode === BR_IF || opcode === CALL) instruction.immediate = reader.unsigned();
  else if (opcode === 0x0e) {
    for (let count = reader.unsigned() + 1; count > 0; count--) reader.unsigned();
  } else if (opcode === 0x11) {
    reader.unsigned();
    reader.unsigned();
  } else if (opcode === 0x1c) {
    for (let count = reader.unsigned(); count > 0; count--) reader.byte();
  } else if (opcode >= 0x20 && opcode <= 0x26) instruction.immediate = reader.unsigned();
  else if (opcode >= 0x28 && opcode <= 0x3e) {
    reader.unsigned();
    reader.unsigned();
  } else if (opcode === 0x3f || opcode === 0x40) reader.byte();
  else if (opcode === I32_CONST || opcode === I64_CONST) instruction.immediate = reader.signed();
  else if (opcode === 0x43) reader.at += 4;
  else if (opcode === 0x44) reader.at += 8;
  else if (opcode === 0xfc) {
    instruction.sub = reader.unsigned();
    if (instruction.sub > 17) throw new Error(`instruction fc ${instruction.sub} is not known`);
    if (instruction.sub === 8 || instruction.sub === 10 || instruction.sub === 12 || instruction.sub === 14) {
      reader.unsigned();
      reader.unsigned();
    } else if (instruction.sub > 7) reader.unsigned();
  } else if (opcode > 0xc4 || (opcode > 0x11 && opcode < 0x1a) || (opcode > 0x05 && opcode < 0x0b)) {
    throw new Error(`instruction ${opcode.toString(16)} at ${instruction.at} is not known`);
  }
}

export function readModule(bytes: Uint8Array): Module {
  const sections: Section[] = [];
  for (const reader = new Reader(bytes, 8); reader.at < bytes.length; ) {
    const id = reader.byte();
    const size = reader.unsigned();
    sections.push({ id, at: reader.at, end: reader.at + size });
    reader.at += size;
  }
  const module: Module = { bytes, sections, imports: [], functions: [], exports: new Map(), globals: 0 };
  const each = (id: number, read: (reader: Reader) => void) => {
    const section = sections.find((section) => section.id === id);
    if (!section) return;
    const reader = new Reader(bytes, section.at);
    for (let count = reader.unsigned(); count > 0; count--) read(reader);
  };
  each(IMPORT, (reader) => readImport(reader, module));
  each(GLOBAL, (reader) => {
    reader.at += 2;
    for (const { opcode, end } of instructions(bytes, reader.at, bytes.length)) {
      reader.at = end;
      if (opcode === END) break;
    }
    module.globals++;
  });
  each(EXPORT, (reader) => {
    const name = reader.text();
    const isFunction = reader.byte() === 0;
    const index = reader.unsigned();
    if (isFunction) module.exports.set(name, index);
  });
  each(CODE, (reader) => {
    const end = reader.unsigned() + reader.at;
    const at = reader.at;
    for (let groups = reader.unsigned(); groups > 0; groups--) {
      reader.unsigned();
      reader.byte();
    }
    const index = module.imports.length + module.functions.length;
    module.functions.push({ index, name: `function ${index}`, at, codeAt: reader.at, end });
    reader.at = end;
  });
  for (const [name, index] of module.exports) functionAt(module, index).name = name;
  readNames(module);
  return module;
}

/** A function that is not imported. */
export function functionAt(module: Module, index: number): Func {
  return module.functions[index - module.imports.length];
}

function readImport(reader: Reader, module: Module): void {
  reader.text();
  const name = reader.text();
  const kind = reader.byte();
  if (kind === 0) {
    reader.unsigned();
    module.imports.push(name);
  } else if (kind === 3) {
    reader.at += 2;
    module.globals++;
  } else {
    throw new Error(`the import ${name} is neither a function nor a global`);
  }
}

/** Names of functions, where the module has them: a debug build. */
function readNames(module: Module): void {
  for (const { at, end } of module.sections.filter(({ id }) => id === 0)) {
    const reader = new Reader(module.bytes, at);
    if (reader.text() !== 'name') continue;
    while (reader.at < end) {
      const kind = reader.byte();
      const subsectionEnd = reader.unsigned() + reader.at;
      if (kind === 1) {
        for (let count = reader.unsigned(); count > 0; count--) {
          const index = reader.unsigned();
          const name = reader.text();
          if (index >= module.imports.length) functionAt(module, index).name = name;
        }
      }
      reader.at = subsectionEnd;
    }
  }
}
