// SPDX-License-Identifier: Apache-2.0
import { setTimeout as sleep } from 'node:timers/promises';
import { reasonOf } from '../ask.ts';
import { type Edge, mapOf, type Peer, peerOf, VERSIONS } from '../map/edges.ts';
import type { Sample } from '../map/samples.ts';
import { countedByPrometheus } from '../map/sources.ts';
import { COUNTED, Exchange } from './exchange.ts';
import { History } from './history.ts';
import { edgeId, nodeId, ownPeer, peerOfTold } from './names.ts';
import { Sidecar } from './sidecar.ts';
import type { EdgeView, NodeDetails, NodeView, Numbers, Snapshot, Told } from './snapshot.ts';
import { toldBy } from './told.ts';

/** Asks Envoys, or a Prometheus server, again and again, and makes a snapshot of each answer. */

export interface WatchOptions {
  /** Envoys' admin addresses; or else a Prometheus server. */
  addresses: string[];
  prometheus?: string;
  /** The time that numbers are of. */
  seconds: number;
}

/** How often they are asked. */
const TICK = { envoys: 1_000, prometheus: 5_000 };
/** How many labels of others are shown of a node, at the most. */
const MOST_LABELS = 40;
/** How many sidecars of one workload are asked what they say, and how old an answer may be. */
const MOST_TOLD = 5;
const [TOLD_MILLISECONDS, FAILED_MILLISECONDS] = [10_000, 3_000];
const MOST_LISTED = 5;

/** What is counted, however it was asked. */
interface Counted {
  grown: Sample[];
  standing: Sample[];
  hasTotals: boolean;
}

export class Watch {
  /** The newest snapshot; undefined until somebody was asked. */
  snapshot: Snapshot | undefined;
  /** Is called with each snapshot. */
  onSnapshot: (snapshot: Snapshot) => void = () => undefined;

  private readonly sidecars: Sidecar[];
  private readonly history = new History();
  private readonly exchange = new Exchange();
  private readonly nodes = new Map<string, Peer>();
  private readonly edges = new Map<string, EdgeView>();
  private readonly stopping = new AbortController();
  private standing: Sample[] = [];
  private leftOut = 0;
  /** How often something was counted. */
  private taken = 0;
  private isAsking = false;

  constructor(private readonly options: WatchOptions) {
    this.sidecars = options.addresses.map((address) => new Sidecar(address));
  }

  /** Asks until it is stopped. */
  async run(): Promise<void> {
    const every = this.options.prometheus === undefined ? TICK.envoys : TICK.prometheus;
    while (!this.stopping.signal.aborted) {
      const next = performance.now() + every;
      await this.tick();
      // Where asking takes long, others need the processor, too.
      const pause = Math.max(every / 4, next - performance.now());
      await sleep(pause, undefined, { signal: this.stopping.signal }).catch(() => undefined);
    }
  }

  stop(): void {
    this.stopping.abort();
  }

  /** Asks once. */
  async tick(): Promise<void> {
    const problems: string[] = [];
    let counted: Counted | undefined;
    try {
      counted = await (this.options.prometheus === undefined ? this.askEnvoys() : this.askPrometheus());
    } catch (error) {
      problems.push(`${this.options.prometheus} does not tell: ${reasonOf(error)}`);
    }
    const now = Date.now();
    if (counted) this.take(now, counted);
    this.snapshot = this.snapshotOf(now, problems);
    this.onSnapshot(this.snapshot);
    this.askNext();
  }

  private async askEnvoys(): Promise<Counted> {
    const { seconds } = this.options;
    await Promise.all(this.sidecars.map((sidecar) => sidecar.ask(seconds)));
    const standing = this.sidecars.flatMap((sidecar) => sidecar.standing);
    const silent = new Set(this.sidecars.filter((each) => each.silent).map((each) => this.nodeOf(each)));
    this.exchange.observe(
      Date.now(),
      this.sidecars.flatMap((sidecar) => sidecar.grownOf(COUNTED)),
      standing.filter(({ name }) => COUNTED.includes(name)),
      silent as Set<string>,
    );
    const grown = this.sidecars.flatMap((sidecar) => sidecar.grown(seconds));
    return { grown, standing, hasTotals: true };
  }

  private async askPrometheus(): Promise<Counted> {
    const { prometheus = '', seconds } = this.options;
    const { samples, standing } = await countedByPrometheus(prometheus, seconds, VERSIONS);
    return { grown: samples, standing, hasTotals: false };
  }

  /** Who a sidecar stands for: the id of a node. */
  private nodeOf(sidecar: Sidecar): string | undefined {
    const peer = peerAt(sidecar);
    return peer && nodeId(peer, 'source');
  }

  private sidecarsByNode(): Map<string | undefined, Sidecar[]> {
    const found = new Map<string | undefined, Sidecar[]>();
    for (const sidecar of this.sidecars) {
      const id = this.nodeOf(sidecar);
      found.set(id, [...(found.get(id) ?? []), sidecar]);
    }
    return found;
  }

  private take(now: number, { grown, standing, hasTotals }: Counted): void {
    this.standing = standing;
    const { seconds } = this.options;
    // At first it is known only which edges there are.
    if (this.taken === 1) this.history.clear();
    const all = new Map(mapOf(standing, null, { byVersion: true }).edges.map((edge) => [edgeId(edge), edge]));
    const current = mapOf(grown, seconds, { standing, byVersion: true }).edges;
    for (const edge of current) {
      const id = edgeId(edge);
      if (!this.history.hasRoomFor(id)) continue;
      const numbers = numbersOf(now, edge, seconds);
      this.history.add(id, numbers);
      this.edges.set(id, viewOf(id, edge, numbers, hasTotals ? all.get(id) : undefined));
      for (const side of ['source', 'destination'] as const) this.nodes.set(nodeId(edge[side], side), edge[side]);
    }
    const told = new Set(current.map(edgeId));
    this.history.forget(now);
    this.taken++;
    for (const [id, view] of this.edges) {
      if (!this.history.has(id)) this.edges.delete(id);
      else if (!told.has(id)) this.edges.set(id, { ...view, isOld: true });
    }
    const used = new Set([...this.edges.values()].flatMap(({ source, destination }) => [source, destination]));
    for (const id of this.nodes.keys()) if (!used.has(id)) this.nodes.delete(id);
    for (const sidecar of this.sidecars) {
      const peer = peerAt(sidecar);
      if (peer) this.nodes.set(nodeId(peer, 'source'), peer);
    }
    this.leftOut = [...new Set([...all.keys(), ...told])].filter((id) => !this.edges.has(id)).length;
  }

  private snapshotOf(at: number, problems: string[]): Snapshot {
    const { seconds, prometheus } = this.options;
    const watched = this.sidecarsByNode();
    const nodes = [...this.nodes].map(([id, peer]): NodeView => viewOfNode(id, peer, watched.get(id) ?? []));
    const byId = new Map(nodes.map((node) => [node.id, node]));
    const isSilent = (id: string) => byId.get(id)?.state === 'silent';
    const mark = (id: string, remark: string) => {
      const node = byId.get(id);
      if (!node || isSilent(id)) return;
      if (node.state === 'exchanging') node.state = 'lost';
      if (node.sidecars > 0 && !node.remarks.includes(remark)) node.remarks.push(remark);
    };
    if (prometheus !== undefined) markCounting(byId, this.edges.values());
    for (const { observer, peer, since } of this.exchange.lost(at)) {
      const [who, whom] = [byId.get(observer), byId.get(peer)];
      // Who has no sidecar, or one that does not answer, cannot be asked: that is said there.
      if (!who || !whom || isSilent(observer) || isSilent(peer)) continue;
      mark(observer, `Since ${timeOf(since)} it no longer learns that its peer is ${whom.name}.`);
      mark(peer, `Since ${timeOf(since)} ${who.name} no longer learns who it is.`);
    }
    const nameless = watched.get(undefined) ?? [];
    for (const { address, silent } of nameless) {
      if (silent) problems.push(`${address} does not answer: ${silent.reason}`);
    }
    const idle = nameless.filter(({ silent, problem }) => !silent && !problem).map(({ address }) => address);
    if (idle.length > 0) problems.push(`Nothing is counted yet at ${listOf(idle)}.`);
    for (const { address, problem } of this.sidecars) if (problem) problems.push(`${address}: ${problem}`);
    return {
      ...{ at, seconds, nodes, edges: [...this.edges.values()], problems, leftOut: this.leftOut },
      source: prometheus === undefined ? 'envoys' : 'prometheus',
      asked: prometheus === undefined ? this.sidecars.length : 1,
    };
  }

  /** The numbers of an edge over the last minutes. */
  historyOf(edge: string): Numbers[] {
    return this.history.of(edge);
  }

  /** What there is to say about a node. */
  async detailsOf(id: string): Promise<NodeDetails> {
    const own = this.sidecars.filter((sidecar) => this.nodeOf(sidecar) === id).slice(0, MOST_TOLD);
    await Promise.all(own.map((sidecar) => this.learn(sidecar)));
    return { told: own.flatMap(({ told }) => told ?? []), labels: this.labelsOf(id) };
  }

  /** What others' metrics say of a node. */
  private labelsOf(id: string): [string, string][] {
    const found = new Map<string, Set<string>>();
    const wanted = this.nodes.get(id);
    const isIt = ({ kind, name, namespace }: Peer) =>
      kind === wanted?.kind && name === wanted.name && namespace === wanted.namespace;
    for (const { labels } of this.standing) {
      for (const side of ['source', 'destination'] as const) {
        if (labels.reporter === side || !isIt(peerOf(labels, side))) continue;
        for (const [name, value] of Object.entries(labels)) {
          if (!name.startsWith(side)) continue;
          const label = name.slice(side.length + 1);
          found.set(label, (found.get(label) ?? new Set()).add(value));
        }
      }
    }
    return [...found].slice(0, MOST_LABELS).map(([name, values]) => [name, [...values].slice(0, 5).join(', ')]);
  }

  /** Asks a sidecar what it says of itself; if it does not answer, what it said before is left. */
  private async learn(sidecar: Sidecar): Promise<void> {
    const { address, silent, told } = sidecar;
    const nothing: Told = { address, at: Date.now(), nodeId: '', sayings: [], problem: null };
    const mostAge = told?.problem ? FAILED_MILLISECONDS : TOLD_MILLISECONDS;
    if (silent) {
      sidecar.told = { ...(told ?? nothing), problem: silent.reason };
    } else if (!told || Date.now() - told.at > mostAge) {
      sidecar.told = await toldBy(address).catch((error) => ({ ...(told ?? nothing), problem: reasonOf(error) }));
    }
  }

  /** Asks one after the other what they say, so that it is known of one that ends. */
  private askNext(): void {
    const next = this.sidecars.find(({ told, silent, answeredAt }) => !told && !silent && answeredAt > 0);
    if (!next || this.isAsking) return;
    this.isAsking = true;
    void this.learn(next).finally(() => {
      this.isAsking = false;
    });
  }
}

/** Who counts has a sidecar, though nobody has asked it. */
function markCounting(nodes: Map<string, NodeView>, edges: Iterable<EdgeView>): void {
  for (const edge of edges) {
    for (const side of ['source', 'destination'] as const) {
      const node = nodes.get(edge[side]);
      if (node?.kind === 'workload' && edge.seenBy.includes(side)) node.state = 'counting';
    }
  }
}

/** Who a sidecar stands for: by what it counted, or else by what it says of itself. */
function peerAt({ standing, told }: Sidecar): Peer | undefined {
  return ownPeer(standing) ?? (told && peerOfTold(told));
}

/** Some of a long list. */
function listOf(all: string[]): string {
  const rest = all.length - MOST_LISTED;
  return rest > 0 ? `${all.slice(0, MOST_LISTED).join(', ')} and ${rest} more` : all.join(', ');
}

const timeOf = (at: number) => new Date(at).toTimeString().slice(0, 8);

function numbersOf(at: number, edge: Edge, seconds: number): Numbers {
  const { requests, rate, errors, p50, p99, connections } = edge;
  const { opened, open, received, sent } = connections ?? { opened: 0, open: 0, received: 0, sent: 0 };
  const perSecond = { opened: opened / seconds, open, received: received / seconds, sent: sent / seconds };
  return {
    ...{ at, rate: rate ?? 0, p50, p99 },
    errors: requests > 0 ? errors / requests : null,
    connections: connections && perSecond,
  };
}

function viewOf(id: string, edge: Edge, now: Numbers, total: Edge | undefined): EdgeView {
  const { source, destination, protocol, reporter, seen_by } = edge;
  return {
    ...{ id, protocol, reporter, seenBy: seen_by, now, isOld: false },
    source: nodeId(source, 'source'),
    destination: nodeId(destination, 'destination'),
    total: total ? { requests: total.requests, errors: total.errors, connections: total.connections } : null,
  };
}

function viewOfNode(id: string, { kind, name, namespace, version = '' }: Peer, sidecars: Sidecar[]): NodeView {
  const silent = sidecars.filter((sidecar) => sidecar.silent);
  const remarks = silent.map(({ address, silent }) => {
    const { since = 0, reason = '' } = silent ?? {};
    return `Its sidecar at ${address} has not answered since ${timeOf(since)} (${reason}).`;
  });
  const known = sidecars.length === 0 ? 'unwatched' : silent.length > 0 ? 'silent' : 'exchanging';
  return {
    ...{ id, kind, name, namespace, version, remarks, sidecars: sidecars.length, silent: silent.length },
    state: kind === 'workload' ? known : kind === 'unknown' ? 'unknown' : 'unwatched',
  };
}
