// SPDX-License-Identifier: Apache-2.0
import { existsSync, readFileSync } from 'node:fs';
import { styleText } from 'node:util';
import { MODULE } from '../../testkit/envoy/binary.ts';
import { visible } from '../visible.ts';

/** What the commands share: input, output, and how a command ends. */

/** It worked, and the answer is yes. */
export const DONE = 0;
/** It worked, and the answer is no: broken, refused, or not all were asked. */
export const REFUSED = 1;
/** It was called in a wrong way, or cannot run here. */
export const MISUSED = 2;

/** A mistake of the caller's: exit code 2, and one line. */
export class UsageError extends Error {}

/** The standard input, for `-`, or else a file. */
export function readInput(path: string): string {
  try {
    return readFileSync(path === '-' ? 0 : path, 'utf8');
  } catch (error) {
    throw new UsageError(`${visible(path)} cannot be read: ${(error as Error).message}`);
  }
}

/** A value as it was given, or the standard input for `-`, without white space around it. */
export function readValue(given: string): string {
  return (given === '-' ? readInput('-') : given).trim();
}

/** For commands that run the module. */
export function needModule(): void {
  if (!existsSync(MODULE)) throw new UsageError(`there is no module at ${MODULE}: run \`make build\``);
}

/** Lines to the standard output. */
export function print(...lines: string[]): void {
  process.stdout.write(`${lines.join('\n')}\n`);
}

/** Lines for the person at the terminal, which are not part of the answer. */
export function warn(...lines: string[]): void {
  if (lines.length > 0) process.stderr.write(`${lines.join('\n')}\n`);
}

/** Colours on a terminal; in pipes, and with NO_COLOR, text stays text. */
export function paint(style: Parameters<typeof styleText>[0], text: string): string {
  return process.stdout.isTTY && !process.env.NO_COLOR ? styleText(style, text) : text;
}
