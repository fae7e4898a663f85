// SPDX-License-Identifier: Apache-2.0
import type { Envoy } from './envoy/process.ts';

/** What a TCP proxy says that it learned about one side of a connection. */
export interface TcpPeer {
  /** The Struct in filter state. */
  struct: unknown;
  id: string | undefined;
  verified: string | undefined;
}

/** A connection that is over, as testkit/envoy/tcp.ts has it logged. */
export interface Connection {
  connection: string;
  chain: string;
  downstream: TcpPeer;
  upstream: TcpPeer;
  /** Bytes of the listener's own connection, from the client and to it: with the prefaces that came and went there. */
  received: number;
  sent: number;
  flags: string | null;
  [more: string]: unknown;
}

/** Nothing was learned about this side. */
export const NOBODY: TcpPeer = { struct: undefined, id: undefined, verified: undefined };

/** All connections of an Envoy that are over, in the order of their ends. */
export function connections(envoy: Envoy): Connection[] {
  const lines = envoy.log().split('\n');
  return lines.filter((line) => /^\{.*"connection":.*\}$/.test(line)).map((line) => readLine(JSON.parse(line)));
}

// biome-ignore lint/suspicious/noExplicitAny: JSON of the access log
function readLine(line: any): Connection {
  // biome-ignore lint/suspicious/noExplicitAny: JSON of the access log
  const side = ({ struct, id, verified }: any): TcpPeer => ({
    struct: struct?.value,
    id: id ?? undefined,
    verified: verified ?? undefined,
  });
  return { ...line, downstream: side(line.downstream), upstream: side(line.upstream) };
}

/** The connection that was the n-th to end, when it is logged; the first one unless told. */
export async function connectionOf(envoy: Envoy, n = 0): Promise<Connection> {
  await envoy.until(`connection ${n} is logged`, () => connections(envoy).length > n);
  return connections(envoy)[n];
}
