// SPDX-License-Identifier: Apache-2.0
import { number, readFlags, text, toggle } from '../../testkit/flags.ts';
import { instrumentedBuilds, releasedBuilds } from './build.ts';
import { cover, Finding, fuzz, type Progress, tryInput, UNREACHABLE } from './run.ts';

/** `make fuzz`: hostile bytes for the built module, and whether they reach every branch of assembly/wire. */
const { inputs, seed, target, hex, keep, noCoverage } = readFlags({
  call: 'tsx test/fuzz/fuzz.ts',
  about: 'Gives the built module hostile inputs, and counts what of assembly/wire they reach.',
  flags: {
    inputs: number(2_000_000, 'how many inputs'),
    seed: number(1, 'another number makes other inputs', 0),
    target: text('only base64, struct, config, streams, discovery or prefaces', [
      'base64',
      'struct',
      'config',
      'streams',
      'discovery',
      'prefaces',
    ]),
    hex: text('one input of that target, in hexadecimal digits'),
    keep: toggle('writes the corpus anew: the inputs that reached something first'),
    noCoverage: toggle('only gives the inputs, and does not count what they reach'),
  },
}).flags;
/** Inputs that run on the builds with counters. */
const MOST_COVERED = 200_000;

const isTerminal = process.stdout.isTTY === true;
let said = 0;

/** On a terminal one line that changes, elsewhere a line every few seconds. */
function show({ target: name, done, of, accepted, perSecond }: Progress): void {
  const isLast = done === of;
  if (!isLast && Date.now() - said < (isTerminal ? 200 : 5000)) return;
  said = Date.now();
  const share = done > 0 ? Math.round((100 * accepted) / done) : 0;
  const numbers = [done, of, perSecond].map((number) => number.toLocaleString('en'));
  const line = `${name.padEnd(8)} ${numbers[0]} of ${numbers[1]} inputs, ${share} % accepted, ${numbers[2]} a second`;
  if (isTerminal) process.stdout.write(`\r\x1b[K${line}${isLast ? '\n' : ''}`);
  else console.log(line);
}

/** Whether a run found nothing. */
function run(): boolean {
  if (hex !== undefined && target) {
    console.log(tryInput(releasedBuilds(), target, Buffer.from(hex, 'hex')) ? 'accepted' : 'refused');
    return true;
  }
  const begun = Date.now();
  for (const { target: name, summary } of fuzz(releasedBuilds(), { inputs, seed, only: target, onProgress: show })) {
    if (summary) console.log(`         ${name}: ${summary}`);
  }
  if (noCoverage || (target && !keep)) return true;
  const covered = Math.min(MOST_COVERED, Math.max(20_000, inputs / 10));
  const { reached, known, excused, missed } = cover(instrumentedBuilds(), {
    inputs: covered,
    seed,
    keeps: keep,
    only: target,
  });
  // Of one target's inputs alone it says little what they do not reach.
  if (target) return true;
  const percent = Math.floor((1000 * reached) / (known - excused)) / 10;
  console.log(
    `assembly/wire: ${reached} of ${known} branches reached by ${covered.toLocaleString('en')} inputs, ` +
      `${excused} cannot be reached: ${percent} %`,
  );
  for (const [pattern, reason] of UNREACHABLE) console.log(`  no input can reach ${pattern.source}: ${reason}`);
  for (const branch of missed) console.log(`  not reached: ${branch}`);
  console.log(`${Math.round((Date.now() - begun) / 1000)} s`);
  return missed.length === 0;
}

try {
  process.exitCode = run() ? 0 : 1;
} catch (error) {
  if (isTerminal) console.log();
  console.error(error instanceof Finding ? error.message : error);
  process.exitCode = 1;
}
