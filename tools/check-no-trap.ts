// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { MODULE, ROOT } from '../testkit/envoy/binary.ts';
import { CALL, functionAt, I32_CONST, I64_CONST, instructions, type Module, readModule } from '../testkit/wasm.ts';

/**
 * Nothing that a stream brings may trap the VM or make it take memory: walks the built module's calls from the
 * callbacks of streams, and finds each instruction there that could. What cannot be excluded like this are loads and
 * stores outside of memory: the fuzzer (test/fuzz) looks for those.
 */

/**
 * What Envoy calls while it serves streams, and may do neither. `proxy_on_configure` is none of them: it may take memory.
 */
export const STREAM_CALLBACKS = [
  'malloc',
  'proxy_on_delete',
  'proxy_on_downstream_data',
  'proxy_on_log',
  'proxy_on_request_headers',
  'proxy_on_response_headers',
  'proxy_on_upstream_data',
];

/**
 * A stream begins with a record, for which a pool may take memory: in one place, and up to a bound. So these callbacks may
 * take memory where its calls go through that place, which shows by the names of a build that has them.
 */
export const STREAM_CREATION = ['proxy_on_context_create', 'proxy_on_new_connection'];
const POOL = /\/pool\/Pool#/;

/**
 * What comes beside streams: time that passes, and what a control plane says. These may take memory for what the proxy
 * knows of workloads, up to a bound, which shows by the names of functions in discovery/.
 */
export const UPKEEP_CALLBACKS = [
  'proxy_on_tick',
  'proxy_on_queue_ready',
  'proxy_on_grpc_receive',
  'proxy_on_grpc_close',
];
const DISCOVERY = /\/discovery\//;

/** All that is wrong with a module. */
export function wrongs(module: Module): Violation[] {
  return [
    ...violations(module, STREAM_CALLBACKS),
    ...withMemory(module, STREAM_CREATION, POOL),
    ...withMemory(module, UPKEEP_CALLBACKS, DISCOVERY),
  ];
}

/** The violations of callbacks that may take memory where their calls go through a function with such a name. */
function withMemory(module: Module, callbacks: string[], through: RegExp): Violation[] {
  return violations(module, callbacks).filter(
    ({ what, path }) =>
      !what.startsWith('takes memory') || (hasNames(module) && !path.some((name) => through.test(name))),
  );
}

function hasNames(module: Module): boolean {
  return module.functions.some(({ name }) => POOL.test(name));
}

/** Functions that take memory that lives longer than a callback: visible by name in a build that has names. */
const ALLOCATORS = /\/(allocate|allocateFor|reserve|heap\.alloc)$|(^|\/)__(new|alloc|realloc|renew)$/;

export interface Violation {
  /** The calls that lead there, the callback first. */
  path: string[];
  what: string;
}

/** All violations that the callbacks lead to, each with the shortest path of calls. */
export function violations(module: Module, callbacks: string[]): Violation[] {
  const found: Violation[] = [];
  const reached = new Set<number>();
  let paths = callbacks.map((name) => {
    const index = module.exports.get(name);
    if (index === undefined) throw new Error(`the module does not export ${name}`);
    return { index, path: [name] };
  });
  while (paths.length > 0) {
    const next: typeof paths = [];
    for (const { index, path } of paths) {
      if (reached.has(index) || index < module.imports.length) continue;
      reached.add(index);
      const { name, codeAt, end } = functionAt(module, index);
      if (ALLOCATORS.test(name)) found.push({ path, what: 'takes memory that lives longer than the callback' });
      let previous = { opcode: 0, immediate: 0 };
      for (const instruction of instructions(module.bytes, codeAt, end)) {
        const what = danger(instruction, previous);
        if (what) found.push({ path, what });
        if (instruction.opcode === CALL) {
          const callee = functionAt(module, instruction.immediate)?.name;
          next.push({ index: instruction.immediate, path: [...path, callee] });
        }
        previous = instruction;
      }
    }
    paths = next;
  }
  return found;
}

type Step = { opcode: number; immediate: number };

/** Why an instruction may trap or take memory. The divisor of a division is what the instruction before it leaves. */
function danger({ opcode }: Step, previous: Step): string | undefined {
  if (opcode === 0x00) return 'can trap: unreachable';
  if (opcode === 0x40) return 'takes memory: memory.grow';
  if (opcode === 0x11 || opcode === 0x13 || opcode === 0x14) return 'can trap: a call through a table';
  if (opcode >= 0xa8 && opcode <= 0xb1 && opcode !== 0xac && opcode !== 0xad) {
    return 'can trap: a truncation of a float that does not saturate';
  }
  const isDivision = (opcode >= 0x6d && opcode <= 0x70) || (opcode >= 0x7f && opcode <= 0x82);
  if (!isDivision) return undefined;
  const isConstant = previous.opcode === I32_CONST || previous.opcode === I64_CONST;
  const isSound = isConstant && previous.immediate !== 0 && previous.immediate !== -1;
  return isSound ? undefined : 'can trap: a division by what may be 0';
}

/** A violation in words. */
export function inWords({ path, what }: Violation): string {
  return `${path.map((name) => name.replace('assembly/', '')).join(' calls ')}, which ${what}`;
}

/**
 * Checks a module. What is found is found in the module as it is built; names for its functions come from a second
 * build with the same options and names.
 */
function main(path: string): void {
  const found = wrongs(readModule(readFileSync(path)));
  if (found.length === 0) return;
  const folder = mkdtempSync(join(tmpdir(), 'no-trap-'));
  try {
    const outFile = relative(ROOT, join(folder, 'named.wasm'));
    const options = ['--target', 'release', '--debug', '--outFile', outFile];
    execFileSync(join(ROOT, 'tools/asc'), options, { cwd: ROOT });
    const named = wrongs(readModule(readFileSync(join(folder, 'named.wasm'))));
    console.error('Serving a stream may neither trap nor take memory:');
    for (const violation of named.length > 0 ? named : found) console.error(`  ${inWords(violation)}`);
  } finally {
    rmSync(folder, { recursive: true });
  }
  process.exit(1);
}

if (process.argv[1] === import.meta.filename) main(process.argv[2] ?? MODULE);
