// SPDX-License-Identifier: Apache-2.0

/**
 * Prometheus' text format, as Envoy's `/stats/prometheus` writes it, to samples. Ours, since the one parser that npm
 * has and many use (parse-prometheus-text-format) loses the labels of histograms. Nothing of Node: a browser runs it.
 * https://prometheus.io/docs/instrumenting/exposition_formats
 */

/** One line of the page: a series, and its value. */
export interface Sample {
  name: string;
  labels: Record<string, string>;
  value: number;
}

const NAME = /[a-zA-Z_:][a-zA-Z0-9_:]*/y;
const LABEL = /([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\]|\\.)*)"[ \t]*/y;
const SPACE = /[ \t]*/y;
const VALUE = /^[ \t]+(\S+)(?:[ \t]+-?\d+)?[ \t\r]*$/;

/** Series by how they are written. Whoever reads one page after the other keeps it: most series are the same again. */
export type Series = Map<string, Pick<Sample, 'name' | 'labels'>>;

/**
 * The samples of a page whose names begin so; all other lines are not looked at. Throws if one of these is broken.
 * `known` has the series of the page before, and afterwards those of this one.
 */
export function samplesOf(page: string, prefix: string, known: Series = new Map()): Sample[] {
  const samples: Sample[] = [];
  const series: Series = new Map();
  for (const [i, line] of page.split('\n').entries()) {
    if (!line.startsWith(prefix)) continue;
    // What comes behind the labels has no brackets.
    const end = line.lastIndexOf('}') + 1;
    const sample = knownSample(known.get(line.slice(0, end)), line.slice(end)) ?? sampleOf(line);
    if (!sample) throw new Error(`line ${i + 1} is not a sample of Prometheus' text format`);
    samples.push(sample);
    series.set(line.slice(0, end), sample);
  }
  known.clear();
  for (const [line, { name, labels }] of series) if (line !== '') known.set(line, { name, labels });
  return samples;
}

/** A sample of a series that was read before. */
function knownSample(series: Pick<Sample, 'name' | 'labels'> | undefined, rest: string): Sample | undefined {
  const value = series && VALUE.exec(rest)?.[1];
  return series && value !== undefined ? { ...series, value: numberOf(value) } : undefined;
}

function sampleOf(line: string): Sample | undefined {
  NAME.lastIndex = 0;
  const [name] = NAME.exec(line) ?? [];
  if (name === undefined) return undefined;
  let at = name.length;
  const labels: Record<string, string> = {};
  if (line[at] === '{') {
    for (at = behindSpace(line, at + 1); line[at] !== '}'; ) {
      LABEL.lastIndex = at;
      const found = LABEL.exec(line);
      if (!found) return undefined;
      labels[found[1]] = found[2].replaceAll(/\\(.)/g, (_, letter) => (letter === 'n' ? '\n' : letter));
      at = LABEL.lastIndex;
      if (line[at] === ',') at = behindSpace(line, at + 1);
      else if (line[at] !== '}') return undefined;
    }
    at++;
  }
  const value = VALUE.exec(line.slice(at))?.[1];
  return value === undefined ? undefined : { name, labels, value: numberOf(value) };
}

function behindSpace(line: string, at: number): number {
  SPACE.lastIndex = at;
  SPACE.exec(line);
  return SPACE.lastIndex;
}

/** A number as Prometheus writes it: `+Inf` and `-Inf`, too. */
export function numberOf(text: string): number {
  return Number(text.replace(/^([+-]?)inf$/i, '$1Infinity'));
}

const written = new WeakMap<Sample['labels'], string>();

/** What a series is known by. */
function keyOf({ name, labels }: Sample): string {
  const known = written.get(labels) ?? JSON.stringify(Object.entries(labels).sort(([a], [b]) => (a < b ? -1 : 1)));
  written.set(labels, known);
  return name + known;
}

/**
 * How much the series of one Envoy have grown between two pages. One that is new began at 0, and so did one that has
 * become smaller: the Envoy has started anew.
 */
export function increase(before: Sample[], after: Sample[]): Sample[] {
  const old = new Map(before.map((sample) => [keyOf(sample), sample.value]));
  return after.map((sample) => {
    const was = old.get(keyOf(sample)) ?? 0;
    return { ...sample, value: sample.value < was ? sample.value : sample.value - was };
  });
}
