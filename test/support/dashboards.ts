// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import type { Prometheus } from './prometheus.ts';

/** Grafana's dashboards, read as Grafana reads them: panels with queries, and variables that are queries too. */

/** A query of a panel. */
export interface PanelQuery {
  panel: string;
  expr: string;
}

/** A variable of a dashboard. */
interface Variable {
  name: string;
  type: string;
  query: string;
  regex: string;
  multi: boolean;
  includeAll: boolean;
  current?: { value?: string | string[] };
}

/** A value for each variable. */
export type Selection = Record<string, string>;

/** Where a user has left all of something selected. */
const ALL = '$__all';

/** What Grafana itself puts into queries. Two scrapes must be in it, also on a slow machine. */
const OF_GRAFANA: Selection = { __rate_interval: '15s', __interval: '5s', __range: '60s' };

/** How far back a panel looks. */
const PANEL_SECONDS = 30;

// biome-ignore lint/suspicious/noExplicitAny: Grafana's JSON
type Json = any;

export class Dashboard {
  readonly title: string;
  readonly queries: PanelQuery[];
  readonly variables: Variable[];

  constructor(path: string) {
    const { title, panels, templating } = JSON.parse(readFileSync(path, 'utf8'));
    this.title = title;
    this.queries = panels.flatMap(queriesOf);
    this.variables = (templating?.list ?? []).map(
      ({ name, type, query, regex = '', multi = false, includeAll = false, current }: Json): Variable => {
        // Newer versions of Grafana write an object.
        return { name, type, query: query?.query ?? query, regex, multi, includeAll, current };
      },
    );
  }

  /**
   * Every selection that a user can make: of each variable with one value each of them in turn, and all of one that may
   * have several, unless the dashboard comes with another choice.
   */
  async selections(prometheus: Prometheus): Promise<Selection[]> {
    let selections: Selection[] = [{}];
    for (const variable of this.variables) {
      if (variable.type === 'datasource') continue;
      const next: Selection[] = [];
      for (const selection of selections) {
        const values = await valuesOf(variable, selection, prometheus);
        for (const value of choicesOf(variable, values)) next.push({ ...selection, [variable.name]: value });
      }
      selections = next;
    }
    return selections;
  }

  /** What each variable that is a query offers, in the order of its values. */
  async offers(prometheus: Prometheus): Promise<Record<string, string[]>> {
    const offers: Record<string, Set<string>> = {};
    const selections = await this.selections(prometheus);
    for (const variable of this.variables.filter(({ type }) => type === 'query')) {
      offers[variable.name] = new Set();
      for (const selection of selections) {
        for (const value of await valuesOf(variable, selection, prometheus)) offers[variable.name].add(value);
      }
    }
    return Object.fromEntries(Object.entries(offers).map(([name, values]) => [name, [...values].sort()]));
  }
}

function queriesOf({ title, panels, targets }: Json): PanelQuery[] {
  // A row has a target, too, but no query.
  const own = (targets ?? []).filter(({ expr }: Json) => expr).map(({ expr }: Json) => ({ panel: title, expr }));
  return [...own, ...(panels ?? []).flatMap(queriesOf)];
}

/** What a variable offers. */
async function valuesOf({ type, query, regex }: Variable, selection: Selection, prometheus: Prometheus) {
  if (type === 'custom') return query.split(',').map((each) => each.trim());
  const [, asked] = /^query_result\((.*)\)$/s.exec(query) ?? [];
  const [, metric, label] = /^label_values\((.*),\s*(\w+)\)$/s.exec(query) ?? [];
  if (label) {
    const found = await prometheus.query(`count by (${label}) (${filled(metric, selection)})`);
    return found.flatMap(({ metric }) => metric[label] ?? []);
  }
  if (!asked) throw new Error(`a variable of another kind: ${query}`);
  const found = await prometheus.query(filled(asked, selection));
  // As Grafana writes a result before it applies the expression.
  const lines = found.map(({ metric, values: [value] }) => {
    const labels = Object.entries(metric).map(([name, each]) => `${name}="${each}"`);
    return `{${labels.join(',')}} ${value} 0`;
  });
  const [, pattern] = /^\/(.*)\/$/.exec(regex) ?? [];
  return [...new Set(lines.flatMap((line) => new RegExp(pattern).exec(line)?.[1] ?? []))];
}

/** What a user can select, as it goes into a query. */
function choicesOf({ type, multi, includeAll, current }: Variable, values: string[]): string[] {
  const escaped = values.map((value) => value.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\\\$&'));
  const chosen = current?.value;
  if (includeAll || chosen === ALL) return [`(${escaped.join('|')})`];
  if (multi) return [type === 'custom' && chosen ? String(chosen) : `(${escaped.join('|')})`];
  return values;
}

/** A query with the values of its variables. */
export function filled(query: string, selection: Selection): string {
  const values: Selection = { ...OF_GRAFANA, ...selection };
  return query.replaceAll(/\$(\w+)|\$\{(\w+)\}/g, (text, plain, braced) => values[plain ?? braced] ?? text);
}

/** Whether a panel would show anything but zeros: a number above it, in any of its series. */
export function isAnswered(expr: string, selections: Selection[], prometheus: Prometheus): Promise<boolean> {
  return shows(expr, selections, prometheus, (value) => value > 0);
}

/** Whether a panel would show any numbers, and be it zeros. */
export function hasNumbers(expr: string, selections: Selection[], prometheus: Prometheus): Promise<boolean> {
  return shows(expr, selections, prometheus, () => true);
}

async function shows(
  expr: string,
  selections: Selection[],
  prometheus: Prometheus,
  holds: (value: number) => boolean,
): Promise<boolean> {
  for (const selection of selections) {
    const found = await prometheus.queryRange(filled(expr, selection), PANEL_SECONDS);
    if (found.some(({ values }) => values.some((value) => Number.isFinite(value) && holds(value)))) return true;
  }
  return false;
}
