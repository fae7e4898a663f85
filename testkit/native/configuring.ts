// SPDX-License-Identifier: Apache-2.0
import { type Case, CLIENT, CLIENT_SAID, HEADERS, ID, METADATA, NODE, OWN, READS, SKIPPING } from './case.ts';

/** Who is answered, and what a configuration may hold. */

export const ANSWERS: Case[] = [
  {
    what: 'a client that sent both headers',
    config: { ...READS, downstream_propagation: [HEADERS] },
    request: CLIENT,
    native: { server: null, client: OWN, downstream: { namespace: 'client' } },
    source: 'PeerMetadataTest.DownstreamMXDiscoveryPropagation',
  },
  {
    what: 'a client that sent its id alone',
    config: { ...READS, downstream_propagation: [HEADERS] },
    request: [ID, 'client-id'],
    native: { client: { id: NODE.id } },
    source: 'MXPropagationMethod::inject',
  },
  {
    what: 'a client whose headers are empty',
    config: { ...READS, downstream_propagation: [HEADERS] },
    request: [METADATA, '', ID, ''],
    native: { client: OWN, downstream: null },
    source: 'MXMethod::derivePeerInfo',
  },
  {
    what: 'a client that sent none',
    config: { ...READS, downstream_propagation: [HEADERS] },
    native: { client: null },
    source: 'PeerMetadataTest.DownstreamMXPropagation',
  },
  {
    what: '`downstream_propagation` alone',
    config: { downstream_propagation: [HEADERS] },
    request: CLIENT,
    native: { server: CLIENT_SAID, client: null },
    source: 'PeerMetadataTest.DownstreamMXPropagation',
    ours: { server: CLIENT_SAID, client: OWN, why: 'a list needs no other one' },
  },
];

export const CONFIGURATIONS: Case[] = [
  {
    what: 'nothing configured, before a server',
    config: {},
    direction: 'INBOUND',
    request: CLIENT,
    native: { server: CLIENT_SAID, client: null, downstream: null },
    source: 'PeerMetadataTest.None',
    ours: {
      server: null,
      client: OWN,
      downstream: { namespace: 'client' },
      why: 'the [listener’s direction](configure.md#with-nothing-configured) decides',
    },
  },
  {
    what: 'a method without a name',
    config: { downstream_discovery: [{}, HEADERS] },
    request: CLIENT,
    native: { downstream: { namespace: 'client' } },
    source: 'FilterConfig::buildDiscoveryMethods',
    ours: {
      downstream: { namespace: 'client' },
      warning: 'a method without a name',
      why: 'it does nothing either, and a warning says so',
    },
  },
  {
    what: '`skip_external_clusters` where a list reads',
    config: { downstream_discovery: [SKIPPING] },
    cluster: { external: true },
    request: CLIENT,
    native: { downstream: { namespace: 'client' } },
    source: 'FilterConfig::buildDiscoveryMethods',
    ours: {
      downstream: { namespace: 'client' },
      warning: 'skip_external_clusters of discovery',
      why: 'it does nothing either, and a warning says so',
    },
  },
  {
    what: '`workload_discovery`, and a client without headers',
    config: { downstream_discovery: [HEADERS, { workload_discovery: {} }] },
    native: { does: 'looks the client’s address up in the list of workloads that istiod sends' },
    source: 'PeerMetadataTest.DownstreamFallbackSecond',
    ours: {
      downstream: null,
      why: 'the same, from a cluster named `workload-discovery`; where that is missing, as here, the client stays unknown',
    },
  },
  {
    what: '`upstream_filter_state`',
    config: { upstream_discovery: [HEADERS, { upstream_filter_state: { peer_metadata_key: 'peer' } }] },
    native: { does: 'reads what a filter of the upstream connection left there' },
    source: 'UpstreamFilterStateMethod::derivePeerInfo',
    ours: {
      upstream: null,
      warning: 'upstream_filter_state',
      why: 'it is taken with a warning: a Wasm filter cannot read that',
    },
  },
  {
    what: '`shared_with_upstream`',
    config: { ...READS, shared_with_upstream: true },
    request: CLIENT,
    native: { downstream: { namespace: 'client' }, does: 'hands it on to the upstream connection' },
    source: 'FilterConfig::setFilterState',
    ours: {
      downstream: { namespace: 'client' },
      warning: 'shared_with_upstream',
      why: 'it is taken with a warning: a Wasm filter cannot share filter state with the upstream connection',
    },
  },
  {
    what: 'a field that neither knows, in a static configuration',
    config: { unknown: true },
    native: { refused: true },
    source: 'io.istio.http.peer_metadata.Config',
  },
];
