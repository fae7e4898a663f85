// SPDX-License-Identifier: Apache-2.0
import { paint } from '../../cli/commands/common.ts';

/** How the demo's views write: in colours on a terminal, and without them in a pipe. */

export { paint };

export const bold = (text: string) => paint('bold', text);
export const dim = (text: string) => paint('dim', text);

/** `yes`, or `NO`. */
export const verdict = (holds: boolean) => (holds ? paint('green', 'yes') : paint('red', 'NO'));

/** Lines. */
export const print = (...lines: string[]) => console.log(lines.join('\n'));

/** What is done next. */
export const step = (text: string) => print(`${paint('cyan', '==>')} ${text}`);

/** A block of text, moved to the right. */
export const indented = (text: string) => text.replaceAll(/^(?=.)/gm, '    ');
