// SPDX-License-Identifier: Apache-2.0
import {
  BAGGAGE,
  type Case,
  CLIENT,
  HEADERS,
  ID,
  METADATA,
  type Peer,
  READS,
  READS_BAGGAGE,
  READS_BOTH,
  SAMPLE_HEADERS,
  SAMPLE_PEER,
  said,
} from './case.ts';

/** Who the peers are by what they said. */

/** Baggage of a request, and who the client is by it. */
const byBaggage = (what: string, baggage: string, downstream: Peer): Case => ({
  what,
  config: READS_BAGGAGE,
  request: ['baggage', baggage],
  native: { downstream },
  source: what.startsWith('the') ? 'convertBaggageToWorkloadMetadata' : 'WorkloadMetadataObjectTest.Conversion',
});

export const CLIENTS: Case[] = [
  {
    what: 'the headers of Istio’s own wire',
    config: READS,
    request: SAMPLE_HEADERS,
    native: { server: null, downstream: SAMPLE_PEER },
    source: 'PeerMetadataTest.DownstreamMX',
  },
  {
    what: 'the same, with a label more asked for',
    config: { ...READS, additional_labels: ['team'] },
    request: SAMPLE_HEADERS,
    native: { downstream: { ...SAMPLE_PEER, 'labels.team': 'storefront-payments' } },
    source: 'WorkloadMetadataObjectTest.ConversionWithLabels',
  },
  {
    what: 'no headers',
    config: READS,
    native: { downstream: null },
    source: 'PeerMetadataTest.DownstreamMXEmpty',
  },
  {
    what: 'labels that Kubernetes recommends',
    config: READS,
    request: said({
      LABELS: { app: 'a', 'app.kubernetes.io/name': 'shop', 'app.kubernetes.io/version': 'v2', version: 'v1' },
    }),
    native: { downstream: { app: 'shop', version: 'v2' } },
    source: 'convertStructToWorkloadMetadata',
  },
  {
    what: 'the first copy of the metadata header is empty',
    config: READS,
    request: [METADATA, '', ...CLIENT],
    native: { server: null, downstream: null },
    source: 'MXMethod::derivePeerInfo',
    ours: {
      server: null,
      downstream: { namespace: 'client' },
      why: 'of several copies the first that is not empty is read',
    },
  },
  {
    what: 'a metadata header that is not base64, and baggage',
    config: READS_BOTH,
    request: [METADATA, '!!!', 'baggage', 'k8s.namespace.name=client'],
    native: { downstream: {} },
    source: 'MXMethod::lookup',
    ours: { downstream: { namespace: 'client' }, why: 'it is refused and counted, and the next method is asked' },
  },
  {
    what: 'base64 that is no Struct, and baggage',
    config: READS_BOTH,
    request: [METADATA, 'AAAA', 'baggage', 'k8s.namespace.name=client'],
    native: { downstream: { namespace: 'client' } },
    source: 'MXMethod::lookup',
  },
  {
    what: 'an id alone, and baggage',
    config: READS_BOTH,
    request: [ID, 'client-id', 'baggage', 'k8s.namespace.name=client'],
    native: { downstream: { namespace: 'client' } },
    source: 'MXMethod::derivePeerInfo',
  },
  {
    what: 'another client has claimed the same id before',
    config: READS,
    before: said({ NAMESPACE: 'other' }),
    request: CLIENT,
    native: { downstream: { namespace: 'other' } },
    source: 'MXMethod::lookup',
    ours: { downstream: { namespace: 'client' }, why: 'peers are cached by the bytes that they sent' },
  },
  {
    what: 'headers and baggage: the first method that finds the client decides',
    config: { downstream_discovery: [BAGGAGE, HEADERS] },
    request: [...said({ NAMESPACE: 'by-headers' }), 'baggage', 'k8s.namespace.name=by-baggage'],
    native: { server: null, downstream: { namespace: 'by-baggage' } },
    source: 'FilterConfig::discover',
  },
  {
    what: 'two filters in a chain: the first that finds the client decides',
    config: [READS, READS_BAGGAGE],
    request: [...said({ NAMESPACE: 'by-headers' }), 'baggage', 'k8s.namespace.name=by-baggage'],
    native: { downstream: { namespace: 'by-headers' } },
    source: 'FilterConfig::setFilterState',
  },
  byBaggage('baggage with a service', 'service.name=shop,service.version=v1', {
    service: 'shop',
    app: 'shop',
    revision: 'v1',
    version: 'v1',
  }),
  byBaggage('baggage with an app', 'app.name=shop,app.version=v1', {
    service: 'shop',
    app: 'shop',
    revision: 'v1',
    version: 'v1',
  }),
  byBaggage('baggage with both', 'service.name=shop,service.version=v1,app.name=web,app.version=latest', {
    service: 'shop',
    app: 'web',
    revision: 'v1',
    version: 'latest',
  }),
  byBaggage(
    'baggage with a workload',
    'k8s.job.name=nightly,k8s.cluster.name=c,k8s.namespace.name=test,k8s.instance.name=nightly-435',
    { workload: 'nightly', type: 'job', cluster: 'c', namespace: 'test', name: 'nightly-435' },
  ),
  byBaggage('the locality in baggage', 'cloud.region=us-east4,cloud.availability_zone=us-east4-b', {
    region: 'us-east4',
    availability_zone: 'us-east4-b',
  }),
  {
    what: 'baggage of the application alone, and headers',
    config: { downstream_discovery: [BAGGAGE, HEADERS] },
    request: [...CLIENT, 'baggage', 'userId=alice'],
    native: { downstream: {} },
    source: 'BaggageDiscoveryMethod::derivePeerInfo',
    ours: { downstream: { namespace: 'client' }, why: 'it names nobody, and the next method is asked' },
  },
  {
    what: 'encoded values in baggage',
    config: READS_BAGGAGE,
    request: ['baggage', 'k8s.instance.name=a%2Cb'],
    native: { downstream: { name: 'a%2Cb' } },
    source: 'convertBaggageToWorkloadMetadata',
    ours: { downstream: { name: 'a,b' }, why: 'W3C has them encoded' },
  },
  {
    what: 'members of two workloads in baggage',
    config: READS_BAGGAGE,
    request: ['baggage', 'k8s.namespace.name=a,k8s.instance.name=a-1,k8s.namespace.name=b'],
    native: { downstream: { namespace: 'b', name: 'a-1' } },
    source: 'convertBaggageToWorkloadMetadata',
    ours: { downstream: null, why: 'which is whose cannot be told' },
  },
];

export const SERVERS: Case[] = [
  {
    what: 'headers of the response',
    config: { upstream_discovery: [HEADERS] },
    response: SAMPLE_HEADERS,
    native: { client: null, upstream: SAMPLE_PEER },
    source: 'PeerMetadataTest.UpstreamMX',
  },
  {
    what: 'baggage of the response',
    config: { upstream_discovery: [BAGGAGE] },
    response: ['baggage', 'k8s.namespace.name=server'],
    native: { upstream: null, does: 'warns that it reads baggage of requests only' },
    source: 'FilterConfig::buildDiscoveryMethods',
    ours: { upstream: { namespace: 'server' }, why: 'servers that answer in baggage are known' },
  },
  {
    what: 'two filters in a chain, and both find the server: the second one sees the response first',
    config: [{ upstream_discovery: [HEADERS] }, { upstream_discovery: [BAGGAGE] }],
    response: [...said({ NAMESPACE: 'by-headers' }), 'baggage', 'k8s.namespace.name=by-baggage'],
    native: { upstream: { namespace: 'by-baggage' } },
    source: 'FilterConfig::setFilterState',
    ours: {
      upstream: { namespace: 'by-headers' },
      why: 'the last one decides, because a request may reach one server after another',
    },
  },
];
