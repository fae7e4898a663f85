// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Makes the README's table of configuration fields from docs/configuration.schema.json, between two marks. With
 * `--check` it changes nothing and fails if the table is not the one that the schema makes.
 */

const ROOT = join(import.meta.dirname, '..');
const README = join(ROOT, 'README.md');
const BEGIN = '<!-- configuration: made by `make format` from docs/configuration.schema.json -->';
const END = '<!-- /configuration -->';

// biome-ignore lint/suspicious/noExplicitAny: a JSON Schema
type Schema = any;

/** One row a field; fields of an object after it, under their full path. */
function rows(schema: Schema, prefix = ''): string[] {
  return Object.entries<Schema>(schema.properties).flatMap(([name, field]) => {
    const path = `\`${prefix}${name}\``;
    const standard = String(field.default ?? '');
    const cell = standard === '' || standard.includes(' ') ? standard : `\`${standard}\``;
    const row = `| ${path} | ${field.description.replaceAll('|', '\\|')} | ${cell} |`;
    return field.properties ? [row, ...rows(field, `${prefix}${name}.`)] : [row];
  });
}

const schema = JSON.parse(readFileSync(join(ROOT, 'docs/configuration.schema.json'), 'utf8'));
const table = ['| field | what it says | default |', '|---|---|---|', ...rows(schema)].join('\n');
const before = readFileSync(README, 'utf8');
const [head, rest] = before.split(BEGIN);
const tail = rest?.split(END)[1];
if (tail === undefined) throw new Error(`README.md has no table between ${BEGIN} and ${END}`);
const after = `${head}${BEGIN}\n\n${table}\n\n${END}${tail}`;

if (process.argv.includes('--check')) {
  if (after !== before) {
    console.error('README.md: the table of configuration fields is not the schema’s: run `make format`');
    process.exitCode = 1;
  }
} else {
  writeFileSync(README, after);
}
