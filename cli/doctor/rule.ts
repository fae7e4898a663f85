// SPDX-License-Identifier: Apache-2.0
import type { ProxyModel } from './model.ts';
import type { Wire } from './sides.ts';

/** A rule of the doctor's: a plain function from a proxy to what is wrong with it. */

export type Severity = 'error' | 'warning' | 'note';

/** What a rule found. */
export interface Finding {
  severity: Severity;
  /** The listener, chain, filter or cluster; empty for the whole proxy. */
  where: string;
  /** What is wrong, in one sentence. */
  what: string;
  /** What to do, in one sentence or two. */
  todo: string;
  /** It says only that a peer tells nothing: the cause is likely at that peer's proxy. */
  awaits?: Awaited;
}

/** The peer of whom nothing came. */
export interface Awaited {
  side: 'client' | 'server';
  wire: Wire;
}

export interface Rule {
  /** Its name; its paragraph in docs/troubleshoot.md has it as its heading. */
  id: string;
  /** `others` are the proxies that were asked about beside this one. */
  check(proxy: ProxyModel, others: ProxyModel[]): Finding[];
}

export const error = (where: string, what: string, todo: string): Finding => ({ severity: 'error', where, what, todo });

export const warning = (where: string, what: string, todo: string): Finding => ({
  severity: 'warning',
  where,
  what,
  todo,
});

export const note = (where: string, what: string, todo: string): Finding => ({ severity: 'note', where, what, todo });

export const awaiting = (side: Awaited['side'], wire: Wire, finding: Finding): Finding => ({
  ...finding,
  awaits: { side, wire },
});

/** `a`, `a and b`, `a, b and 3 more`. */
export function some(names: string[], most = 4): string {
  const unique = [...new Set(names)];
  if (unique.length > most) return `${unique.slice(0, most).join(', ')} and ${unique.length - most} more`;
  return unique.length < 2 ? unique.join('') : `${unique.slice(0, -1).join(', ')} and ${unique.at(-1)}`;
}

/** Places, which have commas in them: `a; b; and 3 more`. */
export function places(all: { where: string }[], most = 4): string {
  const unique = [...new Set(all.map(({ where }) => where))];
  if (unique.length <= most) return unique.join('; ');
  return `${unique.slice(0, most).join('; ')}; and ${unique.length - most} more`;
}
