// SPDX-License-Identifier: Apache-2.0
import { visible } from '../visible.ts';
import { text } from './json.ts';
import { allExchangesOf, type ProxyModel } from './model.ts';
import { places, type Severity } from './rule.ts';
import type { Diagnosis, Examination } from './rules.ts';
import { times } from './stats.ts';

/** What the doctor says: for people, and as JSON. Names of strangers are made visible here. */

type Paint = (style: 'red' | 'yellow' | 'dim' | 'bold' | 'green', text: string) => string;

const STYLES = { error: 'red', warning: 'yellow', note: 'dim' } as const satisfies Record<Severity, string>;

/** Blocks of text, one for each proxy. */
export function report(examinations: Examination[], paint: Paint): string {
  return examinations.map((each) => blockOf(each, paint)).join('\n\n');
}

function blockOf({ proxy, diagnoses }: Examination, paint: Paint): string {
  const head = [paint('bold', visible(proxy.source.name)), `  ${visible(lookedAt(proxy))}`];
  const findings = grouped(diagnoses);
  const found = findings.map((each) => linesOf(each, paint).join('\n'));
  return [...head, '', [...found, summary(findings, paint)].join('\n\n')].join('\n');
}

/** Equal findings at several places are one. */
function grouped(diagnoses: Diagnosis[]): Diagnosis[] {
  const groups = new Map<string, Diagnosis[]>();
  for (const each of diagnoses) {
    const key = JSON.stringify([each.rule, each.severity, each.what, each.todo]);
    groups.set(key, [...(groups.get(key) ?? []), each]);
  }
  return Array.from(groups.values(), (all) => ({ ...all[0], where: places(all) }));
}

function linesOf({ severity, rule, where, what, todo, link, causes }: Diagnosis, paint: Paint): string[] {
  const lines = [
    `${paint(STYLES[severity], severity)}  ${rule}${where ? `  ${paint('dim', visible(where))}` : ''}`,
    ...wrapped(visible(what)),
    ...wrapped(`${causes.length > 0 ? 'Cause' : 'Do'}: ${visible(todo)}`),
    `  ${paint('dim', link)}`,
  ];
  return lines;
}

const MOST_COLUMNS = 100;

/** A sentence in lines, indented. */
function wrapped(sentence: string): string[] {
  const lines = [''];
  for (const word of sentence.split(' ')) {
    const last = lines[lines.length - 1];
    if (last !== '' && last.length + word.length + 1 > MOST_COLUMNS) lines.push(word);
    else lines[lines.length - 1] = last === '' ? word : `${last} ${word}`;
  }
  return lines.map((line) => `  ${line}`);
}

/** What the doctor had before it. */
function lookedAt(proxy: ProxyModel): string {
  const { live, isWhole } = proxy.source;
  const id = text(proxy.node, 'id');
  const exchanges = allExchangesOf(proxy).length;
  const file = isWhole ? 'a configuration' : 'a part of a configuration';
  return [
    live ? `Envoy ${live.version}, up for ${age(live.uptime)}` : file,
    ...(id ? [`node ${id}`] : []),
    [listenersOf(proxy), ...chainsOf(proxy)].join(', '),
    `${times(exchanges, 'exchange filter')}, ${times(proxy.clusters.length, 'cluster')}`,
  ].join('; ');
}

/** `1 listener (INBOUND)`, `3 listeners (2 INBOUND, 1 OUTBOUND)`. */
function listenersOf({ listeners }: ProxyModel): string {
  const counts = new Map<string, number>();
  for (const { direction = 'no direction' } of listeners) counts.set(direction, (counts.get(direction) ?? 0) + 1);
  const count = times(listeners.length, 'listener');
  if (counts.size === 0) return count;
  const kinds = Array.from(counts, ([direction, many]) => (counts.size > 1 ? `${many} ${direction}` : direction));
  return `${count} (${kinds.join(', ')})`;
}

/** How many chains speak HTTP, and how many anything else. */
function chainsOf({ listeners }: ProxyModel): string[] {
  const chains = listeners.flatMap((each) => each.chains);
  const http = chains.filter((each) => each.http).length;
  const kinds = [times(http, 'HTTP chain'), times(chains.length - http, 'TCP chain')];
  return kinds.filter((each) => !each.startsWith('0 '));
}

function age(seconds: number): string {
  if (seconds < 120) return `${seconds} s`;
  return seconds < 7200 ? `${Math.floor(seconds / 60)} minutes` : `${Math.floor(seconds / 3600)} hours`;
}

function summary(diagnoses: Diagnosis[], paint: Paint): string {
  const count = (severity: Severity) => diagnoses.filter((each) => each.severity === severity).length;
  const wrong = (['error', 'warning'] as const)
    .filter((each) => count(each) > 0)
    .map((each) => times(count(each), each));
  const notes = count('note') > 0 ? [times(count('note'), 'note')] : [];
  if (wrong.length > 0) return [...wrong, ...notes].join(', ');
  return [paint('green', 'Nothing is wrong, as far as this shows.'), ...notes].join(' ');
}

/** The same for programs; with who could not be asked, and why. */
export function jsonOf(examinations: Examination[], problems: string[]): object {
  return {
    problems,
    proxies: examinations.map(({ proxy, diagnoses }) => ({
      name: proxy.source.name,
      node: text(proxy.node, 'id') || null,
      envoy: proxy.source.live?.version ?? null,
      listeners: proxy.listeners.map(({ name, direction }) => ({ name, direction: direction ?? null })),
      findings: diagnoses.map(({ rule, severity, where, what, todo, link, causes }) => ({
        rule,
        severity,
        where: where || null,
        what,
        todo,
        link,
        causes,
      })),
    })),
  };
}
