// SPDX-License-Identifier: Apache-2.0
import { execFile } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { describe, expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { help, number, parse, text, toggle } from '../../testkit/flags.ts';

const COMMAND = {
  call: 'tsx tools/soak.ts',
  about: 'Sends requests.',
  flags: {
    requests: number(1_000_000, 'how many requests'),
    seed: number(1, 'another mixture', 0),
    target: text('only one', ['base64', 'struct']),
    noCoverage: toggle('only the inputs'),
  },
};

describe('flags', () => {
  test('are what they are set to, and otherwise as usual', () => {
    expect(parse(COMMAND, []).flags).toEqual({ requests: 1_000_000, seed: 1, target: undefined, noCoverage: false });
    const args = ['--requests=5', '--seed=0', '--target', 'struct', '--no-coverage'];
    expect(parse(COMMAND, args).flags).toEqual({ requests: 5, seed: 0, target: 'struct', noCoverage: true });
  });

  test.each([
    ['--request=5', "Unknown option '--request'"],
    ['--requests=many', '--requests is many: it must be a whole number, 1 or more'],
    ['--requests=', '--requests is empty'],
    ['--requests=0', '1 or more'],
    ['--seed=-1', '0 or more'],
    ['--seed=1.5', 'a whole number'],
    ['--target=lua', '--target is lua: it must be one of base64, struct'],
    ['--no-coverage=1', "'--no-coverage' does not take an argument"],
    ['word', "Unexpected argument 'word'"],
  ])('are refused with a reason: %s', (arg, reason) => {
    expect(() => parse(COMMAND, [arg])).toThrow(reason);
  });

  test('stand beside words only where there may be some', () => {
    expect(parse({ ...COMMAND, words: '[NAME...]' }, ['rust', '--requests=5', 'go']).words).toEqual(['rust', 'go']);
  });

  test('are explained by --help', () => {
    expect(help({ ...COMMAND, words: '[NAME...]' })).toBe(
      [
        'Sends requests.',
        '',
        'Usage: tsx tools/soak.ts [FLAG...] [NAME...]',
        '',
        '  --requests=n    how many requests (1,000,000)',
        '  --seed=n        another mixture (1)',
        '  --target=...    only one',
        '  --no-coverage   only the inputs',
        '  --help          this text',
      ].join('\n'),
    );
  });
});

describe('the Makefile', () => {
  /** Each script that gets variables as flags, with their names: `$(call flag,requests,REQUESTS)`. */
  const makefile = readFileSync(join(ROOT, 'Makefile'), 'utf8').replaceAll('\\\n', '');
  const lines = Array.from(makefile.matchAll(/^\t.*\/tsx (\S+) (.*(?:flag|switch|text),.*)$/gm), ([, script, rest]) => {
    const flags = Array.from(rest.matchAll(/\$\(call (?:flag|switch|text),([\w-]+),(\w+)\)/g));
    return { script, flags: flags.map(([, flag]) => flag), variables: flags.map(([, , variable]) => variable) };
  });

  test('hands variables on to scripts', () => {
    expect(lines.map(({ script }) => script)).toContain('tools/soak.ts');
    expect(lines.length).toBeGreaterThan(6);
  });

  test.each(lines)('knows all flags of $script, and explains the variables', async ({ script, flags, variables }) => {
    const { stdout } = await promisify(execFile)(join(ROOT, 'node_modules/.bin/tsx'), [script, '--help'], {
      cwd: ROOT,
    });
    const known = Array.from(stdout.matchAll(/^ {2}--([\w-]+)/gm), ([, flag]) => flag);
    expect([...flags, 'help'].sort()).toEqual(known.sort());
    const explained = Array.from(makefile.matchAll(/^## {3}(\w+)=/gm), ([, variable]) => variable);
    for (const variable of variables) expect(explained).toContain(variable);
  });
});
