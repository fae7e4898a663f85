// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { init } from 'echarts';
import { ROOT } from '../testkit/envoy/binary.ts';
import { readFlags, toggle } from '../testkit/flags.ts';
import { columns, markdown, type Rows } from '../testkit/tables.ts';
import { CASES } from './cases.ts';
import { NONE } from './contenders.ts';
import type { Footprint } from './footprint.ts';
import type { Cost } from './measure.ts';

/**
 * What was measured, as tables on the terminal and in Markdown, and as a chart. As a program it makes them of the results
 * that are there, and with --docs puts them into docs/performance.md and the README.
 */
export interface Results {
  machine: string;
  envoy: string;
  commit: string;
  date: string;
  rounds: number;
  requests: number;
  /** Costs by case. */
  cases: Record<string, Cost[]>;
  active: { streams: number; cost: Cost }[];
  footprints: Footprint[];
}

/** A contender's cost beside the floor's, in the same rounds. */
const ratio = ({ ofFloor }: Cost) => ofFloor?.toFixed(2) ?? '';

const us = (value: number) => value.toFixed(1);

function caseTable(all: Cost[]): Rows {
  const rows = all.map((cost) => [
    cost.label,
    us(cost.total),
    cost.name === NONE.name ? '' : us(cost.added),
    cost.name === NONE.name ? '' : `${us(cost.low)} to ${us(cost.high)}`,
    ratio(cost),
  ]);
  return [['', 'µs a request', 'added', 'middle half of the rounds', '× floor'], ...rows];
}

/** One table of the main cases for who has no time. */
function summary({ cases }: Results): Rows {
  const columns = ['inbound', 'outbound', 'peers-10000'].filter((name) => cases[name]);
  const labels = new Map(columns.flatMap((name) => cases[name].map((cost) => [cost.name, cost.label] as const)));
  labels.delete(NONE.name);
  const cell = (column: string, name: string) => {
    const cost = cases[column].find((each) => each.name === name);
    const times = cost && ratio(cost);
    if (!cost) return '';
    return times ? `${times} × (${us(cost.added)})` : us(cost.added);
  };
  const titles = columns.map((name) => CASES.find((each) => each.name === name)?.title ?? name);
  return [
    ['× the straight floor (µs added)', ...titles],
    ...[...labels].map(([name, label]) => [label, ...columns.map((column) => cell(column, name))]),
  ];
}

function footprintTable({ footprints }: Results): Rows {
  const empty = footprints.find(({ name }) => name === 'empty');
  const rows = footprints.map(({ label, size, startMs, memory }) => [
    label,
    size ? `${(size / 1024).toFixed(1)} KiB` : '',
    `${startMs.toFixed(1)} ms`,
    `${(memory / 1048576).toFixed(2)} MiB`,
    empty ? `${((memory - empty.memory) / 1048576).toFixed(2)} MiB` : '',
  ]);
  return [['', 'module', 'start of a VM', 'memory a worker', 'over the empty filter'], ...rows];
}

function activeTable({ active }: Results): Rows {
  return [
    ['other streams under way', 'added µs a request'],
    ...active.map(({ streams, cost }) => [String(streams), us(cost.added)]),
  ];
}

/** A name at the left, and numbers. */
const ALIGN = 'lrrrrr';

interface Section {
  title: string;
  rows: Rows;
}

function sections(results: Results): Section[] {
  const found: Section[] = CASES.filter(({ name }) => results.cases[name]).map(({ name, title }) => ({
    title,
    rows: caseTable(results.cases[name]),
  }));
  if (results.active.length > 0) found.push({ title: 'active streams', rows: activeTable(results) });
  if (results.footprints.length > 0) found.push({ title: 'footprint', rows: footprintTable(results) });
  return found;
}

function where({ machine, envoy, commit, date, rounds, requests }: Results): string {
  return `Envoy ${envoy}, one worker; ${machine}; medians of ${rounds} rounds of ${requests} requests; commit ${commit}, ${date}.`;
}

/** What a filter adds to an inbound and an outbound request, beside what the floor adds, as bars. */
function chart({ cases }: Results): string {
  const drawn = (cases.inbound ?? []).filter(({ name }) => name !== NONE.name).reverse();
  const view = init(null, null, { renderer: 'svg', ssr: true, width: 760, height: 60 + drawn.length * 42 });
  const bars = (name: 'inbound' | 'outbound', color: string) => ({
    name,
    type: 'bar' as const,
    itemStyle: { color },
    label: { show: true, position: 'right' as const, formatter: '{c}' },
    data: drawn.map((each) => {
      const cost = cases[name]?.find((other) => other.name === each.name);
      return Number(cost?.ofFloor?.toFixed(2) ?? 0);
    }),
  });
  view.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    legend: { top: 0 },
    // Labels are wider than is reckoned without a browser's fonts.
    grid: { left: 70, right: 60, top: 30, bottom: 10, containLabel: true },
    xAxis: { type: 'value', name: '× floor', nameLocation: 'end' },
    yAxis: { type: 'category', data: drawn.map(({ label }) => label) },
    series: [bars('outbound', '#9ecae1'), bars('inbound', '#3182bd')],
  });
  const svg = view.renderToSVGString();
  // It would wait for the next frame for ever.
  view.dispose();
  return `${svg}\n`;
}

/** Replaces what stands between two marks of a document. */
function put(path: string, mark: string, text: string): void {
  const file = join(ROOT, path);
  const source = readFileSync(file, 'utf8');
  const pattern = new RegExp(`(<!-- ${mark}: [^\\n]*-->\\n)[^]*?(<!-- /${mark} -->)`);
  if (!pattern.test(source)) throw new Error(`${path} has no place for ${mark}`);
  writeFileSync(
    file,
    source.replace(pattern, (_, begin, end) => `${begin}\n${text}\n\n${end}`),
  );
}

/** Shows results on the terminal, and writes them beside results.json; into the documents too if that is asked for. */
export function report(results: Results, intoDocs: boolean): void {
  const parts = sections(results);
  for (const { title, rows } of parts) console.log(`\n${title}\n${columns(rows, ALIGN)}`);
  console.log(`\n${where(results)}`);
  const text = parts.map(
    ({ title, rows }) => `### ${title[0].toUpperCase()}${title.slice(1)}\n\n${markdown(rows, ALIGN)}`,
  );
  const folder = join(ROOT, 'build/bench');
  writeFileSync(join(folder, 'tables.md'), `${text.join('\n\n')}\n\n${where(results)}\n`);
  writeFileSync(join(folder, 'chart.svg'), chart(results));
  if (!intoDocs) return;
  writeFileSync(join(ROOT, 'docs/performance.svg'), chart(results));
  put('docs/performance.md', 'benchmark', `${text.join('\n\n')}\n\n${where(results)}`);
  put('README.md', 'benchmark', `${markdown(summary(results), ALIGN)}\n\n${where(results)}`);
}

if (process.argv[1] === import.meta.filename) {
  const { flags } = readFlags({
    call: 'tsx bench/report.ts',
    about: 'Shows what was measured last: build/bench/results.json.',
    flags: { docs: toggle('writes the tables and the chart of the documentation anew') },
  });
  report(JSON.parse(readFileSync(join(ROOT, 'build/bench/results.json'), 'utf8')), flags.docs);
}
