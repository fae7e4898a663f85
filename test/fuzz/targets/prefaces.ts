// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import type { Connection } from '../../../testkit/host/host.ts';
import { HostedProxy, type Plugin } from '../../../testkit/host/proxy.ts';
import { any, framed, preface, STRUCT_URL } from '../../../testkit/preface.ts';
import type { Random } from '../../../testkit/random.ts';
import { type Config, readConfig } from '../oracle/config.ts';
import { ConnectionModel, type Counts, ownPreface, type Surroundings } from '../oracle/connection.ts';
import { ownOf } from '../oracle/exchange.ts';
import { Struct } from '../oracle/struct.ts';
import { type Builds, mostMemory, mutated, same, sameBytes, type Target } from '../target.ts';
import { NODES } from './programs.ts';
import { generateStruct } from './struct.ts';

/** What happens to connections of one configuration, one thing after the other. Numbers name the connections. */
export interface PrefacesProgram extends Surroundings {
  config: number;
  node: number;
  steps: PrefacesStep[];
}
export type PrefacesStep =
  | { client: string; of: number; end?: boolean }
  | { server: string; of: number; end?: boolean }
  /** So many seconds. */
  | { pass: number }
  /** The connection is gone, whatever it was doing. */
  | { gone: number };

const CONFIGS = [
  '{}',
  '{"preface":"always"}',
  '{"preface":"always"}',
  '{"preface":"always","max_header_size":300}',
  '{"preface":"endpoint_metadata"}',
  '{"preface":"answer"}',
  '{"preface":"always","metrics":{}}',
  '{"preface":"always","metrics":{"max_series":1},"verify_peer":{"mode":"mark"}}',
  '{"preface":"always","verify_peer":{"mode":"mark"}}',
  '{"preface":"always","verify_peer":{"mode":"enforce"}}',
  '{"preface":"always","verify_peer":{"mode":"require"},"publish_fields":["NAME"]}',
  '{"preface":"always","publish_fields":["NAME","LABELS.app"]}',
  '{"preface":"always","dialect":"istio","publish_fields":["LABELS.app"]}',
  '{"preface":"always","node_key":"cluster","metadata_fields":["LABELS"]}',
  '{"preface":"always","downstream_discovery":[{"istio_headers":{}}]}',
  '{"preface":"always","downstream_propagation":[{"istio_headers":{}}]}',
  '{"downstream_propagation":[{"istio_headers":{}}],"upstream_discovery":[{"istio_headers":{}}]}',
  '{"preface":"endpoint_metadata","upstream_propagation":[{"istio_headers":{}}],"upstream_discovery":[{"istio_headers":{}},{"endpoint_metadata":{}}]}',
  '{"preface":"always","upstream_discovery":[{"endpoint_metadata":{}},{"istio_headers":{}}],"upstream_propagation":[{"istio_headers":{"skip_external_clusters":true}}]}',
  '{"upstream_discovery":[{"endpoint_metadata":{}}]}',
  '{"preface":"always","upstream_propagation":[{"istio_headers":{}}]}',
  '{"preface":"always","downstream_discovery":[{"baggage":{}},{"istio_headers":{}}],"upstream_propagation":[{"baggage":{}}]}',
];
const COUNTERS = ['found', 'not_found', 'refused', 'stalled', 'sent'] as const;
/** Istio's metrics of TCP, and what they count. */
const TRAFFIC: Record<string, keyof Counts> = {
  istio_tcp_connections_opened_total: 'connections',
  istio_tcp_connections_closed_total: 'connections',
  istio_tcp_received_bytes_total: 'fromClients',
  istio_tcp_sent_bytes_total: 'fromServers',
};
const METADATA = 'xds.upstream_host_metadata.filter_metadata.';

/** Hostile bytes at the begin of connections, in pieces, with stalls and ends: compared with the model after each step. */
export class Prefaces implements Target {
  readonly name = 'prefaces';
  private proxy: HostedProxy;
  private readonly properties: Record<string, Buffer> = {};

  constructor(private readonly builds: Builds) {
    this.proxy = this.newProxy();
  }

  /** A proxy whose VM stays: something is configured there as long as it lives. */
  private newProxy(): HostedProxy {
    const proxy = new HostedProxy({ workers: 1, hasMain: false, properties: this.properties });
    this.properties['xds.node'] = NODES[0];
    proxy.load('{}', this.builds.module);
    return proxy;
  }

  renew(): void {
    this.proxy = this.newProxy();
  }

  counters() {
    const [host] = this.proxy.process.vms;
    return [{ of: 'module' as const, global: (name: string) => host.global(name) }];
  }

  generate(random: Random, corpus: Uint8Array[]): Uint8Array {
    return Buffer.from(JSON.stringify(generatePrefaces(random, corpus)));
  }

  check(input: Uint8Array): boolean {
    const program = JSON.parse(Buffer.from(input).toString()) as PrefacesProgram;
    const text = CONFIGS[program.config];
    const node = NODES[program.node];
    this.surround(program, node);
    const config = readConfig(Buffer.from(text)) as Config;
    const own = ownOf(node, config);
    if (!own) throw new Error('a node that is none');
    const plugin = this.proxy.load(text, this.builds.module);
    plugin.workers[0].host.calls.length = 0;
    const run = new Run(this.proxy, plugin, config, ownPreface(own, config), program);
    for (const step of program.steps) run.step(step);
    run.finish();
    this.proxy.unload(plugin);
    return run.counts.found > 0;
  }

  private surround({ direction, takesPrefaces, isDisabled, endpoint }: PrefacesProgram, node: Buffer): void {
    Object.assign(this.properties, {
      'xds.node': node,
      'xds.listener_direction': Buffer.from([direction, 0, 0, 0, 0, 0, 0, 0]),
      [`${METADATA}envoy.wasm.metadata_exchange.preface`]: Buffer.from([takesPrefaces ? 1 : 0]),
      [`${METADATA}istio.workload`]: Buffer.from(endpoint, 'latin1'),
      'xds.cluster_metadata.filter_metadata.istio.disable_mx': Buffer.from([isDisabled ? 1 : 0]),
    });
  }
}

interface Live {
  connection: Connection;
  model: ConnectionModel;
  isClientDone: boolean;
  isServerDone: boolean;
}

/** One program. */
class Run {
  readonly counts: Counts = {
    found: 0,
    not_found: 0,
    refused: 0,
    stalled: 0,
    sent: 0,
    connections: 0,
    fromClients: 0,
    fromServers: 0,
  };
  private readonly before: Record<string, number>;
  private readonly live = new Map<number, Live>();

  constructor(
    private readonly proxy: HostedProxy,
    private readonly plugin: Plugin,
    private readonly config: Config,
    private readonly preface: Buffer | undefined,
    private readonly around: Surroundings,
  ) {
    this.before = this.counted();
  }

  private get host() {
    return this.plugin.workers[0].host;
  }

  private counted(): Record<string, number> {
    const ours = COUNTERS.map((name) => [name, this.proxy.metric(`preface_${name}`) ?? 0]);
    // Of all peers, known and unknown.
    const sum = (name: string) =>
      Object.entries(this.proxy.process.metrics).reduce(
        (all, [key, value]) => all + (key.endsWith(name) ? value : 0),
        0,
      );
    const istios = Object.keys(TRAFFIC).map((name) => [name, sum(name)]);
    return Object.fromEntries([...ours, ...istios]);
  }

  private open(n: number): Live {
    const found = this.live.get(n);
    if (found) return found;
    const connection = this.host.connection(this.plugin.workers[0].root).begin();
    const now = () => Math.floor(this.proxy.process.now() / 1000);
    const model = new ConnectionModel(this.config, this.preface, this.around, this.counts, now);
    const live = { connection, model, isClientDone: false, isServerDone: false };
    this.live.set(n, live);
    return live;
  }

  step(step: PrefacesStep): void {
    if ('pass' in step) {
      for (let i = 0; i < step.pass; i++) {
        this.proxy.pass(1);
        for (const { model } of this.live.values()) model.tick();
      }
    } else if ('gone' in step) {
      this.end(step.gone);
    } else {
      const live = this.open(step.of);
      this.quietly(() => this.send(live, step));
    }
    for (const [n, live] of this.live) this.compare(n, live);
  }

  private send(live: Live, step: Exclude<PrefacesStep, { pass: number } | { gone: number }>): void {
    const isClient = 'client' in step;
    const bytes = Buffer.from(isClient ? step.client : step.server, 'hex');
    const isOver = isClient ? live.isClientDone : live.isServerDone;
    if (isOver || (bytes.length === 0 && !step.end)) return;
    if (isClient) {
      live.model.fromClient(bytes, step.end ?? false);
      live.connection.fromClient(bytes, step.end);
      live.isClientDone = step.end ?? false;
    } else {
      live.model.fromServer(bytes, step.end ?? false);
      live.connection.fromServer(bytes, step.end);
      live.isServerDone = step.end ?? false;
    }
  }

  /** Bytes that pass change neither the log nor memory. */
  private quietly(run: () => void): void {
    const [lines, memory] = [this.host.log.length, this.host.memorySize()];
    run();
    if (this.host.log.length !== lines) throw new Error(`a connection logged: ${this.host.log.at(-1)?.text}`);
    if (this.host.memorySize() !== memory) throw new Error('a connection’s bytes took memory');
  }

  private compare(n: number, { connection, model }: Live): void {
    sameBytes(`connection ${n} to the server`, connection.toServer, Buffer.concat(model.toServer.gone));
    sameBytes(`connection ${n} to the client`, connection.toClient, Buffer.concat(model.toClient.gone));
    same(`connection ${n} closed`, connection.isClosed, model.isClosed);
    same(`connection ${n}: the client’s end`, connection.clientEnded, model.toServer.isEnded);
    same(`connection ${n}: the server’s end`, connection.serverEnded, model.toClient.isEnded);
    const names = new Set([...Object.keys(connection.filterState), ...Object.keys(model.filterState)]);
    for (const name of names) sameBytes(name, connection.filterState[name], model.filterState[name]);
  }

  private end(n: number): void {
    const found = this.live.get(n);
    if (!found) return;
    this.live.delete(n);
    found.connection.end();
  }

  /** All connections end, and everything is counted. */
  finish(): void {
    for (const n of [...this.live.keys()]) this.end(n);
    this.proxy.pass(2);
    const now = this.counted();
    for (const name of COUNTERS) same(`preface_${name}`, now[name] - this.before[name], this.counts[name]);
    for (const [name, count] of Object.entries(TRAFFIC)) {
      same(name, now[name] - this.before[name], this.config.fields.metrics ? this.counts[count] : 0);
    }
    same('connections', this.proxy.metric('connections') ?? 0, 0);
    if (this.host.memorySize() > mostMemory(0)) throw new Error('what came and went took memory');
  }
}

/** A program: often a whole preface in pieces with bytes behind it, often one with a fault, sometimes mere bytes. */
export function generatePrefaces(random: Random, corpus: Uint8Array[]): PrefacesProgram {
  const steps: PrefacesStep[] = [];
  const open = 1 + random.below(random.oneIn(4) ? 4 : 2);
  const pieces = (bytes: Uint8Array, side: 'client' | 'server', of: number) => {
    const all: PrefacesStep[] = [];
    let at = 0;
    while (at < bytes.length) {
      const size = random.oneIn(2) ? bytes.length - at : 1 + random.below(random.oneIn(2) ? 9 : bytes.length - at);
      const hex = Buffer.from(bytes.subarray(at, at + size)).toString('hex');
      const end = random.oneIn(25) ? true : undefined;
      all.push(side === 'client' ? { client: hex, of, end } : { server: hex, of, end });
      at += size;
    }
    if (random.oneIn(4)) all.push(side === 'client' ? { client: '', of, end: true } : { server: '', of, end: true });
    return all;
  };
  const queues = Array.from({ length: open }, (_, of) => [
    pieces(beginning(random, corpus), 'client', of),
    pieces(beginning(random, corpus), 'server', of),
  ]).flat();
  while (queues.some((queue) => queue.length > 0)) {
    const next = random.pick(queues.filter((queue) => queue.length > 0)).shift();
    if (next) steps.push(next);
    if (random.oneIn(15)) steps.push({ pass: 1 + random.below(7) });
    if (random.oneIn(30)) steps.push({ gone: random.below(open) });
  }
  if (random.oneIn(3)) steps.push({ pass: random.pick([6, 6, 16, 31]) });
  return {
    config: random.below(CONFIGS.length),
    node: random.below(NODES.length),
    direction: random.below(4),
    takesPrefaces: random.oneIn(2),
    isDisabled: random.oneIn(5),
    endpoint: random.oneIn(2) ? '' : random.pick(['reviews-v1;default;reviews;v1;Kubernetes', 'a;b', 'a;\xff;;;']),
    steps,
  };
}

const URLS = [
  '',
  '/google.protobuf.Struct',
  'xgoogle.protobuf.Struct',
  'google.protobuf.Struct',
  'x/google.protobuf.Value',
  `${STRUCT_URL}/`,
];

/** What a side begins with. */
function beginning(random: Random, corpus: Uint8Array[]): Uint8Array {
  const kind = random.below(12);
  const application = random.bytes(random.below(12));
  if (kind === 0) return application;
  if (kind === 1)
    return Buffer.concat([Buffer.from([0x3d, 0x23, 0x04, 0x67]).subarray(0, 1 + random.below(4)), application]);
  if (kind === 2)
    return framed(
      random.bytes(random.below(40)),
      random.oneIn(2) ? random.below(60) : random.pick([0, 2 ** 31, 2 ** 32 - 1, 301, 300]),
    );
  const said = {
    metadata: { NAME: 'peer', LABELS: { app: random.plainText() } },
    id: random.pick(['peer-id', '', 'a\0b', 'é', 'x'.repeat(400)]),
  };
  const whole = kind < 6 ? preface(said) : framed(anyOf(random, corpus));
  if (random.oneIn(8)) return whole.subarray(0, 1 + random.below(whole.length - 1));
  const both = Buffer.concat([whole, random.oneIn(6) ? preface(said) : application]);
  return random.oneIn(4) ? mutated(random, both, []) : both;
}

/** What may stand behind the fields of an Any, and what may not. */
const BEHIND = ['0a00', '1200', '1801', '7b7c', '0a', '12ff', '7b'];

/** An Any with a Struct in it, most often one with the two fields of a peer. */
function anyOf(random: Random, corpus: Uint8Array[]): Uint8Array {
  const outer = protobuf.Writer.create();
  const parts: (() => void)[] = [
    () => field(outer, 'x-envoy-peer-metadata', random.oneIn(5) ? 3 : 5, generateStruct(random, corpus)),
    () => field(outer, 'x-envoy-peer-metadata-id', random.oneIn(5) ? 5 : 3, Buffer.from(random.text(20))),
  ];
  if (random.oneIn(4)) parts.push(() => outer.uint32(0x0a).bytes(random.bytes(random.below(9))));
  if (random.oneIn(4)) parts.push(...parts.slice(0, 1 + random.below(2)));
  for (const part of random.shuffled(parts)) if (!random.oneIn(6)) part();
  const bytes = random.oneIn(8) ? Struct.encode(random.struct(2)).finish() : outer.finish();
  const body = any(bytes, random.oneIn(6) ? random.pick(URLS) : STRUCT_URL);
  return random.oneIn(6) ? Buffer.concat([body, Buffer.from(random.pick(BEHIND), 'hex')]) : body;
}

/** An entry of a Struct: a key and a Value of a kind. */
function field(writer: protobuf.Writer, key: string, kind: number, content: Uint8Array): void {
  writer.uint32(0x0a).fork().uint32(0x0a).string(key).uint32(0x12).fork();
  writer
    .uint32((kind << 3) | 2)
    .bytes(content)
    .ldelim()
    .ldelim();
}
