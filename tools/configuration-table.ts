// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../testkit/envoy/binary.ts';
import { markdown, type Rows } from '../testkit/tables.ts';
import { generate } from './generated.ts';

/** Makes the table of fields in docs/configure.md from docs/configuration.schema.json, or checks it: see generated.ts. */

const SCHEMA = 'docs/configuration.schema.json';

// biome-ignore lint/suspicious/noExplicitAny: a JSON Schema
type Schema = any;

/** One row a field; fields of an object after it, under their full path. */
function rows(schema: Schema, prefix = ''): Rows {
  return Object.entries<Schema>(schema.properties).flatMap(([name, field]) => {
    const path = `\`${prefix}${name}\``;
    const standard = String(field.default ?? '');
    const cell = standard === '' || standard.includes(' ') ? standard : `\`${standard}\``;
    const row = [path, field.description, cell];
    return field.properties ? [row, ...rows(field, `${prefix}${name}.`)] : [row];
  });
}

const schema = JSON.parse(readFileSync(join(ROOT, SCHEMA), 'utf8'));
const table = markdown([['field', 'what it says', 'default'], ...rows(schema)]);
generate('docs/configure.md', 'configuration', SCHEMA, table);
