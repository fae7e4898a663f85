// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { afterAll, expect, test } from 'vitest';
import { MODULE, ROOT } from '../../testkit/envoy/binary.ts';
import { readModule } from '../../testkit/wasm.ts';
import { inWords, STREAM_CREATION, violations, wrongs } from '../../tools/check-no-trap.ts';

const folder = mkdtempSync(join(tmpdir(), 'no-trap-'));
afterAll(() => rmSync(folder, { recursive: true }));

/** Builds AssemblyScript, with names; paths are seen from the project's root, as asc wants them. */
function build(entry: string, options: string[]): ReturnType<typeof readModule> {
  const outFile = relative(ROOT, join(folder, 'built.wasm'));
  execFileSync(join(ROOT, 'tools/asc'), [...entry.split(' '), '--debug', '--outFile', outFile, ...options], {
    cwd: ROOT,
  });
  return readModule(readFileSync(join(folder, 'built.wasm')));
}

test('nothing that serves a stream can trap or take memory in the built module', () => {
  expect(wrongs(readModule(readFileSync(MODULE))).map(inWords)).toEqual([]);
});

test('nothing that serves a stream calls what takes memory, seen by the names of a build that inlines nothing', () => {
  const module = build('--target debug', ['--noAssert', '--textFile', relative(ROOT, join(folder, 'built.wat'))]);
  expect(module.functions.some(({ name }) => name === 'assembly/memory/blocks/allocate')).toBe(true);
  const found = wrongs(module).filter(({ what }) => what.startsWith('takes memory'));
  expect(found.map(inWords)).toEqual([]);
  const creation = violations(module, STREAM_CREATION).filter(({ what }) => what.startsWith('takes memory'));
  expect(new Set(creation.map(({ path }) => path.find((name) => name.includes('/pool/'))))).toEqual(
    new Set(['assembly/memory/pool/Pool#add']),
  );
});

test('what takes memory is found from the callback that may: the check sees something', () => {
  const found = violations(readModule(readFileSync(MODULE)), ['proxy_on_configure']).map(({ what }) => what);
  expect(found).toContain('takes memory: memory.grow');
});

test('planted behind two calls, each is found, with the calls that lead there', () => {
  const planted: [statement: string, what?: string][] = [
    ['unreachable();', 'can trap: unreachable'],
    ['memory.grow(x);', 'takes memory: memory.grow'],
    ['x /= load<i32>(0);', 'can trap: a division by what may be 0'],
    ['x = x % -1;', 'can trap: a division by what may be 0'],
    ['x = <i32>(load<i64>(0) % load<i64>(8));', 'can trap: a division by what may be 0'],
    ['x = <i32>load<f64>(0);', 'can trap: a truncation of a float that does not saturate'],
    ['x = call_indirect<i32>(x, x);', 'can trap: a call through a table'],
    ['reserve();', 'takes memory that lives longer than the callback'],
    ['x = x / 10 + (x >>> 3);'],
  ];
  const functions = planted.map(
    ([statement], i) => `
      function inner${i}(x: i32): i32 { if (x == 5) { ${statement} } return x; }
      function outer${i}(x: i32): i32 { return x > 3 ? inner${i}(x) : 7 / 3; }
      export function callback${i}(x: i32): i32 { return outer${i}(x); }`,
  );
  writeFileSync(join(folder, 'planted.ts'), `function reserve(): void {}\n${functions.join('')}`);
  const options = ['--runtime', 'stub', '-O0', '--disable', 'nontrapping-f2i'];
  const module = build(relative(ROOT, join(folder, 'planted.ts')), options);
  for (const [i, [statement, what]] of planted.entries()) {
    const path = [`callback${i}`, `outer${i}`, `inner${i}`];
    if (statement.startsWith('reserve')) path.push('reserve');
    const found = violations(module, [path[0]]).map((each) => ({
      path: each.path.map((name) => name.split('/').at(-1)),
      what: each.what,
    }));
    expect(found, statement).toEqual(what ? [{ path, what }] : []);
  }
});
