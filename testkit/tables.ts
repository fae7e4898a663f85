// SPDX-License-Identifier: Apache-2.0
import { stripVTControlCharacters } from 'node:util';

/** Tables for the terminal and for Markdown, from the same rows. */

/** Rows of cells, each as long as the first, which is the header. */
export type Rows = string[][];

/** How columns are aligned, one letter each: `lrr` is one to the left and two to the right. Left where letters end. */
export type Alignment = string;

const isRight = (align: Alignment, column: number) => align[column] === 'r';

/** How much room a text takes on a terminal: colours take none. */
const widthOf = (text: string) => stripVTControlCharacters(text).length;

/** A table for the terminal: columns with spaces between them. */
export function columns(rows: Rows, align: Alignment = ''): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => widthOf(row[column]))));
  const lines = rows.map((row) => {
    const cells = row.map((cell, column) => {
      const room = ' '.repeat(widths[column] - widthOf(cell));
      return isRight(align, column) ? room + cell : cell + room;
    });
    return cells.join('   ').trimEnd();
  });
  return lines.join('\n');
}

/** A table in Markdown. A cell may hold any Markdown of one line; a `|` in it is shown as such. */
export function markdown([head, ...rows]: Rows, align: Alignment = ''): string {
  const line = (cells: string[]) => `| ${cells.map((cell) => cell.replaceAll('|', '\\|')).join(' | ')} |`;
  const rule = `|${head.map((_, column) => (isRight(align, column) ? '---:|' : '---|')).join('')}`;
  return [line(head), rule, ...rows.map(line)].join('\n');
}
