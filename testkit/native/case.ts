// SPDX-License-Identifier: Apache-2.0

import golden from '../golden/istio-wasm-plugin.json' with { type: 'json' };
import { struct } from '../struct.ts';

/**
 * What Istio's native filter does, and what this one does: docs/migrate.md shows it as tables. `native` is what its own
 * tests expect, or what was read in its source; each case names the place. What this filter does is not only written
 * down: test/envoy/native.test.ts runs each case on a real Envoy.
 */

/** The commits of envoyproxy/envoy at which each file under contrib/istio/filters was read. */
export const SOURCES = {
  'http/peer_metadata/source/peer_metadata.cc': '0bd17f59d089bdc5e7ca47e87f631cfb1bc7e7b1',
  'common/source/metadata_object.cc': '2d58737df8a70581fa83007471a5bf767a25cd9e',
  'http/peer_metadata/test/filter_test.cc': '4081c06bad416f3f21d9c40f7548e48f65b17305',
  'common/test/metadata_object_test.cc': '1a5038be69c174c48e2ee36484b6bca846900cdf',
};

/** A peer in the native filter's words: the fields of `downstream_peer` and `upstream_peer`. */
export type Peer = Record<string, string>;

/** Headers of the exchange in a message. Baggage counts only where it is not what the sender put there. */
export interface Told {
  /** What the metadata header says, keys in order. */
  metadata?: object;
  id?: string;
  baggage?: string;
}

/** What the last request of a case shows. What is `null` is not there; what is not named neither, and is not shown. */
export interface Outcome {
  /** What the server gets. */
  server?: Told | null;
  /** What the client gets. */
  client?: Told | null;
  /** Who the client is: `{}` is a peer without a field. */
  downstream?: Peer | null;
  /** Who the server is. */
  upstream?: Peer | null;
  /** Envoy does not start. */
  refused?: true;
}

export interface Case {
  what: string;
  /** As the native filter has it; ours has `dialect: istio` beside. Several are filters in a chain, in order. */
  config: object | object[];
  direction?: 'INBOUND';
  /** The proxy's node: `NODE` unless told. */
  node?: object;
  /** Fields of the cluster's metadata `istio`. */
  cluster?: object;
  /** The cluster is the PassthroughCluster. */
  passthrough?: true;
  /** Headers of the request, names and values in turn. */
  request?: string[];
  /** Headers of a request before it. */
  before?: string[];
  /** Headers of the server's response. */
  response?: string[];
  /** `does` says what no single request shows. */
  native: Outcome & { does?: string };
  /** A test of native's, or the function that was read. */
  source: string;
  /** Where this filter is different: what it does, and why. `warning` is what its log names as without effect. */
  ours?: Outcome & { why: string; warning?: string };
}

export const METADATA = 'x-envoy-peer-metadata';
export const ID = 'x-envoy-peer-metadata-id';

/** What the proxy is unless told, and what it says of itself. */
export const NODE = { id: 'own-id', metadata: { NAME: 'reviews-1', NAMESPACE: 'books' } };
export const OWN: Told = { metadata: { LABELS: {}, NAME: 'reviews-1', NAMESPACE: 'books' }, id: NODE.id };
export const OWN_BAGGAGE = 'k8s.namespace.name=books,k8s.instance.name=reviews-1';

/** Envoy's Node that Istio's tests have, and what each of the filters makes of it. */
export const SAMPLE = { id: NODE.id, metadata: golden.decoded };
export const SAMPLE_LABELS = {
  app: 'productpage',
  'service.istio.io/canonical-name': 'productpage-v1',
  'service.istio.io/canonical-revision': 'version-1',
};
export const sampleSays = (labels: object) => ({
  CLUSTER_ID: 'client-cluster',
  LABELS: labels,
  NAME: golden.decoded.NAME,
  NAMESPACE: 'default',
  OWNER: golden.decoded.OWNER,
  WORKLOAD_NAME: 'productpage-v1',
});
export const SAMPLE_PEER: Peer = {
  namespace: 'default',
  workload: 'productpage-v1',
  type: 'deployment',
  name: golden.decoded.NAME,
  cluster: 'client-cluster',
  service: 'productpage-v1',
  revision: 'version-1',
  app: 'productpage',
  version: 'v1',
};

/** The headers of Istio's own wire, and short ones. */
export const SAMPLE_HEADERS = [METADATA, golden.headers[METADATA], ID, golden.headers[ID]];
export const said = (metadata: object) => [METADATA, struct.header(metadata), ID, 'client-id'];
export const CLIENT = said({ NAMESPACE: 'client' });
export const CLIENT_SAID: Told = { metadata: { NAMESPACE: 'client' }, id: 'client-id' };

export const HEADERS = { istio_headers: {} };
export const BAGGAGE = { baggage: {} };
export const SKIPPING = { istio_headers: { skip_external_clusters: true } };
export const TELLS = { upstream_propagation: [HEADERS] };
export const TELLS_IN_BAGGAGE = { upstream_propagation: [BAGGAGE] };
export const SKIPS = { upstream_propagation: [SKIPPING] };
export const READS = { downstream_discovery: [HEADERS] };
export const READS_BAGGAGE = { downstream_discovery: [BAGGAGE] };
export const READS_BOTH = { downstream_discovery: [HEADERS, BAGGAGE] };
export const ANSWERS_IN_BAGGAGE = { downstream_propagation: [BAGGAGE] };
