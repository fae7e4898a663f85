// SPDX-License-Identifier: Apache-2.0
import { SAMPLE_LABELS, sampleSays } from './case.ts';

/** A field of native's `downstream_peer`, and where it stands here. */
export interface Field {
  native: string;
  /** Behind the Struct in a CEL expression. */
  inStruct: string;
  /** In `publish_fields`. */
  path: string;
  /** What both show of the peer `EVERYTHING`; ours alone where it is another text. */
  shows: string;
  ours?: string;
  note?: string;
}

/** A peer with every field that the native filter reads. */
export const EVERYTHING = {
  ...sampleSays({ ...SAMPLE_LABELS, team: 'storefront-payments', version: 'v1' }),
  AVAILABILITY_ZONE: 'us-east4-b',
  IDENTITY: 'spiffe://cluster.local/ns/default/sa/productpage',
  REGION: 'us-east4',
};

const field = (native: string, path: string, shows: string): Field => ({ native, inStruct: `.${path}`, path, shows });
const ofLabel = (native: string, key: string, shows: string): Field => ({
  native,
  inStruct: `.LABELS['${key}']`,
  path: `LABELS.${key}`,
  shows,
});

export const FIELDS: Field[] = [
  field('namespace', 'NAMESPACE', EVERYTHING.NAMESPACE),
  field('workload', 'WORKLOAD_NAME', EVERYTHING.WORKLOAD_NAME),
  field('name', 'NAME', EVERYTHING.NAME),
  field('cluster', 'CLUSTER_ID', EVERYTHING.CLUSTER_ID),
  field('app', 'LABELS.app', 'productpage'),
  field('version', 'LABELS.version', 'v1'),
  ofLabel('service', 'service.istio.io/canonical-name', 'productpage-v1'),
  ofLabel('revision', 'service.istio.io/canonical-revision', 'version-1'),
  field('identity', 'IDENTITY', EVERYTHING.IDENTITY),
  field('region', 'REGION', EVERYTHING.REGION),
  field('availability_zone', 'AVAILABILITY_ZONE', EVERYTHING.AVAILABILITY_ZONE),
  { ...field('type', 'OWNER', 'deployment'), ours: EVERYTHING.OWNER },
  { ...field('labels.team', 'LABELS.team', 'storefront-payments'), note: 'one of `additional_labels`' },
];
