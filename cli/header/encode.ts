// SPDX-License-Identifier: Apache-2.0
import { Host } from '../../testkit/host/host.ts';
import { node } from '../../testkit/host/node.ts';
import { METADATA } from '../../testkit/http.ts';

/** The metadata header that a proxy sends whose node has this metadata, and the module's warnings about it. */
export function headerOf(metadata: object): { header: string; warnings: string[] } {
  const outbound = Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]);
  const host = new Host({
    'xds.node': node({ id: 'node', metadata: { 'istio.io/metadata': metadata } }),
    'xds.listener_direction': outbound,
  });
  const root = host.configure('');
  if (root === undefined) throw new Error(host.complaints().join('\n'));
  const stream = host.stream(root).onRequest();
  const header = stream.request.find(([name]) => name === METADATA)?.[1] ?? '';
  return { header, warnings: host.complaints() };
}
