// SPDX-License-Identifier: Apache-2.0
import {
  ANSWERS_IN_BAGGAGE,
  BAGGAGE,
  type Case,
  CLIENT,
  HEADERS,
  NODE,
  OWN,
  OWN_BAGGAGE,
  READS,
  SAMPLE,
  SAMPLE_LABELS,
  SKIPPING,
  SKIPS,
  sampleSays,
  TELLS,
  TELLS_IN_BAGGAGE,
} from './case.ts';

/** What a proxy says of itself, in headers and in baggage. */

export const TELLING: Case[] = [
  {
    what: 'a request to a server of the mesh',
    config: TELLS,
    native: { server: OWN },
    source: 'PeerMetadataTest.UpstreamMXPropagation',
  },
  {
    what: 'the node of Istio’s own tests',
    config: TELLS,
    node: SAMPLE,
    native: { server: { metadata: sampleSays({ ...SAMPLE_LABELS, version: 'v1' }), id: NODE.id } },
    source: 'convertWorkloadMetadataToStruct',
  },
  {
    what: 'the same with a label more',
    config: { ...TELLS, additional_labels: ['team'] },
    node: SAMPLE,
    native: {
      server: {
        metadata: sampleSays({ ...SAMPLE_LABELS, team: 'storefront-payments', version: 'v1' }),
        id: NODE.id,
      },
    },
    source: 'WorkloadMetadataObjectTest.ConversionWithLabels',
  },
  {
    what: 'a node without any key that Istio knows',
    config: TELLS,
    node: { id: NODE.id, metadata: { other: 'x' } },
    native: { server: { metadata: { LABELS: {} }, id: NODE.id } },
    source: 'convertWorkloadMetadataToStruct',
  },
  {
    what: 'a node with a locality',
    config: TELLS,
    node: { id: NODE.id, metadata: {}, locality: { region: 'us-east4', zone: 'us-east4-b' } },
    native: {
      server: { metadata: { AVAILABILITY_ZONE: 'us-east4-b', LABELS: {}, REGION: 'us-east4' }, id: NODE.id },
    },
    source: 'convertStructToWorkloadMetadata',
  },
  {
    what: 'a cluster with `disable_mx`: request and response',
    config: { ...TELLS, ...READS, downstream_propagation: [HEADERS] },
    cluster: { disable_mx: true },
    request: CLIENT,
    native: { server: null, client: null, downstream: { namespace: 'client' } },
    source: 'MXPropagationMethod::skipMXHeaders',
  },
  {
    what: 'baggage to a cluster with `disable_mx`',
    config: { upstream_propagation: [HEADERS, BAGGAGE] },
    cluster: { disable_mx: true },
    native: { server: { baggage: OWN_BAGGAGE } },
    source: 'BaggagePropagationMethod::inject',
  },
  {
    what: '`skip_external_clusters`, and a cluster that is `external`',
    config: SKIPS,
    cluster: { external: true },
    native: { server: null },
    source: 'PeerMetadataTest.UpstreamMXPropagationSkip',
  },
  {
    what: '`skip_external_clusters`, and the PassthroughCluster',
    config: SKIPS,
    passthrough: true,
    native: { server: null },
    source: 'PeerMetadataTest.UpstreamMXPropagationSkipPassthrough',
  },
  {
    what: '`skip_external_clusters`, and a cluster of the mesh',
    config: SKIPS,
    native: { server: OWN },
    source: 'PeerMetadataTest.UpstreamMXPropagationSkipNoMatch',
  },
  {
    what: 'an `external` cluster without `skip_external_clusters`',
    config: TELLS,
    cluster: { external: true },
    native: { server: OWN },
    source: 'MXPropagationMethod::skipMXHeaders',
  },
  {
    what: '`skip_external_clusters` in answers',
    config: { ...READS, downstream_propagation: [SKIPPING] },
    cluster: { external: true },
    request: CLIENT,
    native: { client: null, downstream: { namespace: 'client' } },
    source: 'MXPropagationMethod::skipMXHeaders',
  },
  {
    what: '`skip_external_clusters` beside baggage, and the PassthroughCluster',
    config: { upstream_propagation: [SKIPPING, BAGGAGE] },
    passthrough: true,
    native: { server: { baggage: OWN_BAGGAGE } },
    source: 'BaggagePropagationMethod::inject',
    ours: { server: null, why: 'who asks to tell nothing outside means baggage too' },
  },
];

export const BAGGAGE_WRITTEN: Case[] = [
  {
    what: 'the node of Istio’s own tests',
    config: TELLS_IN_BAGGAGE,
    node: SAMPLE,
    native: {
      server: {
        baggage:
          'k8s.deployment.name=productpage-v1,service.name=productpage-v1,app.name=productpage,' +
          'service.version=version-1,app.version=v1,k8s.namespace.name=default,k8s.cluster.name=client-cluster,' +
          'k8s.instance.name=productpage-v1-84975bc778-pxz2w',
      },
    },
    source: 'WorkloadMetadataObject::baggage',
  },
  {
    what: 'app and version that are the service’s, and a locality',
    config: TELLS_IN_BAGGAGE,
    node: {
      id: NODE.id,
      metadata: {
        LABELS: {
          app: 'shop',
          version: 'v1',
          'service.istio.io/canonical-name': 'shop',
          'service.istio.io/canonical-revision': 'v1',
        },
      },
      locality: { region: 'us-east4', zone: 'us-east4-b' },
    },
    native: {
      server: {
        baggage: 'service.name=shop,service.version=v1,cloud.region=us-east4,cloud.availability_zone=us-east4-b',
      },
    },
    source: 'WorkloadMetadataObject::baggage',
  },
  {
    what: 'the application has baggage of its own',
    config: TELLS_IN_BAGGAGE,
    request: ['baggage', 'userId=alice'],
    native: { server: { baggage: OWN_BAGGAGE } },
    source: 'BaggagePropagationMethod::inject',
    ours: { server: { baggage: `userId=alice,${OWN_BAGGAGE}` }, why: 'what is the application’s stays' },
  },
  {
    what: 'the same, and a node without any key that Istio knows',
    config: TELLS_IN_BAGGAGE,
    node: { id: NODE.id, metadata: {} },
    request: ['baggage', 'userId=alice'],
    native: { server: { baggage: '' } },
    source: 'BaggagePropagationMethod::inject',
    ours: { why: 'who has nothing to say leaves the application’s as it is' },
  },
  {
    what: 'a value that baggage cannot hold',
    config: TELLS_IN_BAGGAGE,
    node: { id: NODE.id, metadata: { NAME: 'a,b' } },
    native: { server: { baggage: 'k8s.instance.name=a,b' } },
    source: 'WorkloadMetadataObject::baggage',
    ours: { server: { baggage: 'k8s.instance.name=a%2Cb' }, why: 'W3C wants it encoded' },
  },
  {
    what: 'an answer to a client that said who it is in baggage',
    config: ANSWERS_IN_BAGGAGE,
    request: ['baggage', 'k8s.namespace.name=client'],
    native: { client: { baggage: OWN_BAGGAGE } },
    source: 'BaggagePropagationMethod::inject',
  },
  {
    what: 'the same, and the application answers with baggage of its own',
    config: ANSWERS_IN_BAGGAGE,
    request: ['baggage', 'k8s.namespace.name=client'],
    response: ['baggage', 'mine=1'],
    native: { client: { baggage: OWN_BAGGAGE } },
    source: 'BaggagePropagationMethod::inject',
    ours: { client: { baggage: `mine=1,${OWN_BAGGAGE}` }, why: 'what is the application’s stays' },
  },
  {
    what: 'an answer to a client that did not',
    config: ANSWERS_IN_BAGGAGE,
    native: { client: { baggage: OWN_BAGGAGE } },
    source: 'BaggagePropagationMethod::inject',
    ours: { client: null, why: 'strangers are told nothing, as with the headers' },
  },
];
