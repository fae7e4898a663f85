// SPDX-License-Identifier: Apache-2.0
import { instrumentedBuilds, releasedBuilds } from './build.ts';
import { cover, Finding, fuzz, type Progress, tryInput, UNREACHABLE } from './run.ts';

/**
 * `make fuzz`: hostile bytes for the built module, and whether they reach every branch of assembly/wire.
 *
 *     INPUTS=n   how many, instead of 2,000,000     SEED=n       others than last time
 *     TARGET=t   only base64, struct, config or streams; with HEX=... that one input
 *     NO_COVERAGE=1  only the inputs
 *     KEEP=1     writes the corpus anew: the inputs that reached something first
 */

const { INPUTS, SEED, TARGET, HEX, KEEP, NO_COVERAGE } = process.env;
const inputs = Number(INPUTS || 2_000_000);
const seed = Number(SEED || 1);
/** Inputs that run on the builds with counters. */
const MOST_COVERED = 200_000;

const isTerminal = process.stdout.isTTY === true;
let said = 0;

/** On a terminal one line that changes, elsewhere a line every few seconds. */
function show({ target, done, of, accepted, perSecond }: Progress): void {
  const isLast = done === of;
  if (!isLast && Date.now() - said < (isTerminal ? 200 : 5000)) return;
  said = Date.now();
  const share = done > 0 ? Math.round((100 * accepted) / done) : 0;
  const numbers = [done, of, perSecond].map((number) => number.toLocaleString('en'));
  const line = `${target.padEnd(8)} ${numbers[0]} of ${numbers[1]} inputs, ${share} % accepted, ${numbers[2]} a second`;
  if (isTerminal) process.stdout.write(`\r\x1b[K${line}${isLast ? '\n' : ''}`);
  else console.log(line);
}

/** Whether a run found nothing. */
function run(): boolean {
  if (HEX !== undefined && TARGET) {
    console.log(tryInput(releasedBuilds(), TARGET, Buffer.from(HEX, 'hex')) ? 'accepted' : 'refused');
    return true;
  }
  const begun = Date.now();
  for (const { target, summary } of fuzz(releasedBuilds(), { inputs, seed, only: TARGET, onProgress: show })) {
    if (summary) console.log(`         ${target}: ${summary}`);
  }
  if (TARGET || NO_COVERAGE) return true;
  const covered = Math.min(MOST_COVERED, Math.max(20_000, inputs / 10));
  const { reached, known, excused, missed } = cover(instrumentedBuilds(), {
    inputs: covered,
    seed,
    keeps: Boolean(KEEP),
  });
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
