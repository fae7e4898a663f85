// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { defineCommand } from 'citty';
import { failure, isAddress, isSocket } from '../ask.ts';
import { jsonOf, report } from '../doctor/report.ts';
import { examine } from '../doctor/rules.ts';
import { type Source, sourceAt, sourceIn } from '../doctor/source.ts';
import { isBuilt } from '../doctor/verdicts.ts';
import { visible, visibleJson } from '../visible.ts';
import { DONE, paint, print, REFUSED, readInput, UsageError, warn } from './common.ts';

/** `metadata-exchange doctor`: what is wrong with the exchange in an Envoy, and what to do. */
export const doctor = defineCommand({
  meta: { name: 'doctor', description: 'Why is the peer unknown? What is wrong with the exchange, and what to do' },
  args: {
    envoy: {
      type: 'positional',
      required: false,
      description:
        'Admin addresses of Envoys, HOST:PORT or a socket; or files: a bootstrap, a saved /config_dump; - reads one',
    },
    json: { type: 'boolean', description: 'as JSON' },
  },
  async run({ args }) {
    if (args._.length === 0)
      throw new UsageError('name an Envoy by its admin address, or a file with its configuration');
    for (const each of args._) {
      if (isFile(each) || isSocket(each)) continue;
      // What looks like no address is a file that is not there, and reading it says so.
      if (!/^https?:\/\/|:\d+$/.test(each)) readInput(each);
      if (!isAddress(each)) throw new UsageError(`${visible(each)} is no address`);
    }
    const problems: string[] = [];
    const sources = await Promise.all(args._.map((each) => read(each, problems)));
    const examinations = examine(sources.flatMap((each) => each ?? []));
    if (args.json) print(visibleJson(jsonOf(examinations, problems)));
    else if (examinations.length > 0) print(report(examinations, paint));
    if (!isBuilt())
      warn('The module is not built, so nobody asked it what it thinks of the configuration: `make build`.');
    warn(...problems.map(visible));
    const isWrong = examinations.some(({ diagnoses }) => diagnoses.some(({ severity }) => severity !== 'note'));
    return isWrong || problems.length > 0 ? REFUSED : DONE;
  },
});

const isFile = (name: string) => name === '-' || (existsSync(name) && !isSocket(name));

/** Reads what a word names; what cannot be read is a problem, and the others are looked at. */
async function read(name: string, problems: string[]): Promise<Source | undefined> {
  try {
    return isFile(name) ? sourceIn(name, readInput(name)) : await sourceAt(name);
  } catch (error) {
    if (error instanceof UsageError) throw error;
    problems.push(failure(name, error));
    return undefined;
  }
}
