// SPDX-License-Identifier: Apache-2.0
import { type Edge, type Peer, peerOf, versionOf } from '../map/edges.ts';
import type { Sample } from '../map/samples.ts';
import { type Told, UNKNOWN_CALLERS, UNKNOWN_SERVERS } from './snapshot.ts';

/** What nodes and edges are known by. */

/** A node's id. Who is unknown is two: those who call, and those who are called. */
export function nodeId({ kind, namespace, name, version = '' }: Peer, side: 'source' | 'destination'): string {
  if (kind === 'unknown') return side === 'source' ? UNKNOWN_CALLERS : UNKNOWN_SERVERS;
  return [kind, namespace, name, version].map(encodeURIComponent).join('/');
}

export function edgeId({ source, destination, protocol }: Edge): string {
  const ends = [nodeId(source, 'source'), nodeId(destination, 'destination')];
  return [...ends, encodeURIComponent(protocol)].join('>');
}

/** The workload that a proxy stands for, by what it counted: it is at the side that it reports from. */
export function ownPeer(samples: Sample[]): Peer | undefined {
  for (const { labels } of samples) {
    const side = labels.reporter;
    if (side !== 'source' && side !== 'destination') continue;
    const peer = peerOf(labels, side);
    if (peer.kind === 'workload') return { ...peer, version: versionOf(labels, side) };
  }
  return undefined;
}

/** The workload that a proxy says that it stands for. */
export function peerOfTold({ sayings }: Told): Peer | undefined {
  for (const { fields } of sayings) {
    const field = (...path: string[]) => fields.find(([keys]) => keys.join('\0') === path.join('\0'))?.[1];
    const name = field('WORKLOAD_NAME');
    if (!name) continue;
    const [version, revision] = ['version', 'service.istio.io/canonical-revision'].map((key) => field('LABELS', key));
    return { kind: 'workload', name, namespace: field('NAMESPACE') ?? 'unknown', version: version ?? revision ?? '' };
  }
  return undefined;
}
