// SPDX-License-Identifier: Apache-2.0
import { parseArgs } from 'node:util';
import { columns } from './tables.ts';

/** The flags of a script, and its `--help`. The Makefile hands its variables on as such flags. */

export type Flag =
  | { kind: 'number'; about: string; standard: number; least: number }
  | { kind: 'text'; about: string; choices?: string[] }
  | { kind: 'switch'; about: string };

/** `--name=n`: a whole number, and what it is where nobody says. */
export function number(standard: number, about: string, least = 1) {
  return { kind: 'number', about, standard, least } as const;
}

/** `--name=text`: any, or one of these. */
export function text(about: string, choices?: string[]) {
  return { kind: 'text', about, choices } as const;
}

/** `--name`: it is there or it is not. */
export function toggle(about: string) {
  return { kind: 'switch', about } as const;
}

export interface Command<Flags extends Record<string, Flag>> {
  /** How it is called: `tsx tools/soak.ts`. */
  call: string;
  /** What it does, in a sentence or two. */
  about: string;
  flags: Flags;
  /** What words beside the flags are, such as `[NAME...]`; there are none unless told. */
  words?: string;
}

type ValueOf<F extends Flag> = F['kind'] extends 'number'
  ? number
  : F['kind'] extends 'switch'
    ? boolean
    : string | undefined;

export interface Values<Flags extends Record<string, Flag>> {
  flags: { [Name in keyof Flags]: ValueOf<Flags[Name]> };
  words: string[];
}

/** A mistake of whoever called the script. */
export class UsageError extends Error {}

/** `--inputs` is the flag that a script calls `inputs`; `--no-coverage` is `noCoverage`. */
const dashed = (name: string) => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);

/** What `--help` says. */
export function help<Flags extends Record<string, Flag>>({ call, about, flags, words }: Command<Flags>): string {
  const rows = Object.entries<Flag>(flags).map(([name, flag]) => {
    const value = { number: '=n', text: '=...', switch: '' }[flag.kind];
    const standard = flag.kind === 'number' ? ` (${flag.standard.toLocaleString('en')})` : '';
    return [`  --${dashed(name)}${value}`, flag.about + standard];
  });
  rows.push(['  --help', 'this text']);
  return `${about}\n\nUsage: ${[call, '[FLAG...]', words].filter(Boolean).join(' ')}\n\n${columns(rows)}`;
}

/** The values of a script's flags; throws a UsageError. */
export function parse<const Flags extends Record<string, Flag>>(
  { flags, words }: Command<Flags>,
  args: string[],
): Values<Flags> {
  const options = Object.entries<Flag>(flags).map(([name, { kind }]) => {
    return [dashed(name), { type: kind === 'switch' ? 'boolean' : 'string' }] as const;
  });
  let parsed: ReturnType<typeof parseArgs>;
  try {
    parsed = parseArgs({ args, options: Object.fromEntries(options), allowPositionals: words !== undefined });
  } catch (error) {
    throw new UsageError((error as Error).message);
  }
  const values = Object.entries<Flag>(flags).map(([name, flag]) => {
    return [name, readValue(dashed(name), flag, parsed.values[dashed(name)] as string | boolean | undefined)];
  });
  return { flags: Object.fromEntries(values), words: parsed.positionals };
}

function readValue(
  name: string,
  flag: Flag,
  given: string | boolean | undefined,
): string | number | boolean | undefined {
  if (flag.kind === 'switch') return given === true;
  if (flag.kind === 'text') {
    const isKnown = given === undefined || !flag.choices || flag.choices.includes(given as string);
    if (!isKnown) throw new UsageError(`--${name} is ${given}: it must be one of ${flag.choices?.join(', ')}`);
    return given as string | undefined;
  }
  if (given === undefined) return flag.standard;
  const value = Number(given);
  if (given === '' || !Number.isSafeInteger(value) || value < flag.least) {
    throw new UsageError(`--${name} is ${given || 'empty'}: it must be a whole number, ${flag.least} or more`);
  }
  return value;
}

/** The flags that this process was started with. Ends it for `--help`, and where they are wrong. */
export function readFlags<const Flags extends Record<string, Flag>>(command: Command<Flags>): Values<Flags> {
  const args = process.argv.slice(2);
  if (args.includes('--help')) {
    console.log(help(command));
    process.exit(0);
  }
  try {
    return parse(command, args);
  } catch (error) {
    if (!(error instanceof UsageError)) throw error;
    console.error(`${error.message}\n\`${command.call} --help\` says what there is.`);
    process.exit(2);
  }
}
