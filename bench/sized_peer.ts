// SPDX-License-Identifier: Apache-2.0
import { struct } from '../testkit/struct.ts';

/** Who sends requests in the benchmark: what a pod says of itself, with labels up to a size. */

const BASE = {
  NAME: 'productpage-v1-84975bc778-pxz2w',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'productpage-v1',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/productpage-v1',
  CLUSTER_ID: 'client-cluster',
  MESH_ID: 'mesh-id-1234.global',
  SERVICE_ACCOUNT: 'bookinfo-productpage',
  ISTIO_VERSION: '1.30.0',
};
const LABELS = {
  app: 'productpage',
  version: 'v1',
  'service.istio.io/canonical-name': 'productpage',
  'service.istio.io/canonical-revision': 'v1',
};

export const ID = 'sidecar~10.52.0.34~productpage-v1-84975bc778-pxz2w.default~default.svc.cluster.local';

/** Metadata whose Struct has about so many bytes: more labels, as pods have them, and one that fills up the rest. */
export function metadata(size: number): object {
  const labels: Record<string, string> = { ...LABELS };
  const whole = (fill: string) => ({ ...BASE, LABELS: { ...labels, 'pod-template-hash': fill } });
  const room = () => size - struct.write(whole('')).length;
  for (let i = 0; room() > 200; i++) labels[`team.example.com/label-${i}`] = `value-of-label-${i}`;
  return whole('x'.repeat(Math.max(0, room())));
}

/** Metadata as a header. */
export const header = (size: number) => struct.header(metadata(size));

/** The path that is part of peer number `n`'s metadata: eight letters of base64, of which the slash is one. */
export const pathOf = (n: number) => `/${n.toString(36).padStart(7, 'A')}`;

/**
 * What stands before and behind a path in the base64 of a Struct, so that each path makes another peer: eight letters,
 * six bytes, in the middle of a number, which may be any bytes but the two that hold its exponent.
 */
export function aroundPath(size: number): { before: string; behind: string } {
  for (let pad = 0; pad < 3; pad++) {
    const bytes = struct.write({ ...metadata(size - 20), '~': 'x'.repeat(pad), '~~': 1 });
    const at = bytes.length - 8;
    if (at % 3 !== 0) continue;
    const text = bytes.toString('base64');
    return { before: text.slice(0, (at / 3) * 4), behind: text.slice((at / 3) * 4 + 8) };
  }
  throw new Error('no padding puts the number where base64 begins anew');
}
