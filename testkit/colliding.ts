// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { cpSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ROOT } from './envoy/binary.ts';

/**
 * The module with a hash that is as costly as the real one and says the same of everything: the worst flood there is.
 */
export function colliding(): WebAssembly.Module {
  const folder = mkdtempSync(join(tmpdir(), 'colliding-'));
  try {
    cpSync(join(ROOT, 'assembly'), join(folder, 'assembly'), { recursive: true });
    cpSync(join(ROOT, 'asconfig.json'), join(folder, 'asconfig.json'));
    const hash = join(folder, 'assembly/memory/hash.ts');
    const source = readFileSync(hash, 'utf8');
    const broken = source.replace('return hash ^ (hash >> 32);', 'return (hash ^ (hash >> 32)) == 1 ? 1 : 42;');
    if (broken === source) throw new Error('assembly/memory/hash.ts does not end as it did');
    writeFileSync(hash, broken);
    cpSync(join(ROOT, 'tools'), join(folder, 'tools'), { recursive: true });
    symlinkSync(join(ROOT, 'node_modules'), join(folder, 'node_modules'));
    execFileSync(join(folder, 'tools/asc'), ['--target', 'release'], { cwd: folder });
    return new WebAssembly.Module(readFileSync(join(folder, 'build/metadata_exchange.wasm')));
  } finally {
    rmSync(folder, { recursive: true });
  }
}
