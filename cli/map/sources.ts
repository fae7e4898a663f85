// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, failure, urlOf } from '../ask.ts';
import { DURATION, LABELS, mapOf, REQUESTS, type ServiceMap } from './edges.ts';
import { increase, numberOf, type Sample, samplesOf } from './samples.ts';

/** Where maps come from: the pages of Envoys, and Prometheus servers. */

/** A map, and what its reader should know about how it was made: one line each. */
export interface Answer {
  map: ServiceMap;
  problems: string[];
}

/** The page of an Envoy: `host:port`, `http://host:port`, or a page's whole address. */
function pageOf(address: string): URL {
  const url = new URL(urlOf(address));
  if (url.pathname !== '/' || url.search) return url;
  url.pathname = '/stats/prometheus';
  // Envoy's other metrics are many; a server that knows no filter sends them all.
  url.search = `filter=${REQUESTS}|${DURATION}`;
  return url;
}

/** A series whose labels stand in its name: Envoy has not taken them out. */
const UNTAGGED = new RegExp(`^\\w*reporter\\w+${REQUESTS}\\b`, 'm');

/** Asks Envoys twice, with some seconds between, or once for all since they started. */
export async function fromEnvoys(addresses: string[], seconds: number | null): Promise<Answer> {
  const problems = new Set<string>();
  const askAll = () =>
    Promise.all(
      addresses.map(async (address) => {
        try {
          const page = await ask(pageOf(address));
          if (UNTAGGED.test(page)) {
            problems.add(`${address}: labels stand in the metrics’ names: its bootstrap needs Istio’s stats_tags`);
          }
          return samplesOf(page, 'istio_');
        } catch (error) {
          problems.add(failure(address, error));
          return undefined;
        }
      }),
    );
  if (seconds === null) {
    const pages = await askAll();
    return {
      map: mapOf(
        pages.flatMap((page) => page ?? []),
        null,
      ),
      problems: [...problems],
    };
  }
  const start = performance.now();
  const before = await askAll();
  await sleep(start + seconds * 1000 - performance.now());
  const between = (performance.now() - start) / 1000;
  const after = await askAll();
  // Who answered only once is left out: what it counted before is not known.
  const grown = after.flatMap((page, i) => (page && before[i] ? increase(before[i], page) : []));
  return { map: mapOf(grown, between), problems: [...problems] };
}

interface Result {
  status: string;
  error?: string;
  data: { result: { metric: Record<string, string>; value: [number, string] }[] };
}

/** Asks a Prometheus server for what its `rate()` says of the last seconds, or for all that was ever counted. */
export async function fromPrometheus(address: string, seconds: number | null): Promise<Answer> {
  const url = new URL(urlOf(address));
  url.pathname = `${url.pathname.replace(/\/$/, '')}/api/v1/query`;
  const query = async (name: string, labels: string[]): Promise<Sample[]> => {
    const counted = seconds === null ? name : `rate(${name}[${seconds}s]) * ${seconds}`;
    const text = await ask(url, new URLSearchParams({ query: `sum by (${labels.join(', ')}) (${counted})` }));
    const { status, error, data } = JSON.parse(text) as Result;
    if (status !== 'success') throw new Error(error ?? status);
    return data.result.map(({ metric, value }) => ({ name, labels: metric, value: numberOf(value[1]) }));
  };
  try {
    const found = await Promise.all([query(REQUESTS, LABELS), query(`${DURATION}_bucket`, [...LABELS, 'le'])]);
    return { map: mapOf(found.flat(), seconds), problems: [] };
  } catch (error) {
    return { map: mapOf([], seconds), problems: [failure(address, error)] };
  }
}
