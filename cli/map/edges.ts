// SPDX-License-Identifier: Apache-2.0
import { numberOf, type Sample } from './samples.ts';

/**
 * Who calls whom, from Istio's standard metrics. Samples of any number of proxies come in, one edge for each pair of
 * workloads goes out. Nothing of Node: a browser runs it. https://istio.io/latest/docs/reference/config/metrics
 */

/** The counter of requests. */
export const REQUESTS = 'istio_requests_total';
/** The histogram of how long they took; `_bucket` is what is read of it. */
export const DURATION = 'istio_request_duration_milliseconds';

/** The counters of TCP connections, and of their bytes: `received` from the client, `sent` to it. */
export const TCP = {
  opened: 'istio_tcp_connections_opened_total',
  closed: 'istio_tcp_connections_closed_total',
  received: 'istio_tcp_received_bytes_total',
  sent: 'istio_tcp_sent_bytes_total',
} as const;

/** What each series is called that edges are made of. */
export const SERIES: string[] = [REQUESTS, `${DURATION}_bucket`, ...Object.values(TCP)];

/** The labels that an edge is made of. All others only split what is added up here. */
export const LABELS = [
  'reporter',
  'source_workload',
  'source_workload_namespace',
  'source_canonical_service',
  'destination_workload',
  'destination_workload_namespace',
  'destination_canonical_service',
  'destination_service',
  'request_protocol',
  'response_code',
  'grpc_response_status',
];

/** The labels that have the ends' versions. */
export const VERSIONS = [
  'source_version',
  'source_canonical_revision',
  'destination_version',
  'destination_canonical_revision',
];

/** One end of an edge. */
export interface Peer {
  /**
   * `workload` is the usual one. `service`: nobody said which workload it was, and it is known by the service's name.
   * `unknown`: not even that.
   */
  kind: 'workload' | 'service' | 'unknown';
  name: string;
  /** `unknown` where nobody said. */
  namespace: string;
  /** Where versions were asked for: empty if nobody said. */
  version?: string;
}

/** What there is to say of TCP. */
export interface Connections {
  /** How many were opened: in the time that was looked at, or ever. */
  opened: number;
  /** How many are open now. */
  open: number;
  /** Bytes from the client, and to it: in that time, or ever. */
  received: number;
  sent: number;
}

/** One workload that calls another one. */
export interface Edge {
  source: Peer;
  destination: Peer;
  /** `http`, `grpc` or `tcp`. */
  protocol: string;
  /** Whose numbers these are: `source`, the client's proxy, or `destination`, the server's. */
  reporter: string;
  /** All who told of it. Their numbers are not added up. */
  seen_by: string[];
  /** How many there were: in the time that was looked at, or ever. */
  requests: number;
  /** A second; null where no time was looked at. */
  rate: number | null;
  /** How many of them failed: see `isError`. */
  errors: number;
  /** Milliseconds that half of the requests took at most, and 99 of 100; null where nobody knows. */
  p50: number | null;
  p99: number | null;
  /** null where there were requests, and not connections. */
  connections: Connections | null;
}

/** The map: edges, by the names of who calls and who is called. */
export interface ServiceMap {
  /** The time that was looked at; null for all since the proxies started. */
  seconds: number | null;
  edges: Edge[];
}

/** Whose numbers count where several tell of the same edge: the first of these that saw a request. */
const PREFERRED = ['source', 'destination', 'waypoint'];

/** gRPC's codes that are the server's fault, as OpenTelemetry counts them. gRPC answers 200 to failures, too. */
const GRPC_ERRORS = new Set(['2', '4', '12', '13', '14', '15']);

/**
 * Whether a request failed: its code is 500 to 599, or 0, which is no answer at all; or gRPC's status is UNKNOWN,
 * DEADLINE_EXCEEDED, UNIMPLEMENTED, INTERNAL, UNAVAILABLE or DATA_LOSS.
 */
export function isError(labels: Sample['labels']): boolean {
  const { response_code: code = '', grpc_response_status: grpc = '' } = labels;
  return code === '0' || /^5\d\d$/.test(code) || GRPC_ERRORS.has(grpc);
}

const isKnown = (value: string | undefined): value is string => !['', '-', 'unknown', undefined].includes(value);

/** Who is at one side of a series. */
export function peerOf(labels: Sample['labels'], side: 'source' | 'destination'): Peer {
  const { [`${side}_workload`]: workload, [`${side}_workload_namespace`]: within } = labels;
  const namespace = isKnown(within) ? within : 'unknown';
  if (isKnown(workload)) return { kind: 'workload', name: workload, namespace };
  const service = [labels[`${side}_canonical_service`], labels[`${side}_service`]].find(isKnown);
  return service ? { kind: 'service', name: service, namespace } : { kind: 'unknown', name: 'unknown', namespace };
}

/** Its version, or else its revision, for which Istio writes `latest` where a workload has none. */
export function versionOf(labels: Sample['labels'], side: 'source' | 'destination'): string {
  const [version, revision] = [labels[`${side}_version`], labels[`${side}_canonical_revision`]];
  if (isKnown(version)) return version;
  return isKnown(revision) && revision !== 'latest' ? revision : '';
}

/** Gives a peer its version, if that is asked for. Who has only one is of that one, whoever does not say so. */
function withVersions(samples: Sample[]): (labels: Sample['labels'], side: 'source' | 'destination') => Peer {
  const known = new Map<string, Set<string>>();
  for (const { labels } of samples) {
    for (const side of ['source', 'destination'] as const) {
      const version = versionOf(labels, side);
      if (version) found(known, JSON.stringify(peerOf(labels, side)), () => new Set()).add(version);
    }
  }
  return (labels, side) => {
    const peer = peerOf(labels, side);
    if (peer.kind === 'unknown') return { ...peer, version: '' };
    const versions = known.get(JSON.stringify(peer)) ?? new Set();
    return { ...peer, version: versionOf(labels, side) || (versions.size === 1 ? [...versions][0] : '') };
  };
}

/** A histogram: how many values there are up to a bound, by the bound. Infinity is one of them. */
export type Buckets = Map<number, number>;

/** What one reporter tells of one edge. */
interface Story {
  requests: number;
  errors: number;
  buckets: Buckets;
  /** By the names of the counters. */
  connections: Record<keyof typeof TCP | 'open', number>;
}

function newStory(): Story {
  return {
    requests: 0,
    errors: 0,
    buckets: new Map(),
    connections: { opened: 0, closed: 0, received: 0, sent: 0, open: 0 },
  };
}

interface Told {
  source: Peer;
  destination: Peer;
  protocol: string;
  by: Map<string, Story>;
}

export interface MapOptions {
  /** The counters as they stand, from which it follows how many connections are open; the samples unless told. */
  standing?: Sample[];
  /** Workloads of several versions are several: peers have a version then. */
  byVersion?: boolean;
}

const TCP_FIELDS = new Map(Object.entries(TCP).map(([field, name]) => [name as string, field as keyof typeof TCP]));

/**
 * The map of samples: how much counters grew in some seconds, or, with `seconds` null, as they stand. Samples of other
 * metrics are left alone.
 */
export function mapOf(samples: Sample[], seconds: number | null, options: MapOptions = {}): ServiceMap {
  const { standing = samples, byVersion = false } = options;
  const told = new Map<string, Told>();
  const endOf = byVersion ? withVersions([...samples, ...standing]) : peerOf;
  const storyOf = (labels: Sample['labels']) => {
    const source = endOf(labels, 'source');
    const destination = endOf(labels, 'destination');
    const protocol = isKnown(labels.request_protocol) ? labels.request_protocol : 'unknown';
    const key = JSON.stringify([source, destination, protocol]);
    const edge = found(told, key, () => ({ source, destination, protocol, by: new Map() }));
    return found(edge.by, labels.reporter ?? 'unknown', newStory);
  };
  for (const { name, labels, value } of samples) {
    if (!SERIES.includes(name) || !Number.isFinite(value)) continue;
    const story = storyOf(labels);
    const field = TCP_FIELDS.get(name);
    if (field) {
      story.connections[field] += value;
    } else if (name === REQUESTS) {
      story.requests += value;
      if (isError(labels)) story.errors += value;
    } else {
      const most = numberOf(labels.le ?? '');
      if (!Number.isNaN(most)) story.buckets.set(most, (story.buckets.get(most) ?? 0) + value);
    }
  }
  for (const { name, labels, value } of standing) {
    if (!Number.isFinite(value)) continue;
    if (name === TCP.opened) storyOf(labels).connections.open += value;
    if (name === TCP.closed) storyOf(labels).connections.open -= value;
  }
  return { seconds: rounded(seconds), edges: [...told.values()].map((each) => edgeOf(each, seconds)).sort(byNames) };
}

/** What a map has under a key; if there is nothing, it is made. */
function found<T>(map: Map<string, T>, key: string, make: () => T): T {
  const value = map.get(key) ?? make();
  map.set(key, value);
  return value;
}

/** The lower, the rather its numbers count. */
function rankOf(reporter: string): number {
  const rank = PREFERRED.indexOf(reporter);
  return rank < 0 ? PREFERRED.length : rank;
}

/** Whether anything happened. */
function isBusy({ requests, connections: { opened, open, received, sent } }: Story): boolean {
  return requests > 0 || [opened, open, received, sent].some((value) => value > 0);
}

function edgeOf({ by, ...ends }: Told, seconds: number | null): Edge {
  const seen_by = [...by.keys()].sort((a, b) => rankOf(a) - rankOf(b) || (a < b ? -1 : 1));
  const reporter = seen_by.find((each) => isBusy(by.get(each) as Story)) ?? seen_by[0];
  const { requests, errors, buckets, connections } = by.get(reporter) as Story;
  const { opened, open, received, sent } = connections;
  const isTcp = ends.protocol === 'tcp';
  return {
    ...ends,
    reporter,
    seen_by,
    requests: rounded(requests),
    rate: rounded(seconds === null ? null : requests / seconds),
    errors: rounded(errors),
    p50: rounded(quantile(0.5, buckets)),
    p99: rounded(quantile(0.99, buckets)),
    // Counters are read one after the other: a connection may be closed before it was opened.
    connections: isTcp
      ? { opened: rounded(opened), open: Math.max(0, open), received: rounded(received), sent: rounded(sent) }
      : null,
  };
}

/** Three digits behind the point: more would be noise. */
function rounded<T extends number | null>(value: T): T {
  return (value === null ? null : Math.round(value * 1000) / 1000) as T;
}

function byNames(a: Edge, b: Edge): number {
  const names = (edge: Edge) =>
    [edge.source, edge.destination].flatMap(({ namespace, name, version = '' }) => [namespace, name, version]);
  const [of, than] = [
    [...names(a), a.protocol],
    [...names(b), b.protocol],
  ];
  const i = of.findIndex((each, i) => each !== than[i]);
  return i < 0 ? 0 : of[i] < than[i] ? -1 : 1;
}

/**
 * The value that this part of all values does not exceed, as Prometheus' `histogram_quantile` estimates it: values are
 * taken to lie evenly in their bucket. Beyond the last bound it is that bound. null if there is no value.
 */
export function quantile(part: number, buckets: Buckets): number | null {
  const bounds = [...buckets.keys()].sort((a, b) => a - b);
  const total = buckets.get(Number.POSITIVE_INFINITY) ?? 0;
  if (!(total > 0)) return null;
  const rank = part * total;
  let [below, lower] = [0, 0];
  for (const bound of bounds) {
    // Where proxies have different bounds a sum may be smaller than the one before it.
    const upTo = Math.max(below, buckets.get(bound) ?? 0);
    if (upTo >= rank && upTo > below) {
      if (bound === Number.POSITIVE_INFINITY) return lower;
      return lower + ((bound - lower) * (rank - below)) / (upTo - below);
    }
    [below, lower] = [upTo, bound];
  }
  return lower;
}
