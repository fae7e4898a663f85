// SPDX-License-Identifier: Apache-2.0
import { paint } from '../../cli/commands/common.ts';
import { columns } from '../../testkit/tables.ts';

/** How the demo's views write: in colours on a terminal, and without them in a pipe. */

/** One thing that must hold, and what is wrong if it does not. */
export interface Check {
  what: string;
  problems: string[];
}

export const bold = (text: string) => paint('bold', text);
export const dim = (text: string) => paint('dim', text);
export const good = (text: string) => paint('green', text);
export const bad = (text: string) => paint('red', text);

/** `yes`, or `NO`. */
export const verdict = (holds: boolean) => (holds ? good('yes') : bad('NO'));

/** Lines. */
export const print = (...lines: string[]) => console.log(lines.join('\n'));

/** What is done next. */
export const step = (text: string) => print(`${paint('cyan', '==>')} ${text}`);

/** Who reads us may stop early, as `head` does: that is no fault, and this is done then. */
export function endQuietly(end: () => void): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exitCode = 0;
    end();
  });
}

/** A block of text, moved to the right. */
export const indented = (text: string) => text.replaceAll(/^(?=.)/gm, '    ');

/** A value in one line of so many characters at the most. */
export function short(value: unknown, most = 56): string {
  const text = typeof value === 'string' ? value : JSON.stringify(value);
  return text.length > most ? `${text.slice(0, most - 1)}…` : text;
}

/** What was checked, each with its verdict. */
export function showChecks(checks: Check[]): void {
  print(indented(columns(checks.map(({ what, problems }) => [verdict(problems.length === 0), what]))), '');
}

/** If there are problems they are the last that is printed, and the demo fails. */
export function failed(headline: string, problems: string[]): boolean {
  if (problems.length === 0) return false;
  print(bad(headline), ...problems.map((problem) => `  - ${problem}`));
  process.exitCode = 1;
  return true;
}
