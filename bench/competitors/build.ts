// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { copyFileSync, existsSync, mkdirSync, readdirSync, renameSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { promisify } from 'node:util';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { readFlags } from '../../testkit/flags.ts';
import { findGo, findRust, isOldCargo, Missing, RUST_TARGET } from './toolchains.ts';

/**
 * The competitors: the same job as the project's filter, each in another way that Envoy offers. As a program it builds
 * them: `tsx bench/competitors/build.ts [NAME...]`.
 */

export interface Competitor {
  name: string;
  label: string;
  /** The built module, as an absolute path. */
  wasm?: string;
  /** The Lua source, as an absolute path: see `competitorFilter`. */
  lua?: string;
  /** Why it is absent, in one sentence. */
  missing?: string;
}

const SOURCES = import.meta.dirname;
const BUILT = join(ROOT, 'build/bench');

interface Recipe {
  name: string;
  label: string;
  /** Builds the module; a competitor without is Lua. */
  build?: (source: string, wasm: string) => Promise<void>;
}

const RECIPES: Recipe[] = [
  { name: 'rust', label: 'Rust SDK', build: buildRust },
  { name: 'go', label: 'Go SDK', build: buildGo },
  { name: 'proxy-runtime', label: 'AssemblyScript SDK (@solo-io/proxy-runtime)', build: buildProxyRuntime },
  { name: 'lua', label: 'Lua filter' },
];

/** Builds all competitors, or some, where they are not up to date. One that cannot be built says what is missing. */
export async function buildCompetitors(names = RECIPES.map(({ name }) => name)): Promise<Competitor[]> {
  mkdirSync(BUILT, { recursive: true });
  const competitors: Competitor[] = [];
  for (const { name, label, build } of RECIPES.filter((each) => names.includes(each.name))) {
    const source = join(SOURCES, name);
    const wasm = join(BUILT, `${name}.wasm`);
    if (!build) {
      competitors.push({ name, label, lua: join(source, 'metadata_exchange.lua') });
      continue;
    }
    try {
      if (!isUpToDate(wasm, source)) {
        // Under another name until it is whole: who interrupts leaves no half a module.
        const unfinished = join(BUILT, `${name}.unfinished.wasm`);
        await build(source, unfinished);
        renameSync(unfinished, wasm);
      }
      competitors.push({ name, label, wasm });
    } catch (error) {
      if (!(error instanceof Missing)) throw error;
      competitors.push({ name, label, missing: error.message });
    }
  }
  return competitors;
}

async function buildRust(source: string, wasm: string): Promise<void> {
  const { cargo, rustc } = findRust();
  const crates = join(BUILT, 'rust-crates');
  const target = join(BUILT, 'rust');
  say('rust', 'downloading the crates of Cargo.lock');
  // An old cargo takes its own flag for the index only when it is allowed to be unstable; the compiler never is: the
  // crates would notice, and be other ones than users have.
  const unstable = { RUSTC_BOOTSTRAP: '1', CARGO_UNSTABLE_SPARSE_REGISTRY: 'true' };
  await run(cargo, ['vendor', '--locked', '--quiet', crates], source, isOldCargo(cargo) ? unstable : {});
  say('rust', 'compiling, a minute the first time');
  const config = ['source.crates-io.replace-with="vendored"', `source.vendored.directory=${JSON.stringify(crates)}`];
  const args = ['build', '--release', '--locked', '--offline', '--target', RUST_TARGET, '--target-dir', target];
  await run(cargo, [...args, ...config.flatMap((each) => ['--config', each])], source, { RUSTC: rustc });
  copyFileSync(join(target, RUST_TARGET, 'release/metadata_exchange.wasm'), wasm);
}

async function buildGo(source: string, wasm: string): Promise<void> {
  const go = findGo(join(BUILT, 'go-toolchain'));
  say('go', 'downloading the modules of go.sum, and compiling, half a minute the first time');
  const args = ['build', '-mod=readonly', '-buildmode=c-shared', '-trimpath', '-ldflags=-s -w', '-o', wasm, '.'];
  await run(go, args, source, { GOOS: 'wasip1', GOARCH: 'wasm' });
}

async function buildProxyRuntime(source: string, wasm: string): Promise<void> {
  say('proxy-runtime', 'compiling');
  // From its own folder: the project's asconfig.json is for the project's module.
  await run(join(ROOT, 'node_modules/.bin/asc'), ['--outFile', relative(source, wasm)], source);
}

/** Whether a module is newer than all of its sources, and than how it is built. */
function isUpToDate(path: string, folder: string): boolean {
  if (!existsSync(path)) return false;
  const built = statSync(path).mtimeMs;
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file));
  return [import.meta.filename, ...files].every((file) => statSync(file).mtimeMs <= built);
}

async function run(command: string, args: string[], cwd: string, env: Record<string, string> = {}): Promise<void> {
  try {
    await promisify(execFile)(command, args, { cwd, env: { ...process.env, ...env }, maxBuffer: 64 << 20 });
  } catch (error) {
    const { stderr, stdout, message } = error as Error & { stderr?: string; stdout?: string };
    throw new Error(`${command} ${args[0]} failed in ${relative(ROOT, cwd)}:\n${stderr || stdout || message}`);
  }
}

function say(name: string, what: string): void {
  console.log(`==> competitor ${name}: ${what}`);
}

if (process.argv[1] === import.meta.filename) {
  const { words: names } = readFlags({
    call: 'tsx bench/competitors/build.ts',
    about: 'Builds the competitors, or some of them, into build/bench.',
    flags: {},
    words: '[NAME...]',
  });
  for (const { label, wasm, lua, missing } of await buildCompetitors(names.length > 0 ? names : undefined)) {
    const size = wasm ? `, ${Math.ceil(statSync(wasm).size / 1024)} KiB` : '';
    console.log(`${label}: ${missing ?? relative(ROOT, (wasm ?? lua) as string)}${size}`);
  }
}
