// SPDX-License-Identifier: Apache-2.0
import { expect } from 'vitest';
import type { Envoy } from './envoy/process.ts';
import { struct } from './struct.ts';

/** What a proxy says it learned about one side. */
export interface Peer {
  /** The Struct that any filter reads from filter state. */
  struct: unknown;
  /** The same as the raw bytes, as shown by the filter `probe`. */
  raw: Buffer | undefined;
  id: string | undefined;
  /** The dynamic metadata that the bridge wrote. */
  dynamic: unknown;
}

export interface Learned {
  listener: string;
  path: string;
  status: number;
  downstream: Peer;
  upstream: Peer;
}

/** Nothing was learned about this side. */
export const NOBODY: Peer = { struct: undefined, raw: undefined, id: undefined, dynamic: undefined };

/** All that a proxy logged so far, oldest first: see `peerLog` in envoy/config.ts. */
export function learned(envoy: Envoy): Learned[] {
  const lines = envoy.log().split('\n');
  return lines.filter((line) => line.startsWith('{') && line.endsWith('}')).map((line) => readLine(JSON.parse(line)));
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of the access log
function readLine(line: any): Learned {
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the access log
  const side = (peer: any): Peer => ({
    struct: peer.struct?.value,
    raw: peer.raw === null ? undefined : Buffer.from(peer.raw, 'base64'),
    id: peer.id ?? undefined,
    dynamic: peer.dynamic ?? undefined,
  });
  return { ...line, downstream: side(line.downstream), upstream: side(line.upstream) };
}

/** The log line of the request with this path, when it is written. */
export async function learnedOf(envoy: Envoy, path: string): Promise<Learned> {
  let line: Learned | undefined;
  await envoy.until(`the access log has ${path}`, () => {
    line = learned(envoy).find((each) => each.path === path);
    return line !== undefined;
  });
  return line as Learned;
}

/** Expects a peer to be known by exactly this Struct, its bytes decoded by protobufjs, and this id. */
export function expectPeer(peer: Peer, metadata: object, id: string): void {
  expect(peer.struct).toEqual(metadata);
  if (peer.raw) expect(struct.read(peer.raw)).toEqual(metadata);
  expect(peer.id).toBe(id);
}
