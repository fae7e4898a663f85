// SPDX-License-Identifier: Apache-2.0

/** Results of host calls. */
export const OK = 0;
export const NOT_FOUND = 1;
export const BAD_ARGUMENT = 2;
export const INVALID_MEMORY_ACCESS = 6;
export const EMPTY = 7;
export const CAS_MISMATCH = 8;
export const INTERNAL_FAILURE = 10;
export const UNIMPLEMENTED = 12;

/** The host's calls by their names: what a module imports. */
export type Calls = Record<string, (...args: number[]) => number>;

interface Exports {
  memory: WebAssembly.Memory;
  malloc(size: number): number;
}

/** A VM's memory, as a host reads and writes it. */
export class Memory {
  private last = Buffer.alloc(0);

  constructor(private readonly exports: Exports) {}

  /** How many bytes the module has. */
  get size(): number {
    return this.exports.memory.buffer.byteLength;
  }

  /** A copy of bytes that the module names. */
  bytes(at: number, size: number): Buffer {
    if (at + size > this.size) throw new Error('the module names bytes outside of its memory');
    return Buffer.from(this.view().subarray(at, at + size));
  }

  /** Bytes that the module names, as text. */
  text(at: number, size: number): string {
    return this.bytes(at, size).toString();
  }

  /** Answers with bytes, in memory that the module gives: none for no bytes. The result of the host call. */
  answer(bytes: Buffer, atTo: number, sizeTo: number): number {
    let at = 0;
    if (bytes.length > 0) {
      at = this.exports.malloc(bytes.length) >>> 0;
      if (at === 0) return INVALID_MEMORY_ACCESS;
      if (at + bytes.length > this.size) throw new Error('malloc names bytes outside of memory');
      bytes.copy(this.view(), at);
    }
    this.write32(at, atTo);
    this.write32(bytes.length, sizeTo);
    return OK;
  }

  /** Writes a number of 32 bits. */
  write32(value: number, to: number): void {
    this.view().writeUInt32LE(value, to);
  }

  /** Writes a number of 64 bits. */
  write64(value: bigint, to: number): void {
    this.view().writeBigUInt64LE(value, to);
  }

  /** All of it. A memory that grew has another buffer. */
  private view(): Buffer {
    const { buffer } = this.exports.memory;
    if (this.last.buffer !== buffer) this.last = Buffer.from(buffer);
    return this.last;
  }
}
