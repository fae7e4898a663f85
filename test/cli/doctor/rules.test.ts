// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Lexer, type Tokens } from 'marked';
import { describe, expect, test } from 'vitest';
import { RULES } from '../../../cli/doctor/rules.ts';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { CASES, examined, linesOf } from '../../support/doctor/examine.ts';

/** Each rule of the doctor's on a configuration that it is about, and on the same in order. */

const named = CASES.map((each, i) => [`${each.rule}, case ${i}`, each] as const);

describe.each(named)('%s', (_, { rule, severity, broken, healthy }) => {
  test('is found where it is broken', () => {
    const found = examined(broken);
    expect(
      found.map((each) => [each.rule, each.severity]),
      linesOf(found).join('\n'),
    ).toContainEqual([rule, severity]);
  });

  test('is not found in order, and nothing else is', () => {
    const found = examined(healthy);
    expect(linesOf(found, false)).toEqual([]);
    expect(found.map((each) => [each.rule, each.severity])).not.toContainEqual([rule, severity]);
  });
});

describe('every rule', () => {
  const tokens = new Lexer().lex(readFileSync(join(ROOT, 'docs/troubleshoot.md'), 'utf8'));
  const ids = RULES.map(({ id }) => id);

  test('has a case', () => {
    const tried = new Set(CASES.map(({ rule }) => rule));
    expect(ids.filter((id) => !tried.has(id))).toEqual([]);
  });

  test('has a paragraph in docs/troubleshoot.md, in the same order', () => {
    const headings = tokens.flatMap((token) => (token.type === 'heading' && token.depth === 3 ? [token.text] : []));
    expect(headings.filter((each) => /^[a-z-]+$/.test(each))).toEqual(ids);
    for (const [i, token] of tokens.entries()) {
      if (token.type !== 'heading' || !ids.includes(token.text)) continue;
      const next = tokens.slice(i + 1).find(({ type }) => type !== 'space') as Tokens.Paragraph;
      expect(next.type, token.text).toBe('paragraph');
    }
  });

  test('has a name of its own', () => {
    expect(new Set(ids).size).toBe(ids.length);
  });
});
