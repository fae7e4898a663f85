// SPDX-License-Identifier: Apache-2.0
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { struct } from '../../testkit/struct.ts';
import { metadataExchange } from '../support/cli.ts';

/** The bin as a user types it: what it prints, and how it ends. */

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'cli-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, text: string): string {
  writeFileSync(join(folder, name), text);
  return join(folder, name);
}

const HEADER = struct.header({ LABELS: { app: 'reviews' }, NAME: 'reviews-v1' });
const JSON_TEXT = `{
  "LABELS": {
    "app": "reviews"
  },
  "NAME": "reviews-v1"
}
`;

describe('help', () => {
  test.each([[['--help']], [['-h']], [['help']]])('%j lists the commands', async (args) => {
    const { code, stdout, stderr } = await metadataExchange(args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    for (const name of ['doctor', 'map', 'serve', 'decode', 'encode', 'check', 'node'])
      expect(stdout).toMatch(new RegExp(`^ +${name} +\\w`, 'm'));
  });

  test.each(['doctor', 'map', 'serve', 'decode', 'encode', 'check', 'node'])(
    'of %s has an example and the exit codes',
    async (name) => {
      const { code, stdout } = await metadataExchange([name, '--help'], '', { FORCE_COLOR: '1', CI: '', TEST: '' });
      expect(code).toBe(0);
      expect(stdout).toContain(`\nEXAMPLES\n\n  metadata-exchange ${name} `);
      expect(stdout).toContain('Exit code: 0');
      expect(stdout, 'no colours in a pipe').not.toContain('\u001b');
    },
  );

  test('npx finds the bin in a checkout', () => {
    const { status, stdout } = spawnSync('npx', ['metadata-exchange', 'decode', HEADER], {
      cwd: ROOT,
      encoding: 'utf8',
    });
    expect({ status, stdout }).toEqual({ status: 0, stdout: JSON_TEXT });
  });
});

describe('whoever calls it in a wrong way reads why, on standard error, with the exit code 2', () => {
  test.each([
    [[], 'which command?'],
    [['chekc'], 'there is no command chekc'],
    [['decode'], 'Missing required positional argument: VALUE'],
    [['decode', '--hex', 'YQ'], 'there is no --hex'],
    [['decode', 'YQ', 'YQ'], 'one VALUE, not several'],
    [['check', 'no-such-file.json'], 'no-such-file.json cannot be read'],
    [['encode', '{'], 'not JSON'],
    [['encode', '[]'], 'not a JSON object'],
    [['doctor'], 'name an Envoy by its admin address'],
    [['doctor', 'no-such-file.yaml'], 'no-such-file.yaml cannot be read'],
    [['doctor', '--jsn', 'localhost:1'], 'there is no --jsn'],
    [['doctor', 'http://['], 'http://[ is no address'],
    [['map'], 'name Envoys'],
    [['map', 'localhost:1', '--prometheus', 'localhost:2'], 'name Envoys'],
    [['map', 'localhost:1', '--json', '--mermaid'], 'not both'],
    [['map', 'localhost:1', '--total', '--seconds', '3'], 'not both'],
    [['map', 'localhost:1', '--seconds', '0'], '--seconds must be a whole number'],
    [['map', 'localhost:1', '--seconds'], '--seconds needs a value'],
    [['map', 'localhost:1', '--json=no'], '--json takes no value'],
    [['map', 'http://['], 'http://[ is no address'],
    [['serve'], 'name Envoys'],
    [['serve', 'localhost:1', '--port', 'x'], '--port must be a number'],
  ])('%j', async (args, why) => {
    const { code, stdout, stderr } = await metadataExchange(args);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(why);
    expect(stderr).toMatch(/^`metadata-exchange[ \w]* --help` says how it is called\.$/m);
  });
});

describe('decode', () => {
  test.each([
    ['padded', HEADER],
    ['not padded', HEADER.replaceAll('=', '')],
  ])('a header, %s', async (_, header) => {
    expect(await metadataExchange(['decode', header])).toEqual({ code: 0, stdout: JSON_TEXT, stderr: '' });
  });

  test('from the standard input', async () => {
    expect(await metadataExchange(['decode', '-'], `${HEADER}\n`)).toEqual({ code: 0, stdout: JSON_TEXT, stderr: '' });
  });

  test('says where a header is broken, and which counter it adds to', async () => {
    expect(await metadataExchange(['decode', 'ChEK!'])).toEqual({
      code: 1,
      stdout: '',
      stderr: 'refused_base64: at byte 4 of the header: "!" is no letter of base64\n',
    });
    const { code, stderr } = await metadataExchange(['decode', struct.header({ NAME: 'a\u001b[2J' })]);
    expect(code).toBe(1);
    expect(stderr).toBe('refused_control: at byte 13 of what the base64 says: NAME: a control character, 0x1b\n');
  });

  test('names that would change a terminal are JSON escapes', async () => {
    const { stdout } = await metadataExchange(['decode', struct.header({ NAME: '\u009b2J\u202e' })]);
    expect(stdout).toBe('{\n  "NAME": "\\u009b2J\\u202e"\n}\n');
  });

  test('a header that peers do not take for its size is read all the same', async () => {
    const { code, stdout, stderr } = await metadataExchange(['decode', '-'], struct.header({ NAME: 'x'.repeat(7000) }));
    expect(code).toBe(0);
    expect(JSON.parse(stdout).NAME).toHaveLength(7000);
    expect(stderr).toContain('It has 9356 bytes: more than max_header_size usually allows (8192)');
  });
});

describe('encode', () => {
  test('a header as a proxy sends it, which decode reads again', async () => {
    const metadata = '{"NAME": "reviews-v1", "LABELS": {"app": "reviews"}}';
    const encoded = await metadataExchange(['encode', metadata]);
    expect(encoded).toEqual({ code: 0, stdout: `${HEADER}\n`, stderr: '' });
    expect(await metadataExchange(['encode', '-'], JSON_TEXT)).toEqual(encoded);
    expect((await metadataExchange(['decode', '-'], encoded.stdout)).stdout).toBe(JSON_TEXT);
  });

  test('without the module it says how to build it', async () => {
    const { code, stderr } = await metadataExchange(['encode', '{}'], '', { MODULE: join(folder, 'none.wasm') });
    expect(code).toBe(2);
    expect(stderr).toContain('none.wasm: run `make build`');
  });
});

describe('check', () => {
  test('a good configuration', async () => {
    const path = file('good.json', '{"node_key": "cluster"}');
    expect(await metadataExchange(['check', path])).toEqual({
      code: 0,
      stdout: `${path}: the file, as JSON: taken\n`,
      stderr: '',
    });
  });

  test('a bad one: the module’s own words, and the place', async () => {
    const path = file('bad.json', '{\n  "headers": { "metadata": 5 }\n}\n');
    const { code, stdout } = await metadataExchange(['check', path]);
    expect(code).toBe(1);
    expect(stdout.split('\n')).toEqual([
      `${path}: the file, as JSON: refused`,
      '  metadata_exchange: configuration refused at byte 29: headers.metadata: expected a string, found a number',
      '    "headers": { "metadata": 5 }',
      '                             ^',
      '',
    ]);
  });

  test('one of several in a file of Envoy’s', async () => {
    const { code, stdout } = await metadataExchange(['check', join(ROOT, 'envoy/consumers/rbac/envoy.yaml')]);
    expect(code).toBe(0);
    expect(stdout.match(/^.*envoy\.yaml:\d+: Envoy's filter metadata_exchange, as StringValue: taken$/gm)).toHaveLength(
      3,
    );
  });

  test('what is neither JSON nor YAML', async () => {
    const { code, stderr } = await metadataExchange(['check', '-'], 'a: [1\nb: 2\n');
    expect(code).toBe(1);
    expect(stderr).toMatch(/^-: Flow sequence/);
  });
});
