// SPDX-License-Identifier: Apache-2.0
import { defineCommand } from 'citty';
import { type Verdict, verdictOn } from '../plugin/check.ts';
import { configurationsIn, type Found } from '../plugin/find.ts';
import { visible } from '../visible.ts';
import { DONE, needModule, paint, print, REFUSED, readInput, warn } from './common.ts';

/** `metadata-exchange check`: what the module says to a configuration. */
export const check = defineCommand({
  meta: { name: 'check', description: 'Whether the module takes a plugin configuration, in the module’s own words' },
  args: {
    file: {
      type: 'positional',
      required: true,
      description:
        'the configuration as JSON or YAML; or a file of Envoy’s, a WasmPlugin or an EnvoyFilter that has it',
    },
  },
  run({ args }) {
    needModule();
    const source = readInput(args.file);
    let found: Found[];
    try {
      found = configurationsIn(source);
    } catch (error) {
      warn(`${visible(args.file)}: ${visible((error as Error).message)}`);
      return REFUSED;
    }
    const verdicts = found.map((each) => {
      const verdict = verdictOn(each);
      print(...linesOf(args.file, each, verdict));
      return verdict;
    });
    return verdicts.every(({ isTaken }) => isTaken) ? DONE : REFUSED;
  },
});

function linesOf(file: string, { what, line }: Found, { isTaken, complaints, shown }: Verdict): string[] {
  const place = visible(line === undefined ? file : `${file}:${line}`);
  const verdict = isTaken ? paint('green', 'taken') : paint('red', 'refused');
  return [
    `${place}: ${visible(what)}: ${verdict}`,
    ...[...complaints.map(visible), ...shown].map((each) => `  ${each}`),
  ];
}
