// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { pointedAt, verdictOn } from '../../cli/commands/check.ts';
import { configurationsIn } from '../../cli/plugin/find.ts';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { shippedFiles } from '../../testkit/envoy/shipped.ts';

/** Plugin configurations in the files that people have, and what the module says to each. */

/** What is found in a text, and what the module says: one line each. */
function check(source: string): string[] {
  return configurationsIn(source).map((found) => {
    const { isTaken, complaints } = verdictOn(found);
    const complaint = complaints.map((line) => line.replace('metadata_exchange: configuration refused at ', ': '));
    return `${found.line ?? '-'} ${found.what}: ${isTaken ? 'taken' : 'refused'}${complaint.join('')}`;
  });
}

const envoy = (...configurations: string[]) => `static_resources:
  listeners:
${configurations
  .map(
    (configuration) => `    - filter:
        "@type": type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm
        config:
          name: metadata_exchange
          configuration:
            "@type": type.googleapis.com/google.protobuf.${configuration}
`,
  )
  .join('')}`;

describe('a configuration', () => {
  test.each([
    ['{"node_key": "cluster"}', '- the file, as JSON: taken'],
    ['', '- the file, as JSON: taken'],
    ['{"headers": {},}', '- the file, as JSON: refused: byte 15: nothing follows a comma'],
    ['[]', '- the file, as JSON: refused: byte 0: expected an object, found a list'],
    ['max_header_size: 4096', '- the file, as YAML: taken'],
    [
      'max_header_size: many',
      '- the file, as YAML: refused: byte 19: max_header_size: expected a number, found a string',
    ],
  ])('by itself: %s', (source, expected) => {
    expect(check(source)).toEqual([expected]);
  });

  test.each([
    [
      `StringValue\n            value: '{"node_key": "cluster"}'`,
      "10 Envoy's filter metadata_exchange, as StringValue: taken",
    ],
    [
      `StringValue\n            value: '{"node_kee": "cluster"}'`,
      "10 Envoy's filter metadata_exchange, as StringValue: refused: byte 1: node_kee: is not a known field",
    ],
    [
      'Struct\n            value: { headers: { id: 3 } }',
      "10 Envoy's filter metadata_exchange, as Struct: refused: byte 17: headers.id: expected a string, found a number",
    ],
    [
      `BytesValue\n            value: ${Buffer.from('{"x": 1}').toString('base64')}`,
      "10 Envoy's filter metadata_exchange, as BytesValue: refused: byte 1: x: is not a known field",
    ],
  ])('in a file of Envoy’s: %s', (configuration, expected) => {
    // The line is that of what the configuration begins with: its type.
    expect(check(envoy(configuration)).map((line) => line.replace(/^\d+/, '10'))).toEqual([expected]);
  });

  test('in a file with several: each has its line', () => {
    const good = `StringValue\n            value: '{}'`;
    const lines = check(envoy(good, good)).map((line) => line.split(' ')[0]);
    expect(lines).toEqual(['8', '15']);
  });

  test('of a filter that is not ours is left alone, where ours is there too', () => {
    const other = envoy(`StringValue\n            value: '{"x": 1}'`).replace('name: metadata_exchange', 'name: other');
    const ours = envoy(`StringValue\n            value: '{}'`).split('\n').slice(2).join('\n');
    expect(check(other + ours)).toEqual(["15 Envoy's filter metadata_exchange, as StringValue: taken"]);
    expect(check(other)).toEqual([expect.stringContaining("Envoy's filter other, as StringValue: refused")]);
  });

  test('of a type that the module cannot read is refused with that type', () => {
    expect(() => check(envoy('Duration\n            value: 5s'))).toThrow('google.protobuf.Duration: it must be');
  });

  test('in a WasmPlugin, among other resources', () => {
    const plugin = 'kind: WasmPlugin\nmetadata: { name: exchange }\nspec:\n  pluginConfig:\n    dialect: klingon\n';
    expect(check(`kind: Service\n---\n${plugin}`)).toEqual([
      expect.stringMatching(/^7 WasmPlugin exchange: refused: byte 11: dialect: /),
    ]);
  });

  test('is warned about as its node would be', () => {
    const node = 'node: { id: a, metadata: { istio.io/metadata: { NAME: a, PASSWORD: b } } }\n';
    const [line] = check(node + envoy(`StringValue\n            value: '{}'`));
    expect(line).toContain('fields that look like configuration or secrets: PASSWORD');
  });
});

test('all files that we ship are found and taken', () => {
  const files = [...shippedFiles(), 'envoy/istio/wasmplugin.yaml', 'envoy/istio/upstream.yaml'];
  for (const file of files) {
    const source = readFileSync(join(ROOT, file), 'utf8');
    if (!/wasm\.v3\.Wasm|WasmPlugin/.test(source)) continue;
    for (const line of check(source)) expect(line, file).toMatch(/: taken/);
  }
});

test('YAML that nobody can read is not the module’s to judge', () => {
  expect(() => check('a: [1\nb: 2')).toThrow();
  expect(() => check('a: 1\n---\nb: 2')).toThrow('several YAML documents');
});

describe('the place is shown', () => {
  const long = `{"${'x'.repeat(200)}": 1}`;
  test.each([
    ['in a line', '{"a": 1}', 6, ['{"a": 1}', '      ^']],
    ['behind a letter of two bytes', '{\n  "é": x\n}', 10, ['  "é": x', '       ^']],
    ['at the end', '{"a"', 4, ['{"a"', '    ^']],
    ['before what cannot be seen', '{"\u001b": 1}', 2, ['{"\\u{1b}": 1}', '  ^']],
    ['in a long line', long, 205, [`…${'x'.repeat(57)}": 1}`, `${' '.repeat(61)}^`]],
  ])('%s', (_, text, byte, expected) => {
    expect(pointedAt(text, byte)).toEqual(expected);
  });
});
