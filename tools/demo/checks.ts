// SPDX-License-Identifier: Apache-2.0
import { DURATION, type Edge, mapOf, REQUESTS } from '../../cli/map/edges.ts';
import type { Sample } from '../../cli/map/samples.ts';
import type { Expected } from './bookinfo.ts';
import type { Check } from './screen.ts';

/** Whether the map is what it must be: by the edges that Bookinfo has, and by what the applications counted. */

/** What an application knows of its own requests. */
export interface Told {
  name: string;
  requests: number;
  /** How many of them it answered with 500. */
  failures: number;
}

const nameOf = ({ source, destination }: Edge) => `${source.name} → ${destination.name}`;
const isNamed = ({ source, destination }: Edge) => source.kind === 'workload' && destination.kind === 'workload';

/** Compares all that the sidecars ever counted with what must be there. */
export function checksOf(samples: Sample[], expected: Expected[], applications: Told[]): Check[] {
  const by = (reporter: string) => {
    const { edges } = mapOf(
      samples.filter(({ labels }) => labels.reporter === reporter),
      null,
    );
    return new Map(edges.map((edge) => [nameOf(edge), edge]));
  };
  const told = { source: by('source'), destination: by('destination') };
  const { edges } = mapOf(samples, null);
  const wanted = expected.map((each) => ({ ...each, name: `${each.from} → ${each.to}` }));

  const missing = wanted.flatMap(({ name, by }) => {
    const silent = by.filter((reporter) => !told[reporter].has(name));
    if (silent.length === by.length) return [`${name} is not there`];
    return silent.map((reporter) => `${name}: the ${reporter}'s sidecar does not tell of it`);
  });
  const names = new Set(wanted.map(({ name }) => name));
  const strange = edges.filter((edge) => !isNamed(edge) || !names.has(nameOf(edge)));

  const differing = wanted.flatMap(({ name }) => {
    const [source, destination] = [told.source.get(name), told.destination.get(name)];
    if (!source || !destination) return [];
    return [
      ...compared(`${name}, requests`, countOf(source), countOf(destination)),
      ...compared(`${name}, errors`, source.errors, destination.errors),
      ...compared(`${name}, bytes there`, source.connections?.received ?? 0, destination.connections?.received ?? 0),
      ...compared(`${name}, bytes back`, source.connections?.sent ?? 0, destination.connections?.sent ?? 0),
    ];
  });

  const uncounted = applications.flatMap(({ name, requests, failures }) => {
    const to = edges.filter(({ destination }) => destination.name === name);
    const sum = (of: (edge: Edge) => number) => to.reduce((total, edge) => total + of(edge), 0);
    return [
      ...differs(`${name} had ${requests} requests`, requests, sum(countOf)),
      ...differs(
        `${name} failed ${failures} times`,
        failures,
        sum(({ errors }) => errors),
      ),
    ];
  });
  const total = (metric: string) =>
    samples.filter(({ name }) => name === metric).reduce((sum, { value }) => sum + value, 0);

  return [
    {
      what: `all ${expected.length} edges are there, with the names of both ends, and no others`,
      problems: [...missing, ...strange.map((edge) => `${nameOf(edge)} should not be there`)],
    },
    { what: 'the sidecars of both ends have counted the same', problems: differing },
    {
      what: 'the sidecars have counted what the applications have counted, and each duration',
      problems: [...uncounted, ...differs('durations', total(REQUESTS), total(`${DURATION}_count`))],
    },
  ];
}

/** How often the one called the other. */
const countOf = ({ requests, connections }: Edge) => connections?.opened ?? requests;

function compared(what: string, source: number, destination: number): string[] {
  return source === destination ? [] : [`${what}: ${source} by the source, ${destination} by the destination`];
}

function differs(what: string, wanted: number, counted: number): string[] {
  return wanted === counted ? [] : [`${what}: ${counted} of ${wanted} were counted`];
}
