// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Istio's resources must stand alone: the plugin's configuration, and the Lua of the bridge, are in several of them. This
 * copies each from the one place where it is written to wherever a line says that `make format` made what is below it.
 * With `--check` it changes nothing and fails if a copy is another than the original.
 */

const ROOT = join(import.meta.dirname, '../..');
const FOLDER = join(ROOT, 'envoy/istio');
const MARK = /^( *)\S.*# made by `make format` from (\S+)$/;

/** The lines that belong to a line above: those with more indentation, and empty ones between them. */
function below(lines: string[], first: number, indent: number): string[] {
  let end = first;
  for (let i = first; i < lines.length && (lines[i] === '' || indentOf(lines[i]) > indent); i++) {
    if (lines[i] !== '') end = i + 1;
  }
  return lines.slice(first, end);
}

function indentOf(line: string): number {
  return line.search(/\S/);
}

/** What is copied from a file: the configuration in a WasmPlugin, or all of another file. */
function original(name: string): string[] {
  if (!name.endsWith('wasmplugin.yaml')) {
    return readFileSync(join(ROOT, 'envoy', name.replace('../', '')), 'utf8')
      .trimEnd()
      .split('\n');
  }
  const lines = readFileSync(join(FOLDER, 'wasmplugin.yaml'), 'utf8').split('\n');
  const at = lines.indexOf('  pluginConfig:');
  if (at < 0) throw new Error('wasmplugin.yaml has no pluginConfig');
  const block = below(lines, at + 1, 2).filter((line) => !line.trimStart().startsWith('#'));
  return block.map((line) => line.slice(4));
}

/** A file with its copies made again. */
function withCopies(text: string): string {
  const lines = text.split('\n');
  for (let i = 0; i < lines.length; i++) {
    const mark = MARK.exec(lines[i]);
    if (!mark) continue;
    const indent = ' '.repeat(mark[1].length + 2);
    const copy = original(mark[2]).map((line) => (line ? indent + line : ''));
    lines.splice(i + 1, below(lines, i + 1, mark[1].length).length, ...copy);
  }
  return lines.join('\n');
}

for (const file of readdirSync(FOLDER, { recursive: true, encoding: 'utf8' })) {
  if (!file.endsWith('.yaml')) continue;
  const before = readFileSync(join(FOLDER, file), 'utf8');
  const after = withCopies(before);
  if (after === before) continue;
  if (process.argv.includes('--check')) {
    console.error(`envoy/istio/${file}: a copy in it is not the original: run \`make format\``);
    process.exitCode = 1;
  } else {
    writeFileSync(join(FOLDER, file), after);
  }
}
