// SPDX-License-Identifier: Apache-2.0
import type { ProxyModel } from './model.ts';
import { type Awaited, places, some } from './rule.ts';
import type { Diagnosis, Examination } from './rules.ts';
import { exchangesOn, readClients, tellServers, type Wire } from './sides.ts';

/** Some findings only say that a peer tells nothing. Where the peer's proxy was examined too, its findings say why. */

/** A finding of one of the proxies that were examined. */
export interface Cause {
  proxy: string;
  rule: string;
}

/** What keeps a peer from telling or reading, if it is found at the peer's proxy. What two proxies have together is found here, too. */
const AT_THE_PEER: Record<Wire, string[]> = {
  HTTP: [
    'no-filter',
    'listener-without-filter',
    'not-loaded',
    'refused-by-envoy',
    'configuration-refused',
    'switched-off',
    'answers-first',
    'two-exchanges',
    'switched-off-by-lists',
    'nothing-sent',
    'no-own-metadata',
    'own-header-large',
    'vm-failed',
  ],
  TCP: [
    'no-filter',
    'not-loaded',
    'refused-by-envoy',
    'configuration-refused',
    'preface-for-nobody',
    'preface-protocol',
    'vm-failed',
  ],
};

/** What keeps a proxy from seeing what its peer tells, if it is found there. */
const HERE: Record<Wire, string[]> = {
  HTTP: ['switched-off', 'answers-first', 'two-exchanges', 'switched-off-by-lists', 'one-side-only', 'other-headers'],
  TCP: ['one-side-only', 'preface-for-nobody', 'preface-protocol'],
};

/** Writes to findings that wait for a peer what was found of that peer. */
export function withCauses(examinations: Examination[]): Examination[] {
  if (examinations.length < 2) return examinations;
  return examinations.map((each) => ({
    proxy: each.proxy,
    diagnoses: each.diagnoses.map((one) => (one.awaits ? explained(one, one.awaits, each, examinations) : one)),
  }));
}

function explained(diagnosis: Diagnosis, awaits: Awaited, at: Examination, all: Examination[]): Diagnosis {
  const others = all.filter((each) => each !== at && canBe(awaits, each.proxy));
  const own = at.proxy.source.name;
  const here = rulesIn(at, HERE[awaits.wire]);
  const there = others.flatMap((each) => {
    const rules = rulesIn(each, AT_THE_PEER[awaits.wire]);
    return rules.map((rule) => ({ proxy: each.proxy.source.name, rule }));
  });
  const causes: Cause[] = [...here.map((rule) => ({ proxy: own, rule })), ...there];
  if (causes.length > 0) {
    const where = [...here.map((rule) => `${rule} here`), ...there.map(({ proxy, rule }) => `${proxy}, ${rule}`)];
    return { ...diagnosis, causes, todo: `see ${places(where.map((each) => ({ where: each })))}.` };
  }
  const peers = others.filter(({ proxy }) => exchangesOn(awaits.wire, proxy).length > 0);
  if (peers.length === 0) return diagnosis;
  const names = some(peers.map(({ proxy }) => proxy.source.name));
  const todo = `Nothing at ${names} explains it. Find out whether that is the ${awaits.side}, and what stands in between.`;
  return { ...diagnosis, todo };
}

/** Whether a proxy can be the peer that is waited for: one of the same side is not. */
function canBe({ side, wire }: Awaited, proxy: ProxyModel): boolean {
  const exchanges = exchangesOn(wire, proxy);
  if (exchanges.length === 0) return true;
  return side === 'client' ? tellServers(exchanges) : readClients(exchanges);
}

/** Which of these rules found something that is wrong. */
function rulesIn({ diagnoses }: Examination, rules: string[]): string[] {
  const found = diagnoses.filter(({ rule, severity }) => severity !== 'note' && rules.includes(rule));
  return [...new Set(found.map(({ rule }) => rule))];
}
