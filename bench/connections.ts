// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import net, { type AddressInfo, type Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { Envoy } from '../testkit/envoy/process.ts';
import { tcpCluster, tcpExchange, tcpListener, tcpProxy } from '../testkit/envoy/tcp.ts';
import { MAGIC, preface } from '../testkit/preface.ts';
import { Random } from '../testkit/random.ts';
import { cpuTime, toEnvoyCore, workerOf } from './cpu.ts';
import * as peers from './sized_peer.ts';
import { AGAIN, type Comparison, compare, median, NONE, OURS } from './statistics.ts';

/**
 * What a connection costs, and a megabyte on it, beside tcp_proxy alone; and what 10,000 connections cost that are open
 * and counted. Client and server are this process, which runs on the other core: only Envoy's worker counts.
 */

/** A listener for connections, and what the client says on it before its own bytes. */
interface Side {
  name: string;
  label: string;
  direction: 'INBOUND' | 'OUTBOUND';
  /** The filter's configuration; none: there is no filter. */
  config?: object;
  hasPreface: boolean;
}

const BARE_AGAIN = 'none-again';

const SIDES: Side[] = [
  { name: NONE, label: 'tcp_proxy alone', direction: 'INBOUND', hasPreface: false },
  { name: BARE_AGAIN, label: 'tcp_proxy alone, a second time (A/A)', direction: 'INBOUND', hasPreface: false },
  {
    name: OURS,
    label: 'server’s side, of a client with a preface',
    direction: 'INBOUND',
    config: {},
    hasPreface: true,
  },
  { name: AGAIN, label: 'the same a second time (A/A)', direction: 'INBOUND', config: {}, hasPreface: true },
  { name: 'plain', label: 'server’s side, of a client without', direction: 'INBOUND', config: {}, hasPreface: false },
  { name: 'client', label: 'client’s side', direction: 'OUTBOUND', config: { preface: 'always' }, hasPreface: false },
  {
    name: 'metrics',
    label: 'server’s side, with Istio’s four metrics',
    direction: 'INBOUND',
    config: { metrics: {} },
    hasPreface: true,
  },
];

const PREFACE = preface({ metadata: peers.metadata(600), id: peers.ID });
const CONNECTIONS_IN_TURN = 150;
const MEGABYTES_IN_TURN = 48;
const MEGABYTE = Buffer.alloc(1 << 20, 'x');
const WARM_UP = 3;
const TURNS = 3;

/** How many connections are open for `live`, and for how many seconds they are looked at. */
export const LIVE = 10_000;
const LIVE_SECONDS = 30;

/** What a megabyte costs at one side: microseconds, and beside tcp_proxy alone in the same rounds. */
export interface Megabyte {
  label: string;
  cost: number;
  ratio: number;
}

/** What connections that are open and silent cost a worker, in microseconds of each second. */
export interface Live {
  connections: number;
  uncounted: number;
  counted: number;
}

/** An Envoy with one worker, before a server of this process. */
class Stand {
  constructor(
    readonly side: Side,
    readonly envoy: Envoy,
    readonly port: number,
    private readonly worker: string,
  ) {}

  static async start(side: Side, server: number): Promise<Stand> {
    const filters = [...(side.config ? [tcpExchange(side.config)] : []), tcpProxy({ name: 'tcp', cluster: 'server' })];
    const { typed_config } = filters[filters.length - 1];
    typed_config.access_log = [];
    const envoy = await Envoy.start(
      {
        node: { id: peers.ID, cluster: 'bench', metadata: { 'istio.io/metadata': peers.metadata(600) } },
        static_resources: {
          listeners: [tcpListener({ name: 'tcp', direction: side.direction, chains: [{ filters }] })],
          clusters: [tcpCluster('server', server)],
        },
      },
      { name: side.name },
    );
    toEnvoyCore(envoy.pid);
    return new Stand(side, envoy, await envoy.port('tcp'), workerOf(envoy.pid));
  }

  /** Nanoseconds of the worker's time so far. */
  time(): number {
    return cpuTime(this.worker);
  }

  async open(): Promise<Socket> {
    const socket = net.connect({ host: '127.0.0.1', port: this.port });
    socket.setNoDelay();
    await once(socket, 'connect');
    return socket;
  }

  /** A connection that asks for so many megabytes, and gets them. */
  async ask(megabytes: number): Promise<void> {
    const socket = await this.open();
    let left = megabytes << 20;
    const question = Buffer.from(`${megabytes}\n`);
    socket.write(this.side.hasPreface ? Buffer.concat([PREFACE, question]) : question);
    for await (const chunk of socket) left -= chunk.length;
    // At the server's side its own preface comes before the answer, and `.` is its end.
    if (left > -1) throw new Error(`${this.side.name}: ${left} bytes are missing`);
  }

  /** Microseconds of the worker's time that something takes, each of so many times. */
  async cost(times: number, of: () => Promise<void>): Promise<number> {
    const before = this.time();
    for (let i = 0; i < times; i++) await of();
    return (this.time() - before) / times / 1000;
  }
}

/** A server: the number in a line is how many megabytes it answers with, and a point. Who sends a preface gets one. */
async function startServer(): Promise<net.Server> {
  const server = net.createServer((socket) => {
    socket.on('error', () => undefined);
    let heard = Buffer.alloc(0);
    socket.on('data', (chunk) => {
      heard = Buffer.concat([heard, chunk]);
      const isPreface = heard.length >= 8 && heard.readUInt32BE(0) === MAGIC;
      const from = isPreface ? 8 + heard.readUInt32BE(4) : 0;
      if (heard.length <= from || heard[heard.length - 1] !== 10) return;
      if (isPreface) socket.write(PREFACE);
      for (let n = Number(heard.subarray(from)); n > 0; n--) socket.write(MEGABYTE);
      socket.end('.');
    });
  });
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
  await once(server, 'listening');
  return server;
}

const portOf = (server: net.Server) => (server.address() as AddressInfo).port;

/** What a connection costs at each side, and a megabyte: all have their turns in every round. */
export async function connections(
  rounds: number,
  say: (round: number) => void,
): Promise<{ connection: Comparison; megabytes: Megabyte[] }> {
  const server = await startServer();
  const stands: Stand[] = [];
  const random = new Random(1);
  const of = () => SIDES.map(({ name, label }) => ({ name, label, rounds: [] as number[] }));
  const [connection, megabyte] = [of(), of()];
  try {
    for (const side of SIDES) stands.push(await Stand.start(side, portOf(server)));
    for (let round = -WARM_UP; round < rounds; round++) {
      say(round);
      const turns = stands.map(() => ({ connection: [] as number[], megabyte: [] as number[] }));
      for (let turn = 0; turn < TURNS; turn++) {
        for (const i of random.shuffled([...stands.keys()])) {
          const stand = stands[i];
          turns[i].connection.push(await stand.cost(CONNECTIONS_IN_TURN, () => stand.ask(0)));
          turns[i].megabyte.push((await stand.cost(1, () => stand.ask(MEGABYTES_IN_TURN))) / MEGABYTES_IN_TURN);
        }
      }
      if (round < 0) continue;
      for (const [i, turn] of turns.entries()) {
        connection[i].rounds.push(Math.min(...turn.connection));
        megabyte[i].rounds.push(Math.min(...turn.megabyte));
      }
    }
    const alone = megabyte[0].rounds;
    const megabytes = megabyte.map(({ label, rounds }) => {
      return { label, cost: median(rounds), ratio: median(rounds.map((cost, round) => cost / alone[round])) };
    });
    return { connection: compare(connection.filter(({ name }) => name !== BARE_AGAIN)), megabytes };
  } finally {
    for (const { envoy } of stands) await envoy.stop();
    server.close();
  }
}

/** What many connections cost that are open and say nothing, with metrics and without. */
export async function live(): Promise<Live> {
  const cost = async (config: object) => {
    const server = net.createServer((socket) => socket.on('error', () => undefined));
    server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 });
    await once(server, 'listening');
    const side: Side = { name: 'live', label: '', direction: 'INBOUND', config, hasPreface: true };
    const stand = await Stand.start(side, portOf(server));
    const open: Socket[] = [];
    try {
      while (open.length < LIVE) {
        open.push(...(await Promise.all(Array.from({ length: 100 }, () => stand.open()))));
        for (const socket of open.slice(-100)) socket.on('error', () => undefined).write(PREFACE);
      }
      await sleep(2000);
      const before = stand.time();
      await sleep(LIVE_SECONDS * 1000);
      return (stand.time() - before) / LIVE_SECONDS / 1000;
    } finally {
      for (const socket of open) socket.destroy();
      await stand.envoy.stop();
      server.close();
    }
  };
  return { connections: LIVE, uncounted: await cost({}), counted: await cost({ metrics: {} }) };
}
