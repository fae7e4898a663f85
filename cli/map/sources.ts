// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { ask, failure, urlOf } from '../ask.ts';
import { DURATION, LABELS, mapOf, REQUESTS, SERIES, type ServiceMap, TCP } from './edges.ts';
import { increase, numberOf, type Sample, type Series, samplesOf } from './samples.ts';

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
  url.search = `filter=${REQUESTS}|${DURATION}|istio_tcp_`;
  return url;
}

/** A series whose labels stand in its name: Envoy has not taken them out. */
const UNTAGGED = new RegExp(`^\\w*reporter\\w+(?:${REQUESTS}|${TCP.opened})\\b`, 'm');

/** What an Envoy has counted so far, and what is wrong with it, if anything is. `known`: see `samplesOf`. */
export async function countedBy(
  address: string,
  milliseconds?: number,
  known?: Series,
): Promise<{ samples: Sample[]; problem: string | undefined }> {
  const page = await ask(pageOf(address), { milliseconds });
  const missing = 'labels stand in the metrics’ names: its bootstrap needs Istio’s stats_tags';
  return { samples: samplesOf(page, 'istio_', known), problem: UNTAGGED.test(page) ? missing : undefined };
}

/** Asks Envoys twice, with some seconds between, or once for all since they started. */
export async function fromEnvoys(addresses: string[], seconds: number | null): Promise<Answer> {
  const problems = new Set<string>();
  const askAll = () =>
    Promise.all(
      addresses.map(async (address) => {
        try {
          const { samples, problem } = await countedBy(address);
          if (problem) problems.add(`${address}: ${problem}`);
          return samples;
        } catch (error) {
          problems.add(failure(address, error));
          return undefined;
        }
      }),
    );
  if (seconds === null) {
    const pages = await askAll();
    const all = pages.flatMap((page) => page ?? []);
    return { map: mapOf(all, null), problems: [...problems] };
  }
  const start = performance.now();
  const before = await askAll();
  await sleep(start + seconds * 1000 - performance.now());
  const between = (performance.now() - start) / 1000;
  const after = await askAll();
  // Who answered only once is left out: what it counted before is not known.
  const both = after.flatMap((page, i) => (page && before[i] ? [{ page, before: before[i] }] : []));
  const grown = both.flatMap(({ page, before }) => increase(before, page));
  const standing = both.flatMap(({ page }) => page);
  return { map: mapOf(grown, between, { standing }), problems: [...problems] };
}

interface Result {
  status: string;
  error?: string;
  data: { result: { metric: Record<string, string>; value: [number, string] }[] };
}

/**
 * What a Prometheus server's `rate()` says of the last seconds, or all that was ever counted; and the counters of
 * connections as they stand.
 */
export async function countedByPrometheus(
  address: string,
  seconds: number | null,
  moreLabels: string[] = [],
): Promise<{ samples: Sample[]; standing: Sample[] }> {
  const url = new URL(urlOf(address));
  url.pathname = `${url.pathname.replace(/\/$/, '')}/api/v1/query`;
  const query = async (name: string, over: number | null): Promise<Sample[]> => {
    const labels = [...LABELS, ...moreLabels, ...(name.endsWith('_bucket') ? ['le'] : [])];
    const counted = over === null ? name : `rate(${name}[${over}s]) * ${over}`;
    const body = new URLSearchParams({ query: `sum by (${labels.join(', ')}) (${counted})` });
    const { status, error, data } = JSON.parse(await ask(url, { body })) as Result;
    if (status !== 'success') throw new Error(error ?? status);
    return data.result.map(({ metric, value }) => ({ name, labels: metric, value: numberOf(value[1]) }));
  };
  const [samples, standing] = await Promise.all([
    Promise.all(SERIES.map((name) => query(name, seconds))),
    Promise.all([TCP.opened, TCP.closed].map((name) => query(name, null))),
  ]);
  return { samples: samples.flat(), standing: standing.flat() };
}

/** Asks a Prometheus server. */
export async function fromPrometheus(address: string, seconds: number | null): Promise<Answer> {
  try {
    const { samples, standing } = await countedByPrometheus(address, seconds);
    return { map: mapOf(samples, seconds, { standing }), problems: [] };
  } catch (error) {
    return { map: mapOf([], seconds), problems: [failure(address, error)] };
  }
}
