// SPDX-License-Identifier: Apache-2.0
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { ROOT } from '../testkit/envoy/binary.ts';
import { Authority, spiffe } from '../testkit/envoy/certificates.ts';

/**
 * Certificates for the configurations under envoy/ that speak TLS, at build/certificates:
 *
 *   mesh/root.crt        what workloads trust, with a certificate for each service account
 *   public/root.crt      what the strangers in front of a gateway trust, with one for the gateway's host names
 */

const FOLDER = join(ROOT, 'build/certificates');

/** Service accounts: those of the SERVICE_ACCOUNT fields in the configurations. */
const WORKLOADS = [
  ['default', 'bookinfo-productpage'],
  ['default', 'bookinfo-reviews'],
  ['default', 'bookinfo-redis'],
  ['istio-system', 'istio-ingressgateway-service-account'],
  ['istio-system', 'istio-egressgateway-service-account'],
];

rmSync(FOLDER, { recursive: true, force: true });
const mesh = new Authority(join(FOLDER, 'mesh'));
for (const [namespace, account] of WORKLOADS) mesh.issue(account, { uris: [spiffe(namespace, account)] });
new Authority(join(FOLDER, 'public')).issue('gateway', { hosts: ['edge.example', 'localhost'] });
