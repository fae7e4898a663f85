// SPDX-License-Identifier: Apache-2.0
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../testkit/envoy/binary.ts';

/** Compilers of the competitors: what is on the machine if it can do it, else what install-packages.sh brings. */

/** A compiler that is not to be had, in one sentence. */
export class Missing extends Error {}

export const RUST_TARGET = 'wasm32-unknown-unknown';

export interface Rust {
  cargo: string;
  rustc: string;
}

/** A Rust compiler that has a standard library for WebAssembly. */
export function findRust(): Rust {
  const places: Rust[] = [
    { cargo: 'cargo', rustc: 'rustc' },
    { cargo: '/usr/bin/cargo', rustc: '/usr/bin/rustc' },
  ];
  const found = () => places.find(({ cargo, rustc }) => hasLibrary(rustc) && output(cargo, '--version') !== undefined);
  const missing = `Rust with the target ${RUST_TARGET} is missing: install it, with \`rustup target add\` for instance`;
  if (!found()) install('rust');
  const rust = found();
  if (!rust) throw new Missing(missing);
  return rust;
}

function hasLibrary(rustc: string): boolean {
  const folder = output(rustc, '--print', 'target-libdir', '--target', RUST_TARGET);
  return (
    folder !== undefined && existsSync(folder) && readdirSync(folder).some((file) => /^libstd-.*\.rlib$/.test(file))
  );
}

/** Whether cargo reads the registry's sparse index only when told so: otherwise it clones the whole index with git. */
export function isOldCargo(cargo: string): boolean {
  return versionOf(output(cargo, '--version')) < 68;
}

/** The first Go with `-buildmode=c-shared` for WASI is 1.24. */
const GO_MINOR = 24;
/** What an older one is replaced by: Go's own releases are modules too, and the checksum database vouches for them. */
const GO_RELEASE = 'go1.24.9';

/** A Go compiler that is new enough. `cache` is a folder for one that is fetched because the machine's is too old. */
export function findGo(cache: string): string {
  const places = ['go', '/usr/bin/go'];
  const minor = (go: string) => versionOf(output(go, 'version'));
  const missing = `Go 1.${GO_MINOR} or later is missing: install it`;
  if (!places.some((go) => minor(go) >= 0)) install('go');
  const recent = places.find((go) => minor(go) >= GO_MINOR);
  if (recent) return recent;
  const old = places.find((go) => minor(go) >= 0);
  if (!old) throw new Missing(missing);
  return fetchGo(old, cache, missing);
}

function fetchGo(old: string, cache: string, missing: string): string {
  const release = `v0.0.1-${GO_RELEASE}.${process.platform}-${process.arch === 'x64' ? 'amd64' : process.arch}`;
  const folder = join(cache, `golang.org/toolchain@${release}`);
  const go = join(folder, 'bin/go');
  if (output(go, 'version')) return go;
  console.log(
    `==> ${GO_RELEASE}, because ${output(old, 'version')} is too old: downloading it as a Go module (80 MB, once)`,
  );
  const env = { ...process.env, GOMODCACHE: cache, GOFLAGS: '-modcacherw' };
  try {
    execFileSync(old, ['mod', 'download', `golang.org/toolchain@${release}`], { env, cwd: '/', stdio: 'inherit' });
  } catch {
    throw new Missing(missing);
  }
  // Files of modules are not executable.
  for (const programs of [join(folder, 'bin'), ...toolFolders(folder)]) {
    for (const program of readdirSync(programs)) chmodSync(join(programs, program), 0o755);
  }
  return go;
}

function toolFolders(folder: string): string[] {
  const tools = join(folder, 'pkg/tool');
  return readdirSync(tools).map((each) => join(tools, each));
}

/** The second number of the version that a compiler names; -1 if it named none. */
function versionOf(text: string | undefined): number {
  return Number(/\b(?:go)?1\.(\d+)/.exec(text ?? '')?.[1] ?? -1);
}

/** What a command says; undefined if it fails or is not there. */
function output(command: string, ...args: string[]): string | undefined {
  try {
    // Outside of the competitors' folders: a go.mod there must not make an old Go look for a new one.
    return execFileSync(command, args, { encoding: 'utf8', cwd: '/', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined;
  }
}

/** Installs a compiler if it may; whoever called looks whether it is there now. */
function install(what: 'rust' | 'go'): void {
  try {
    execFileSync(join(ROOT, 'tools/install-packages.sh'), [what], { stdio: ['ignore', 'inherit', 'ignore'] });
  } catch {
    // What is missing says the caller, in its own words.
  }
}
