// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../testkit/envoy/binary.ts';

/** Parts of the documentation that are made from data stand between two marks, and are made again by `make format`. */

/**
 * Puts text between the marks of this name in a file. With `--check` on the command line it changes nothing, and fails
 * if another text is there.
 */
export function generate(file: string, name: string, source: string, text: string): void {
  const begin = `<!-- ${name}: made by \`make format\` from ${source} -->`;
  const end = `<!-- /${name} -->`;
  const before = readFileSync(join(ROOT, file), 'utf8');
  const [head, rest] = before.split(begin);
  const tail = rest?.split(end)[1];
  if (tail === undefined) throw new Error(`${file} has nothing between ${begin} and ${end}`);
  write(file, before, `${head}${begin}\n\n${text}\n\n${end}${tail}`, `what stands under “${name}”`, source);
}

/** Makes a whole file, or checks it. */
export function generateFile(file: string, source: string, text: string): void {
  const path = join(ROOT, file);
  write(file, existsSync(path) ? readFileSync(path, 'utf8') : '', text, 'it', source);
}

function write(file: string, before: string, after: string, what: string, source: string): void {
  if (!process.argv.includes('--check')) {
    writeFileSync(join(ROOT, file), after);
  } else if (after !== before) {
    console.error(`${file}: ${what} is not what ${source} makes: run \`make format\``);
    process.exitCode = 1;
  }
}
