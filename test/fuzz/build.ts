// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { MODULE, ROOT } from '../../testkit/envoy/binary.ts';
import { instrument } from './coverage.ts';
import type { Builds, InstrumentedBuilds } from './target.ts';

/** What `make build` and `make build/codecs.wasm` made. */
export function releasedBuilds(): Builds {
  const codecs = readFileSync(join(ROOT, 'build/codecs.wasm'));
  return { module: new WebAssembly.Module(readFileSync(MODULE)), codecs: new WebAssembly.Module(codecs) };
}

/** Debug builds of the module and of the codecs, made now, with a counter at each branch. */
export function instrumentedBuilds(): InstrumentedBuilds {
  const folder = mkdtempSync(join(tmpdir(), 'fuzz-'));
  const build = (name: string, entry: string[], textFile: boolean) => {
    const outFile = relative(ROOT, join(folder, `${name}.wasm`));
    const text = textFile ? ['--textFile', relative(ROOT, join(folder, `${name}.wat`))] : [];
    const options = ['--outFile', outFile, ...text, '--debug', '--sourceMap'];
    execFileSync(join(ROOT, 'tools/asc'), [...entry, ...options], { cwd: ROOT });
    const map = readFileSync(join(folder, `${name}.wasm.map`), 'utf8');
    return instrument(readFileSync(join(folder, `${name}.wasm`)), map, 'assembly/');
  };
  const codecs = ['test/unit/codecs.ts', '--config', 'test/unit/asconfig.json', '--optimizeLevel', '0'];
  try {
    return { module: build('module', ['--target', 'debug'], true), codecs: build('codecs', codecs, false) };
  } finally {
    rmSync(folder, { recursive: true });
  }
}
