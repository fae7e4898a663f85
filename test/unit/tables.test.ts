// SPDX-License-Identifier: Apache-2.0
import { styleText } from 'node:util';
import { expect, test } from 'vitest';
import { columns, markdown } from '../../testkit/tables.ts';

const ROWS = [
  ['', 'added'],
  ['this filter', '8'],
  ['Go', '17.0'],
];

test('columns are as wide as their widest cell, and numbers stand at the right', () => {
  expect(columns(ROWS, 'lr')).toBe('              added\nthis filter       8\nGo             17.0');
});

test('a line does not end in spaces', () => {
  expect(columns(ROWS)).toBe('              added\nthis filter   8\nGo            17.0');
});

test('colours take no room', () => {
  const green = styleText('green', 'yes', { validateStream: false });
  expect(green).not.toBe('yes');
  expect(
    columns([
      ['a', 'b'],
      [green, 'c'],
      ['long', 'd'],
    ]),
  ).toBe(`a      b\n${green}    c\nlong   d`);
});

test('Markdown has a rule that says how columns are aligned', () => {
  expect(markdown(ROWS, 'lr')).toBe('|  | added |\n|---|---:|\n| this filter | 8 |\n| Go | 17.0 |');
});

test('a bar in a cell of Markdown does not end the cell', () => {
  expect(markdown([['what'], ['`a|b`']])).toBe('| what |\n|---|\n| `a\\|b` |');
});
