// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../testkit/envoy/binary.ts';
import { markdown } from '../testkit/tables.ts';
import { generate, generateFile } from './generated.ts';

/**
 * The one table of metrics, assembly/metrics/metrics.json, becomes the module's ids and names and the documentation's
 * table: `make format` writes them, `make lint` compares.
 */

export interface Metric {
  /** As in Envoy's `/stats`, behind `metadata_exchange.`. */
  name: string;
  kind: 'counter' | 'gauge';
  help: string;
}

const ASCII = '../memory/ascii';
const SOURCE = 'assembly/metrics/metrics.json';

export const METRICS: Metric[] = JSON.parse(readFileSync(join(ROOT, SOURCE), 'utf8'));

/** assembly/metrics/table.ts. */
function module(): string {
  const lines = METRICS.flatMap(({ name, help }, id) => [
    `/** ${help[0].toUpperCase()}${help.slice(1)}. */`,
    `export const ${name.toUpperCase()}: u32 = ${id};`,
  ]);
  const firstGauge = METRICS.findIndex(({ kind }) => kind === 'gauge');
  if (METRICS.slice(firstGauge).some(({ kind }) => kind !== 'gauge')) throw new Error('gauges come last');
  return `// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii } from '${ASCII}';

// Made by \`make format\` from ${SOURCE}: change that.

${lines.join('\n')}

/** From here on metrics are gauges. */
export const FIRST_GAUGE: u32 = ${firstGauge};
/** How many there are. */
export const METRICS: u32 = ${METRICS.length};
/** Their names, in order, each with a space behind it. */
export const NAMES: Ascii =
  '${METRICS.map(({ name }) => `${name} `).join('')}';
`;
}

/** The table of the documentation. */
function table(): string {
  const rows = METRICS.map(({ name, kind, help }) => [`\`metadata_exchange_${name}\``, kind, help]);
  return markdown([['in `/stats/prometheus`', 'kind', 'what it counts'], ...rows]);
}

generateFile('assembly/metrics/table.ts', SOURCE, module());
generate('docs/observe.md', 'metrics', SOURCE, table());
