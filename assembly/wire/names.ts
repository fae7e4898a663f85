// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii } from '../memory/ascii';

/** Fields of metadata that say who a workload is, as Istio names them. */
export const NAME: Ascii = 'NAME';
export const NAMESPACE: Ascii = 'NAMESPACE';
export const WORKLOAD_NAME: Ascii = 'WORKLOAD_NAME';
export const CLUSTER_ID: Ascii = 'CLUSTER_ID';
export const IDENTITY: Ascii = 'IDENTITY';
export const OWNER: Ascii = 'OWNER';
export const SERVICE_ACCOUNT: Ascii = 'SERVICE_ACCOUNT';
export const TRUST_DOMAIN: Ascii = 'TRUST_DOMAIN';
export const REGION: Ascii = 'REGION';
export const AVAILABILITY_ZONE: Ascii = 'AVAILABILITY_ZONE';
export const LABELS: Ascii = 'LABELS';

/** Labels. */
export const APP: Ascii = 'app';
export const VERSION: Ascii = 'version';
export const CANONICAL_NAME: Ascii = 'service.istio.io/canonical-name';
export const CANONICAL_REVISION: Ascii = 'service.istio.io/canonical-revision';
