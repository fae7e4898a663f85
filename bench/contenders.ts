// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { MODULE, ROOT } from '../testkit/envoy/binary.ts';
import { bridge, metadataExchange, wasm } from '../testkit/envoy/config.ts';
import { buildCompetitors } from './competitors/build.ts';
import { checkCompetitor } from './competitors/check.ts';
import { competitorFilter, type Direction } from './competitors/filter.ts';
import * as peers from './sized_peer.ts';

/** Who is measured: each is an Envoy of its own, with other HTTP filters in its chain. */
export interface Contender {
  name: string;
  label: string;
  /** The module, where it is one. */
  wasm?: string;
  /** Its filters for a listener of a direction. */
  filters(direction: Direction): object[];
}

/** What the proxies under test say of themselves. */
export const OWN = { id: peers.ID, metadata: peers.metadata(600) };

const LIST = [{ istio_headers: {} }];
const LISTS = {
  INBOUND: { downstream_discovery: LIST, downstream_propagation: LIST },
  OUTBOUND: { upstream_discovery: LIST, upstream_propagation: LIST },
};
const built = (name: string) => join(ROOT, 'build/bench', `${name}.wasm`);
const ours = (direction: Direction) => metadataExchange(LISTS[direction]);

function withBridge(direction: Direction, filter: object): object[] {
  return direction === 'INBOUND'
    ? [filter, bridge('dynamic_metadata', 'downstream')]
    : [bridge('dynamic_metadata', 'upstream'), filter];
}

export const NONE: Contender = { name: 'none', label: 'no filter', filters: () => [] };
export const OURS = 'ours';
export const FLOOR = 'floor';

/** All contenders that can be built here, the one without a filter first. What is missing is said. */
export async function contenders(): Promise<Contender[]> {
  const all: Contender[] = [
    NONE,
    {
      name: 'empty',
      label: 'empty Wasm filter',
      wasm: built('empty'),
      filters: () => [wasm('empty', undefined, built('empty'))],
    },
    {
      name: FLOOR,
      label: 'straight floor',
      wasm: built('floor'),
      filters: () => [wasm('floor', undefined, built('floor'))],
    },
    { name: OURS, label: 'this filter', wasm: MODULE, filters: () => [metadataExchange()] },
    { name: 'lists', label: 'this filter, with lists', wasm: MODULE, filters: (direction) => [ours(direction)] },
    {
      name: 'bridge',
      label: 'this filter and the bridge',
      wasm: MODULE,
      filters: (direction) => withBridge(direction, metadataExchange()),
    },
  ];
  for (const competitor of await buildCompetitors()) {
    if (competitor.missing) {
      console.log(`==> ${competitor.label} is not measured: ${competitor.missing}`);
      continue;
    }
    await checkCompetitor(competitor);
    all.push({
      name: competitor.name,
      label: competitor.label,
      wasm: competitor.wasm,
      filters: (direction) => [competitorFilter(competitor, direction, OWN)],
    });
  }
  return all;
}
