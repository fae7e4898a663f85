// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { type Branch, Coverage } from './coverage.ts';
import { type Builds, type InstrumentedBuilds, sourceOf, type Target } from './target.ts';
import { Base64 } from './targets/base64.ts';
import { ConfigTarget } from './targets/config.ts';
import { Discovery } from './targets/discovery.ts';
import { Prefaces } from './targets/prefaces.ts';
import { Streams } from './targets/streams.ts';
import { StructTarget } from './targets/struct.ts';

/** The targets, and how much of all inputs each gets: the cheap ones are not starved, the dear ones not rushed. */
const SHARES: [new (builds: Builds) => Target, number][] = [
  [Base64, 0.15],
  [StructTarget, 0.25],
  [ConfigTarget, 0.15],
  [Streams, 0.15],
  [Discovery, 0.2],
  [Prefaces, 0.1],
];

/** Targets whose inputs are programs in JSON. */
const PROGRAMS = ['streams', 'discovery', 'prefaces'];

/** After so many inputs a target gets new instances: a failure is repeated from the last such point. */
const EPOCH = 5000;
/** The least share of inputs that each target must accept: others never come beyond the first check. */
const LEAST_ACCEPTED = 0.2;

/** The largest input that the corpus keeps. */
const MOST_KEPT = 4000;

const CORPUS = join(import.meta.dirname, 'corpus');
const corpusFile = (target: string) => join(CORPUS, `${target}.json`);

/** The inputs worth keeping, each in hexadecimal digits, or as it is where it is a program. */
export function readCorpus(target: string): Uint8Array[] {
  const texts = JSON.parse(readFileSync(corpusFile(target), 'utf8')) as string[];
  return texts.map((text) => Buffer.from(text, text.startsWith('{') ? 'utf8' : 'hex'));
}

function writeCorpus(target: Target, corpus: Uint8Array[]): void {
  const texts = corpus.map((input) => Buffer.from(input).toString(PROGRAMS.includes(target.name) ? 'utf8' : 'hex'));
  writeFileSync(corpusFile(target.name), `${JSON.stringify(texts, null, 2)}\n`);
}

export interface Progress {
  target: string;
  done: number;
  of: number;
  accepted: number;
  perSecond: number;
}

export interface Options {
  inputs: number;
  seed: number;
  /** Only this target. */
  only?: string;
  /** Told now and then how far a target is. */
  onProgress?: (progress: Progress) => void;
}

/** What was found. */
export class Finding extends Error {
  constructor(
    readonly target: string,
    readonly index: number,
    readonly input: Uint8Array,
    seed: number,
    cause: unknown,
    isRepeatable: boolean,
  ) {
    const { name, message } = cause as Error;
    const where = isRepeatable ? '' : ` (only after the inputs before it, from ${index - (index % EPOCH)} on)`;
    const text = PROGRAMS.includes(target) ? `\n  which is ${Buffer.from(input).toString().slice(0, 4000)}` : '';
    super(
      `${target}: ${name === 'Error' ? '' : `${name}: `}${message}${where}\n` +
        `  input ${Buffer.from(input).toString('hex').slice(0, 20_000)}${text}\n` +
        `  again: make fuzz SEED=${seed} TARGET=${target} INPUTS=${index + 1}, or HEX=<input> TARGET=${target}`,
    );
  }
}

const newTargets = (builds: Builds) => SHARES.map(([Kind, share]) => ({ target: new Kind(builds), share }));

export interface Result {
  target: string;
  inputs: number;
  accepted: number;
  perSecond: number;
  summary: string;
}

/** Runs the targets on released builds; throws a Finding. */
export function fuzz(builds: Builds, { inputs, seed, only, onProgress }: Options): Result[] {
  return newTargets(builds)
    .filter(({ target }) => !only || target.name === only)
    .map(({ target, share }) => {
      const corpus = readCorpus(target.name);
      const of = only ? inputs : Math.round(inputs * share);
      const begun = Date.now();
      let accepted = 0;
      const perSecond = (done: number) => Math.round((1000 * done) / Math.max(1, Date.now() - begun));
      const tryOne = (index: number, input: Uint8Array) => {
        try {
          if (target.check(input)) accepted++;
        } catch (cause) {
          throw new Finding(target.name, index, input, seed, cause, failsAlone(target, input));
        }
      };
      for (let i = 0; i < of; i++) {
        if (i % EPOCH === 0) target.renew();
        // What is kept comes first: it found something once.
        tryOne(i, corpus[i] ?? target.generate(sourceOf(seed, target.name, i), corpus));
        if (i % 512 === 0) onProgress?.({ target: target.name, done: i, of, accepted, perSecond: perSecond(i) });
      }
      onProgress?.({ target: target.name, done: of, of, accepted, perSecond: perSecond(of) });
      if (accepted < of * LEAST_ACCEPTED) {
        throw new Error(`${target.name}: only ${accepted} of ${of} inputs were accepted: the others test little`);
      }
      const summary = target.summary?.() ?? '';
      return { target: target.name, inputs: of, accepted, perSecond: perSecond(of), summary };
    });
}

function failsAlone(target: Target, input: Uint8Array): boolean {
  target.renew();
  try {
    target.check(input);
    return false;
  } catch {
    return true;
  }
}

/** Tries one input, as a Finding shows it. */
export function tryInput(builds: Builds, name: string, input: Uint8Array): boolean {
  const found = newTargets(builds).find(({ target }) => target.name === name);
  if (!found) throw new Error(`there is no target ${name}`);
  return found.target.check(input);
}

/**
 * Branches that no input can reach, and why: where they are, as `function: line of the source: way`. An entry that
 * excuses nothing is wrong too.
 */
export const UNREACHABLE: [pattern: RegExp, reason: string][] = [
  [/Cursor#skipGroup: while \(true\).*: false$/, 'a loop without end has a condition all the same'],
  [/canonical\/canonical: if \(!start\) return FAILED;: true$/, 'roomForCanonical was reserved before'],
  [/struct_fields\/gather: if \(!items\.at\) return false;: true$/, 'room for all items was reserved before'],
  [/struct_fields\/gather: if \(depth > MOST_NESTING\) return false;: true$/, 'who asks has compared the depth'],
  [
    /baggage\/writeStruct: if \(!start\) return REFUSED;: true$/,
    'only baggage of more than 40 kB could, which no program here has',
  ],
  [/json\/unescape: if \(!to\).*: true$/, 'readRoot and readConfig reserved room for it before'],
  [/struct_json\/toJson: if \(!start\) return false;: true$/, 'roomForJson was reserved before'],
  [
    /workload\/writeStruct: if \(!start\) return false;: true$/,
    'a request that fills a callback is not among these programs',
  ],
  [/workload\/writeStruct: return !writer\.full.*: false$/, 'what is added to the texts has its room'],
  [/select\/select: if \(!start \|\| !rests\) return false;: true$/, 'roomForSelect was reserved before'],
  [/select\/selectFrom: if \(!gather.*: true$/, 'it selects from what canonical wrote'],
  [/select\/selectFrom: if \(!readEntry.*: true$/, 'it selects from what canonical wrote'],
  [/select\/select(From)?: if \(!selectFrom.*: true$/, 'it selects from what canonical wrote'],
  [/select\/begins: .*: false$/, 'who asks has compared the sizes'],
];

export interface CoverageResult {
  reached: number;
  known: number;
  /** How many of the others are on the list of those that no input can reach. */
  excused: number;
  /** Branches that nothing reached, without those of UNREACHABLE. */
  missed: string[];
}

/** Runs the targets on builds with counters: what of assembly/wire the inputs reach. With `keeps`, the corpus grows. */
export function cover(instrumented: InstrumentedBuilds, options: Options & { keeps?: boolean }): CoverageResult {
  const { inputs, seed, keeps, only } = options;
  const builds = {
    module: new WebAssembly.Module(instrumented.module.bytes as BufferSource),
    codecs: new WebAssembly.Module(instrumented.codecs.bytes as BufferSource),
  };
  const all = new Coverage();
  all.add(instrumented.module, 'assembly/wire/');
  all.add(instrumented.codecs, 'assembly/wire/');
  for (const { target, share } of newTargets(builds).filter(({ target }) => !only || target.name === only)) {
    const own = new Coverage();
    const corpus = readCorpus(target.name);
    const kept: Uint8Array[] = [];
    const of = Math.max(corpus.length, Math.round(inputs * share));
    const collect = (coverage: Coverage) =>
      target.counters().reduce((sum, each) => sum + coverage.collect(instrumented[each.of], each.global), 0);
    target.renew();
    for (let i = 0; i < of; i++) {
      const input = corpus[i] ?? target.generate(sourceOf(seed, target.name, i), corpus);
      target.check(input);
      // Counters that are not read for each input cost nothing.
      if (keeps && input.length <= MOST_KEPT && collect(own) > 0) kept.push(input);
    }
    collect(all);
    if (keeps) writeCorpus(target, kept);
  }
  const missed = all.missed().map(inWords);
  const isExcused = ({ key }: { key: string }) => UNREACHABLE.some(([pattern]) => pattern.test(key));
  const useless = UNREACHABLE.filter(([pattern]) => !missed.some(({ key }) => pattern.test(key)));
  return {
    ...all.counts,
    excused: missed.filter(isExcused).length,
    missed: [
      ...missed.filter((each) => !isExcused(each)).map(({ key, at }) => `${at} in ${key}`),
      ...useless.map(([pattern]) => `${pattern.source} is said to be out of reach, and was reached`),
    ],
  };
}

/** A branch with the line of the source that it is on. */
function inWords({ place, function: name }: Branch): { key: string; at: string } {
  const [at, ...way] = place.split(' ');
  // A function's own name may have a colon: that of a setter.
  const [, file, line] = /^(.*\.ts):(\d+)/.exec(at) ?? [];
  const source = line ? readFileSync(join(ROOT, file), 'utf8').split('\n')[Number(line) - 1].trim() : '';
  return { key: `${name}: ${source}: ${way.join(' ')}`, at };
}
