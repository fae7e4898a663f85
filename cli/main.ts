// SPDX-License-Identifier: Apache-2.0

import { stripVTControlCharacters } from 'node:util';
import { type CommandDef, defineCommand, renderUsage, runCommand } from 'citty';
import { check } from './commands/check.ts';
import { MISUSED, print, UsageError, warn } from './commands/common.ts';
import { doctor } from './commands/doctor.ts';
import { decode, encode } from './commands/header.ts';
import { map } from './commands/map.ts';
import { node } from './commands/node.ts';
import { serve } from './commands/serve.ts';
import { visible } from './visible.ts';

/** `metadata-exchange`: the commands by their names, `--help`, and the exit code. docs/cli.md shows them. */

const NAME = 'metadata-exchange';

// biome-ignore lint/suspicious/noExplicitAny: each command has its own arguments
const COMMANDS: Record<string, CommandDef<any>> = { doctor, map, serve, decode, encode, check, node };

const EXAMPLES: Record<string, string[]> = {
  doctor: ['doctor 127.0.0.1:15000 127.0.0.1:15010', 'doctor envoy.yaml', 'doctor --json - <config_dump.json'],
  map: [
    'map 127.0.0.1:15000 127.0.0.1:15010',
    'map --prometheus http://127.0.0.1:9090 --seconds 300',
    'map --file envoys.txt --total --mermaid',
  ],
  serve: ['serve 127.0.0.1:15000 127.0.0.1:15010', 'serve --prometheus http://127.0.0.1:9090 --port 0'],
  decode: ['decode ChEKBE5BTUUSCRoHcmV2aWV3cw', 'decode - <header.txt'],
  encode: [`encode '{"NAME": "reviews"}'`, 'encode - <metadata.json'],
  check: ['check plugin.json', 'check envoy.yaml'],
  node: ['node --labels=app=reviews,version=v1', 'node --variables=cluster.env --json'],
};

const NOTES: Record<string, string> = {
  doctor: 'Exit code: 0 if nothing is wrong, notes aside; 1 if something is, or somebody did not answer.',
  map: [
    'A request failed if its code is 500 to 599, or 0: no answer; or by its gRPC status. Where both sides tell of',
    'the same requests the client’s numbers are shown. Exit code: 0; 1 if somebody did not answer.',
  ].join('\n'),
  serve: 'Needs the built module and page: make build page. Exit code: 0.',
  decode: 'Exit code: 0; 1 if the module would refuse the header.',
  encode: 'Needs the built module: make build. Exit code: 0.',
  check: 'Needs the built module: make build. Exit code: 0 if it is taken, 1 if it is refused.',
  node: 'Needs the built module: make build. Exit code: 0; 1 if peers would not be told all of it.',
};

const root = defineCommand({
  meta: { name: NAME, description: 'Tools for the exchange of peer metadata between Envoys' },
  subCommands: COMMANDS,
});

/** What `--help` says: of one command, or of all. */
async function help(name: string | undefined): Promise<string> {
  const command = name === undefined ? undefined : COMMANDS[name];
  const usage = command ? await renderUsage(command, root) : await renderUsage(root);
  const examples = (name === undefined ? Object.values(EXAMPLES).map(([first]) => first) : EXAMPLES[name]).map(
    (example) => `  ${NAME} ${example}`,
  );
  const note = name === undefined ? 'Exit code: 0; 1: the answer is no; 2: called in a wrong way.' : NOTES[name];
  const text = [usage.trimEnd(), '', 'EXAMPLES', '', ...examples, '', note].join('\n');
  return process.stdout.isTTY && !process.env.NO_COLOR ? text : stripVTControlCharacters(text);
}

/** citty lets pass what it does not know, and words too many: a typing error would go by unseen. */
function refuseUnknown(command: CommandDef, args: string[]): void {
  const known = Object.entries(command.args as Record<string, { type: string; required?: boolean }>);
  const flags = new Map(known.filter(([, { type }]) => type !== 'positional'));
  const end = args.indexOf('--');
  const words = end < 0 ? args : args.slice(0, end);
  for (const word of words.filter((each) => /^-./.test(each))) {
    const [, name, value] = /^--([^=]*)(=.*)?$/s.exec(word) ?? [];
    const type = name === undefined ? undefined : flags.get(name)?.type;
    if (type === undefined) throw new UsageError(`there is no ${visible(word)}`);
    if (type === 'boolean' && value !== undefined) throw new UsageError(`--${name} takes no value`);
    const follows = words[words.indexOf(word) + 1];
    if (type === 'string' && value === undefined && (follows === undefined || /^-./.test(follows))) {
      throw new UsageError(`--${name} needs a value`);
    }
  }
  // The one word that a command must have is also all that it takes.
  const must = known.find(([, { type, required }]) => type === 'positional' && required)?.[0];
  if (must !== undefined && words.length > 1) throw new UsageError(`one ${must.toUpperCase()}, not several`);
}

/** Who reads us may stop early, as `head` does: that is no fault. */
function endQuietly(): void {
  process.stdout.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit();
  });
}

/** Runs the command that the arguments name; the answer is the exit code. */
export async function main([name, ...args]: string[]): Promise<number> {
  endQuietly();
  const isHelp = (word: string | undefined) => word === '--help' || word === '-h' || word === 'help';
  if (isHelp(name) || (name !== undefined && Object.hasOwn(COMMANDS, name) && args.some((arg) => isHelp(arg)))) {
    print(await help(isHelp(name) ? undefined : name));
    return 0;
  }
  try {
    if (name === undefined) throw new UsageError('which command?');
    if (!Object.hasOwn(COMMANDS, name)) throw new UsageError(`there is no command ${visible(name)}`);
    const command = COMMANDS[name];
    refuseUnknown(command, args);
    const { result } = await runCommand(command, { rawArgs: args });
    return result as number;
  } catch (error) {
    const { name: kind, message } = error as Error;
    if (!(error instanceof UsageError) && kind !== 'CLIError') throw error;
    const about = name !== undefined && Object.hasOwn(COMMANDS, name) ? `${NAME} ${name}` : NAME;
    warn(`${about}: ${stripVTControlCharacters(message)}`, `\`${about} --help\` says how it is called.`);
    return MISUSED;
  }
}
