// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import type { Resource } from './mesh.ts';

/** Pods and Services as Kubernetes would have made them, for tests in which they change. */

const HASH = '5f6d8c9b7';

/** The pod of a Deployment `APP-VERSION`, without a sidecar. */
export function deployed(app: string, version: string, address: string): Resource {
  const set = `${app}-${version}-${HASH}`;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: {
      name: `${set}-x2x5c`,
      generateName: `${set}-`,
      namespace: 'default',
      labels: { app, version, 'pod-template-hash': HASH },
      ownerReferences: [{ apiVersion: 'apps/v1', kind: 'ReplicaSet', name: set, uid: set, controller: true }],
    },
    spec: { serviceAccountName: `bookinfo-${app}`, containers: [{ name: app, image: app }] },
    status: {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
}

/** The same pod at another address, as after a restart of a StatefulSet's. */
export function moved(pod: Resource, address: string): Resource {
  return { ...pod, status: { ...pod.status, podIP: address, podIPs: [{ ip: address }] } };
}

/** The same pod with other labels. */
export function relabelled(pod: Resource, labels: Record<string, string>): Resource {
  return { ...pod, metadata: { ...pod.metadata, labels: { ...pod.metadata.labels, ...labels } } };
}

/** A Service of pods that listen on this port. */
export function serviceOf(app: string, targetPort: number): Resource {
  return {
    apiVersion: 'v1',
    kind: 'Service',
    metadata: { name: app, namespace: 'default' },
    spec: { selector: { app }, ports: [{ name: 'http', port: 9080, targetPort }] },
  };
}
