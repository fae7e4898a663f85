// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { lua, wasm } from '../../testkit/envoy/config.ts';
import { struct } from '../../testkit/struct.ts';
import type { Competitor } from './build.ts';

export type Direction = 'INBOUND' | 'OUTBOUND';

/** What a proxy says of itself. The Wasm competitors read it from the node, as the project's filter does. */
export interface Own {
  id: string;
  metadata: object;
}

/** A competitor's HTTP filter for a listener of this direction. */
export function competitorFilter(competitor: Competitor, direction: Direction, own: Own): object {
  if (competitor.wasm) return wasm('metadata_exchange', undefined, competitor.wasm);
  if (!competitor.lua) throw new Error(`${competitor.label}: ${competitor.missing}`);
  return lua('metadata_exchange', { inline_string: luaSource(competitor.lua, direction, own) });
}

/** The Lua source with what Lua cannot find out. */
function luaSource(path: string, direction: Direction, own: Own): string {
  const values: Record<string, string> = { DIRECTION: direction, ID: own.id, METADATA: struct.header(own.metadata) };
  return readFileSync(path, 'utf8').replaceAll(/@(DIRECTION|ID|METADATA)@/g, (_, name) => values[name]);
}
