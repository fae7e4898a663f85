// SPDX-License-Identifier: Apache-2.0
import { existsSync } from 'node:fs';
import { MODULE } from '../../testkit/envoy/binary.ts';
import { verdictOn } from '../commands/check.ts';
import type { Exchange } from './exchange.ts';
import { allExchangesOf, type ProxyModel } from './model.ts';

/** What the built module says to the configurations of a proxy, in its own words. */

/** Whether it can be asked. */
export const isBuilt = () => existsSync(MODULE);

export interface Said {
  exchange: Exchange;
  isTaken: boolean;
  /** What it complains of, without its name before it. */
  complaints: string[];
  /** The size of the metadata header that it would send. */
  headerBytes: number;
}

const known = new WeakMap<ProxyModel, Said[]>();

/** What it says to each configuration; nothing where it is not built. Listeners by the hundred have equal ones. */
export function verdictsOn(proxy: ProxyModel): Said[] {
  const before = known.get(proxy);
  if (before) return before;
  const byContent = new Map<string, Omit<Said, 'exchange'>>();
  const all = isBuilt() ? [...allExchangesOf(proxy), ...proxy.services] : [];
  const said = all.map((exchange) => {
    const key = exchange.found.bytes.toString('base64');
    const verdict = byContent.get(key) ?? ask(exchange);
    byContent.set(key, verdict);
    return { exchange, ...verdict };
  });
  known.set(proxy, said);
  return said;
}

function ask({ found }: Exchange): Omit<Said, 'exchange'> {
  const { complaints, isTaken, headerBytes } = verdictOn(found);
  return { isTaken, headerBytes, complaints: complaints.map((line) => line.replace(/^metadata_exchange: /, '')) };
}
