// SPDX-License-Identifier: Apache-2.0
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { init } from 'echarts';
import { ROOT } from '../testkit/envoy/binary.ts';
import { readFlags, toggle } from '../testkit/flags.ts';
import { columns, markdown, type Rows } from '../testkit/tables.ts';
import type { Live, Megabyte } from './connections.ts';
import type { DiscoveryRow } from './discovery.ts';
import type { Footprint } from './footprint.ts';
import { AGAIN, type Comparison, type Cost, isEqual, NONE, OURS } from './statistics.ts';

/** A case, and what its contenders cost in the same rounds. */
export interface MeasuredCase extends Comparison {
  name: string;
  title: string;
  /** What costs are of, where that is not a request. */
  unit?: string;
}

/**
 * What was measured, as tables on the terminal and in Markdown, and as a chart. As a program it makes them of the
 * results that are there, and with --docs puts them into docs/performance.md and the README.
 */
export interface Results {
  machine: string;
  envoy: string;
  commit: string;
  date: string;
  rounds: number;
  requests: number;
  cases: MeasuredCase[];
  footprints: Footprint[];
  discovery: DiscoveryRow[];
  megabytes: Megabyte[];
  live?: Live;
}

const us = (value: number) => value.toFixed(1);
const percent = (share: number) => `${(share * 100).toFixed(0)} %`;

/** What a contender adds beside what this filter adds; in words where the same module is as far from itself. */
function ratio({ name, ratio }: Cost, comparison: Comparison): string {
  if (ratio === undefined) return '';
  const isYardstick = name === OURS || name === AGAIN;
  return !isYardstick && isEqual(ratio, comparison) ? 'equal' : ratio.toFixed(2);
}

function caseTable(measured: MeasuredCase): Rows {
  const rows = measured.costs.map((cost) => [
    cost.label,
    us(cost.total),
    ...(cost.name === NONE ? ['', ''] : [us(cost.added), `${us(cost.low)} to ${us(cost.high)}`]),
    ratio(cost, measured),
  ]);
  return [
    ['', `µs a ${measured.unit ?? 'request'}`, 'µs added', 'middle half of the rounds', '× this filter'],
    ...rows,
  ];
}

/** What `equal` means in a table. */
function yardstick({ spread }: MeasuredCase): string {
  return `Equal: what it adds is no further from this filter than the same module a second time, ${percent(spread)}.`;
}

/** The one number that README has. */
function sentence({ cases }: Results): string {
  const floor = cases.find(({ name }) => name === 'inbound')?.costs.find(({ name }) => name === 'floor')?.ratio;
  if (floor === undefined) throw new Error('the straight floor was not measured for inbound requests');
  const share = (1 / floor).toFixed(2);
  return `To an inbound request it adds ${share} times the CPU time of the bare host calls that an exchange needs.`;
}

/** One table of the main cases for who has no time: shares alone. */
function summary({ cases }: Results): Rows {
  const shown = ['inbound', 'outbound', 'peers-10000'].flatMap(
    (name) => cases.find((each) => each.name === name) ?? [],
  );
  const labels = new Map(shown.flatMap(({ costs }) => costs.map(({ name, label }) => [name, label] as const)));
  labels.delete(NONE);
  labels.delete(AGAIN);
  const cell = (measured: MeasuredCase, name: string) => {
    const cost = measured.costs.find((each) => each.name === name);
    return cost ? ratio(cost, measured) : '';
  };
  return [
    ['added, × this filter', ...shown.map(({ title }) => title)],
    ...[...labels].map(([name, label]) => [label, ...shown.map((measured) => cell(measured, name))]),
    ['equal is what differs by no more than', ...shown.map(({ spread }) => percent(spread))],
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

/** What discovery takes, a column for each number of workloads. */
function discoveryTable({ discovery }: Results): Rows {
  const row = (name: string, cell: (of: DiscoveryRow) => string) => [name, ...discovery.map(cell)];
  const milliseconds = (value: number) => `${(value / 1000).toFixed(1)} ms`;
  const reads = (value: number, of: DiscoveryRow) => `${(value / of.header).toFixed(2)} ×`;
  return [
    ['workloads', ...discovery.map(({ workloads }) => workloads.toLocaleString('en'))],
    row('memory of the proxy for each', ({ memory }) => `${memory.toFixed(0)} B`),
    row('main thread, for each of the first list', ({ loaded }) => `${us(loaded)} µs`),
    row('main thread, for each that changes later', ({ changed }) => `${us(changed)} µs`),
    row('99.9 % of the workers’ loops take at most', ({ quietLoop }) => milliseconds(quietLoop)),
    row('the same while the list comes', ({ loadLoop }) => milliseconds(loadLoop)),
    row('the same while 1,000 a second change', ({ changesLoop }) => milliseconds(changesLoop)),
    row('lookup of a workload that is known, × the read of a header', (of) => reads(of.found, of)),
    row('lookup of an address that nobody has', (of) => reads(of.unknown, of)),
  ];
}

/** What a megabyte on a connection costs. */
function megabyteTable({ megabytes }: Results): Rows {
  const rows = megabytes.map(({ label, cost, ratio }) => [label, us(cost), ratio.toFixed(3)]);
  return [['', 'µs a megabyte', '× tcp_proxy alone'], ...rows];
}

/** What connections cost that are open. */
function liveTable({ connections, uncounted, counted }: Live): Rows {
  const share = (microseconds: number) => `${(microseconds / 10_000).toFixed(2)} %`;
  return [
    [`${connections.toLocaleString('en')} connections that are open and silent`, 'of a worker’s core'],
    ['without metrics', share(uncounted)],
    ['with Istio’s four metrics', share(counted)],
  ];
}

/** A name at the left, and numbers. */
const ALIGN = 'lrrrrr';

interface Section {
  title: string;
  rows: Rows;
  note?: string;
}

function sections(results: Results): Section[] {
  const found: Section[] = results.cases.map((measured) => ({
    title: measured.title,
    rows: caseTable(measured),
    note: yardstick(measured),
  }));
  if (results.footprints.length > 0) found.push({ title: 'footprint', rows: footprintTable(results) });
  if (results.discovery.length > 0) {
    found.push({ title: 'workload discovery, two workers', rows: discoveryTable(results) });
  }
  if (results.megabytes.length > 0)
    found.push({ title: 'TCP: a megabyte on a connection', rows: megabyteTable(results) });
  if (results.live) found.push({ title: 'TCP: open connections', rows: liveTable(results.live) });
  return found;
}

function where({ machine, envoy, commit, date, rounds, requests }: Results): string {
  const amount = `medians of ${rounds} rounds of ${requests} requests`;
  return `Envoy ${envoy}, one worker; ${machine}; ${amount}; commit ${commit}, ${date}.`;
}

/** What filters add to an inbound and an outbound request, beside what this one adds, as bars. */
function chart({ cases }: Results): string {
  const costsOf = (name: string) => cases.find((each) => each.name === name)?.costs ?? [];
  const drawn = costsOf('inbound')
    .filter(({ name }) => name !== NONE && name !== AGAIN)
    .reverse();
  const view = init(null, null, { renderer: 'svg', ssr: true, width: 760, height: 60 + drawn.length * 42 });
  const bars = (name: 'inbound' | 'outbound', color: string) => ({
    name,
    type: 'bar' as const,
    itemStyle: { color },
    label: { show: true, position: 'right' as const, formatter: '{c}' },
    data: drawn.map((each) => {
      const cost = costsOf(name).find((other) => other.name === each.name);
      return Number(cost?.ratio?.toFixed(2) ?? 0);
    }),
  });
  view.setOption({
    animation: false,
    backgroundColor: '#ffffff',
    legend: { top: 0 },
    // Labels are wider than is reckoned without a browser's fonts.
    grid: { left: 70, right: 60, top: 30, bottom: 10, containLabel: true },
    xAxis: { type: 'value', name: '× this filter', nameLocation: 'end' },
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
  for (const { title, rows, note } of parts) {
    console.log(`\n${title}\n${columns(rows, ALIGN)}${note ? `\n${note}` : ''}`);
  }
  console.log(`\n${where(results)}`);
  const text = parts.map(({ title, rows, note }) => {
    const table = `### ${title[0].toUpperCase()}${title.slice(1)}\n\n${markdown(rows, ALIGN)}`;
    return note ? `${table}\n\n${note}` : table;
  });
  const folder = join(ROOT, 'build/bench');
  writeFileSync(join(folder, 'tables.md'), `${text.join('\n\n')}\n\n${where(results)}\n`);
  writeFileSync(join(folder, 'chart.svg'), chart(results));
  if (!intoDocs) return;
  writeFileSync(join(ROOT, 'docs/performance.svg'), chart(results));
  const shares = markdown(summary(results), ALIGN);
  put('docs/performance.md', 'benchmark', `${shares}\n\n${text.join('\n\n')}\n\n${where(results)}`);
  put('README.md', 'benchmark', sentence(results));
}

if (process.argv[1] === import.meta.filename) {
  const { flags } = readFlags({
    call: 'tsx bench/report.ts',
    about: 'Shows what was measured last: build/bench/results.json.',
    flags: { docs: toggle('writes the tables and the chart of the documentation anew') },
  });
  report(JSON.parse(readFileSync(join(ROOT, 'build/bench/results.json'), 'utf8')), flags.docs);
}
