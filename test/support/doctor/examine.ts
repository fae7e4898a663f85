// SPDX-License-Identifier: Apache-2.0
import { type Diagnosis, examine } from '../../../cli/doctor/rules.ts';
import { type Source, sourceIn } from '../../../cli/doctor/source.ts';
import { CHAIN_CASES } from './chain_cases.ts';
import { CONNECTION_CASES } from './connection_cases.ts';
import { COUNTED_CASES } from './counted_cases.ts';
import type { Case, Given } from './given.ts';
import { SAFETY_CASES } from './safety_cases.ts';
import { SETTING_CASES } from './setting_cases.ts';

/** What the doctor says of a case. */

export const CASES: Case[] = [...CHAIN_CASES, ...CONNECTION_CASES, ...SAFETY_CASES, ...SETTING_CASES, ...COUNTED_CASES];

/** What the doctor says of a configuration and of what would be counted. */
export function examined({ config, stats, uptime = 3600, beside }: Given): Diagnosis[] {
  const sources = [config, beside].flatMap((each, i): Source[] =>
    each ? [sourceIn(`proxy ${i}`, JSON.stringify(each))] : [],
  );
  if (stats) {
    const named = Object.entries(stats).map(([name, value]) => [nameOf(name), value] as const);
    sources[0].live = { version: '1.40.0', uptime, stats: new Map(named) };
  }
  return examine(sources)[0].diagnoses;
}

/** Envoy's name of a metric of the module. */
const nameOf = (name: string) => (name.includes('.') ? name : `wasmcustom.metadata_exchange.${name}`);

/** A line for each, without notes unless they are asked for. */
export const linesOf = (diagnoses: Diagnosis[], withNotes = true) =>
  diagnoses
    .filter(({ severity }) => withNotes || severity !== 'note')
    .map(({ severity, rule, where, what }) => `${severity} ${rule}: ${where}: ${what}`);
