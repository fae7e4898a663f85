// SPDX-License-Identifier: Apache-2.0
import {
  counted,
  distinct,
  inbound,
  large,
  logged,
  outbound,
  type Traffic,
  through,
  withoutPeer,
} from './load_stand.ts';

/** What is measured: requests of a kind, and who has to serve them. */
export interface Case {
  name: string;
  title: string;
  traffic: Traffic;
  /** Contenders by name, beside those that take part always; unless told all but those that must be named. */
  contenders?: string[];
}

const FEW = ['floor', 'lists'];
const READERS = ['rust', 'go', 'proxy-runtime', 'lua'];
const LOGS = ['log-cel', 'log-bridge', 'log-plain'];

export const CASES: Case[] = [
  { name: 'inbound', title: 'inbound, 600 bytes of Struct', traffic: inbound(600) },
  { name: 'outbound', title: 'outbound, 600 bytes', traffic: outbound(600) },
  { name: 'large', title: 'inbound, 40 headers and 4 kB of cookies', traffic: large(), contenders: FEW },
  { name: 'no-peer', title: 'inbound, no peer headers', traffic: withoutPeer(), contenders: FEW },
  { name: 'inbound-1200', title: 'inbound, 1.2 kB', traffic: inbound(1200), contenders: [...FEW, 'rust', 'bridge'] },
  { name: 'inbound-5000', title: 'inbound, 5 kB', traffic: inbound(5000), contenders: [...FEW, 'rust', 'bridge'] },
  { name: 'outbound-1200', title: 'outbound, 1.2 kB', traffic: outbound(1200), contenders: [...FEW, 'rust'] },
  { name: 'peers-1', title: 'one peer', traffic: distinct(1), contenders: READERS },
  { name: 'peers-100', title: '100 peers in turn', traffic: distinct(100), contenders: [] },
  { name: 'peers-10000', title: 'a new peer on every request', traffic: distinct(10_000), contenders: READERS },
  {
    name: 'log',
    title: 'inbound, an access log with eight fields of the peer',
    traffic: logged(600),
    contenders: LOGS,
  },
  {
    name: 'metrics',
    title: 'inbound, Istio’s four request metrics by peer',
    traffic: counted(600),
    contenders: ['metrics', 'metrics-cel', 'metrics-plain'],
  },
  {
    name: 'endpoint',
    title: 'outbound, to a server that has no filter',
    traffic: through('silent'),
    contenders: ['lists', 'endpoint', 'headers-endpoint'],
  },
  {
    name: 'dialect',
    title: 'outbound, to a server that answers in Istio’s dialect',
    traffic: through('known'),
    contenders: ['lists', 'names', 'dialect'],
  },
];
