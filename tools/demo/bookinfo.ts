// SPDX-License-Identifier: Apache-2.0
import type { Reply } from '../../testkit/http.ts';
import type { Named } from '../../testkit/xds/server.ts';

/**
 * Istio's sample Bookinfo, made small: who is there, whom they call, and what they answer.
 *
 *     gateway → productpage → details ← stock-report
 *                                     → books-api
 *                           → reviews-v1
 *                           → reviews-v2, reviews-v3 → ratings → ratings-db, by TCP
 *
 * books-api and stock-report have no sidecar.
 */

/** What an application can do: ask another service through its own sidecar. */
export type Ask = (service: string, path: string) => Promise<{ status: number; body: string }>;

/** Looks a key up in the database, through the own sidecar. */
export type LookUp = (key: string) => Promise<string>;

/** What an application answers to its n-th request, beginning with 0. */
export type Answering = (ask: Ask, n: number, lookUp: LookUp) => Reply | Promise<Reply>;

/** A workload with a sidecar. */
export interface Workload {
  /** As its deployment is called. */
  name: string;
  /** The service that it belongs to. */
  service: string;
  version: string;
  /** Its pod's address and the end of its pod's name. */
  address: string;
  pod: string;
  /** The services that it calls. */
  calls: string[];
  /** A gateway has no application: its callers are the world's. Nor has a database, which speaks no HTTP. */
  answer?: Answering;
  /** What a database has, by its keys. */
  entries?: Record<string, string>;
}

/** Milliseconds, more or less. */
const work = (milliseconds: number) =>
  new Promise<void>((resolve) => setTimeout(resolve, milliseconds * (0.5 + Math.random())));

/** One in so many requests to reviews-v3 fails, and one is slow. */
const FAILS_EACH = 8;
const SLOW_EACH = 20;

const reviews = (stars: string) => {
  return async (ask: Ask): Promise<Reply> => {
    await work(4);
    const { status } = await ask('ratings', '/ratings/0');
    return { body: status === 200 ? `Entertaining, ${stars}` : 'Entertaining, ratings are not available' };
  };
};

/** All that have a sidecar and speak HTTP: whom one calls stands before it. */
export const WORKLOADS: Workload[] = [
  {
    name: 'ratings-v1',
    service: 'ratings',
    version: 'v1',
    address: '10.52.0.51',
    pod: '6665579f5f-x2x5c',
    calls: [],
    async answer(_ask, _n, lookUp) {
      return { body: await lookUp('ratings:0') };
    },
  },
  {
    name: 'details-v1',
    service: 'details',
    version: 'v1',
    address: '10.52.0.31',
    pod: '5f4d584748-lz6qk',
    calls: ['books-api'],
    async answer(ask) {
      await work(2);
      const { body } = await ask('books-api', '/books/0');
      return { body: `The Comedy of Errors, ${body}` };
    },
  },
  {
    name: 'reviews-v1',
    service: 'reviews',
    version: 'v1',
    address: '10.52.0.41',
    pod: '7b6b8f5d4c-k9xlm',
    calls: ['ratings'],
    async answer() {
      await work(4);
      return { body: 'Entertaining' };
    },
  },
  {
    name: 'reviews-v2',
    service: 'reviews',
    version: 'v2',
    address: '10.52.0.42',
    pod: '5b6d8c7f9b-h4wmt',
    calls: ['ratings'],
    answer: reviews('black stars'),
  },
  {
    name: 'reviews-v3',
    service: 'reviews',
    version: 'v3',
    address: '10.52.0.43',
    pod: '6f8c9d5b7d-r7vnp',
    calls: ['ratings'],
    async answer(ask, n) {
      if (n % FAILS_EACH === FAILS_EACH - 1) return { status: 500, body: 'no stars tonight' };
      if (n % SLOW_EACH === SLOW_EACH - 2) await work(120);
      return await reviews('red stars')(ask);
    },
  },
  {
    name: 'productpage-v1',
    service: 'productpage',
    version: 'v1',
    address: '10.52.0.34',
    pod: '84975bc778-pxz2w',
    calls: ['details', 'reviews'],
    async answer(ask) {
      const parts = await Promise.all([ask('details', '/details/0'), ask('reviews', '/reviews/0')]);
      return { body: parts.map(({ status, body }) => (status === 200 ? body : 'not available')).join('\n') };
    },
  },
  {
    name: 'bookinfo-gateway',
    service: 'bookinfo-gateway',
    version: 'v1',
    address: '10.52.0.9',
    pod: '6c8d5b7f9d-m4t2q',
    calls: ['productpage'],
  },
];

/** The database, which is called by TCP. Its sidecar reads prefaces, and its endpoint says so to others. */
export const DATABASE: Workload = {
  name: 'ratings-db-v1',
  service: 'ratings-db',
  version: 'v1',
  address: '10.52.0.61',
  pod: '6f9b8c7d5e-t8q2w',
  calls: [],
  entries: { 'ratings:0': '5 stars' },
};
export const DATABASE_CALLER = 'ratings-v1';
export const READS_PREFACES = { 'envoy.wasm.metadata_exchange': { preface: true } };

/** A server without a sidecar: it is known by what the control plane writes on its endpoint. */
export const BOOKS = {
  name: 'books-api-v1',
  service: 'books-api',
  caller: 'details-v1',
  answer: async (): Promise<Reply> => {
    await work(1);
    return { body: '200 pages' };
  },
  clusterMetadata: { istio: { external: true } },
  /** As istiod writes it: workload, namespace, service, revision and cluster. */
  endpointMetadata: { istio: { workload: 'books-api-v1;default;books-api;v1;cluster-1' } },
};

/** A client without a sidecar: it is known by its address, by what the control plane tells of workloads. */
export const REPORT = {
  name: 'stock-report',
  calls: 'details',
  server: 'details-v1',
  address: '127.0.0.5',
  workload: {
    uid: 'cluster-1//Pod/default/stock-report-29401380-v8k4d',
    name: 'stock-report-29401380-v8k4d',
    namespace: 'default',
    addresses: ['127.0.0.5'],
    workloadType: 'CRONJOB',
    workloadName: 'stock-report',
    canonicalName: 'stock-report',
    canonicalRevision: 'v1',
    clusterId: 'cluster-1',
  } satisfies Named,
};

/** What a workload's proxy says of itself: the node's id, cluster and metadata, as Istio's injection writes them. */
export function nodeOf({ name, service, version, address, pod, answer, entries }: Workload) {
  const id = `${name}-${pod}`;
  return {
    id: `${answer || entries ? 'sidecar' : 'router'}~${address}~${id}.default~default.svc.cluster.local`,
    cluster: `${service}.default`,
    metadata: {
      'istio.io/metadata': {
        NAME: id,
        NAMESPACE: 'default',
        WORKLOAD_NAME: name,
        OWNER: `kubernetes://apis/apps/v1/namespaces/default/deployments/${name}`,
        CLUSTER_ID: 'cluster-1',
        MESH_ID: 'bookinfo.example',
        SERVICE_ACCOUNT: `bookinfo-${service}`,
        LABELS: {
          app: service,
          version,
          'pod-template-hash': pod.split('-')[0],
          'service.istio.io/canonical-name': service,
          'service.istio.io/canonical-revision': version,
        },
      },
    },
  };
}

/** The edges that must be on the map, and whether both ends have a proxy that counts. */
export interface Expected {
  from: string;
  to: string;
  /** Who tells of it: `source`, `destination`, or both. */
  by: ('source' | 'destination')[];
}

/** All edges of Bookinfo, with or without those of the client that has no sidecar. */
export function expectedEdges(withReport: boolean): Expected[] {
  const both = (from: string, to: string): Expected => ({ from, to, by: ['source', 'destination'] });
  return [
    both('bookinfo-gateway', 'productpage-v1'),
    both('productpage-v1', 'details-v1'),
    both('productpage-v1', 'reviews-v1'),
    both('productpage-v1', 'reviews-v2'),
    both('productpage-v1', 'reviews-v3'),
    both('reviews-v2', 'ratings-v1'),
    both('reviews-v3', 'ratings-v1'),
    both(DATABASE_CALLER, DATABASE.name),
    { from: BOOKS.caller, to: BOOKS.name, by: ['source'] },
    ...(withReport ? [{ from: REPORT.name, to: REPORT.server, by: ['destination' as const] }] : []),
  ];
}
