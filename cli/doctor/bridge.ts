// SPDX-License-Identifier: Apache-2.0
import { field, type Json, messageOf, text } from './json.ts';

/** The Lua bridge from filter state to dynamic metadata: which filter it is, and for which sides. */

export type Sides = 'both' | 'downstream' | 'upstream';

/** What a Lua filter is the bridge for; undefined if it is something else. */
export function bridgeOf(any: Json): Sides | undefined {
  const config = messageOf(any);
  const source = field(config, 'default_source_code') ?? {};
  const script = text(source, 'inline_string') || text(config, 'inline_code');
  const isFile = /dynamic_metadata[^/]*\.lua$/.test(text(source, 'filename'));
  const isRun = /dofile\(?\s*["'][^"']*dynamic_metadata[^"']*\.lua/.test(script);
  // The script itself, as an EnvoyFilter of Istio's has it, asks for this variable.
  const isInline = script.includes('metadata_exchange_side') && script.includes('function envoy_on_re');
  if (!isFile && !isRun && !isInline) return undefined;
  return (/^\s*metadata_exchange_side\s*=\s*["'](downstream|upstream)["']/m.exec(script)?.[1] as Sides) ?? 'both';
}
