// SPDX-License-Identifier: Apache-2.0
import { isDeepStrictEqual } from 'node:util';
import { Istiod } from '../../testkit/host/istiod.ts';
import { NODE } from '../../testkit/host/node.ts';
import { HostedProxy, type Plugin } from '../../testkit/host/proxy.ts';
import { struct } from '../../testkit/struct.ts';
import { type DiscoveryRequest, response } from '../../testkit/xds/messages.ts';
import { Knowledge, nodeToldOf, readAddress, type Verdict } from '../fuzz/oracle/discovery.ts';

/** A proxy and what it should know, driven side by side: whatever differs is an error. */

const CLUSTER = 'workload-discovery';
const METHODS = [{ workload_discovery: {} }];
/** Two configurations that ask the same. */
const CONFIGS = [1, 2].map((max_peer_cache_size) => ({
  downstream_discovery: METHODS,
  upstream_discovery: METHODS,
  max_peer_cache_size,
}));
/** Seconds after the last response until what a new stream did not name is gone. */
const SETTLED = 5;
/** Ticks in which what an earlier VM left is swept. */
const TICKS_OF_SWEEP = 8;
/** More seconds than the longest wait for a new stream. */
const LONGEST_WAIT = 40;

const show = (value: unknown) => JSON.stringify(value) ?? 'nobody';

/** What an endpoint’s metadata say of what is behind an internal listener. */
const BEHIND = 'xds.upstream_host_metadata.filter_metadata.envoy.filters.listener.original_dst.local';

/** Whether all that is published stands in a record, and not elsewhere in memory. */
function isMadeOf({ NAMESPACE, IDENTITY, OWNER, LABELS, ...texts }: Record<string, unknown>, record: Buffer): boolean {
  const given = [...Object.values(texts), ...Object.values(LABELS as object)];
  if (NAMESPACE !== 'default') given.push(NAMESPACE);
  return typeof IDENTITY === 'string' && given.every((text) => record.includes(text as string));
}

export class Player {
  readonly istiod = new Istiod();
  readonly known: Knowledge;
  readonly proxy: HostedProxy;
  /** The messages that were taken so far, and what they came to. */
  readonly counts = { taken: 0, removed: 0, refused: 0, lookups: 0, found: 0, streams: 0 };
  private readonly properties: Record<string, Buffer>;
  private plugin: Plugin;
  private loaded = 0;
  private mustSweep = false;
  private lastResponse: number | undefined;
  /** What the last message is to be answered with. */
  private verdict: Verdict | undefined;
  /** What the worker keeps until its next tick. */
  private readonly kept = new Map<string, unknown>();

  constructor(
    network: string,
    private readonly module?: WebAssembly.Module,
  ) {
    this.known = new Knowledge(network);
    this.istiod.answers = false;
    this.istiod.listener = { began: (request) => this.began(request), sent: (message) => this.sent(message) };
    this.properties = { 'xds.node': NODE, 'xds.node.metadata.NETWORK': Buffer.from(network) };
    this.proxy = new HostedProxy({ workers: 1, properties: this.properties, clusters: { [CLUSTER]: this.istiod } });
    this.plugin = this.proxy.load(CONFIGS[0], module);
    this.pass(2);
    if (this.istiod.open.length !== 1) throw new Error('there is no stream');
  }

  /** The VM on the main thread. */
  get main() {
    if (!this.plugin.main) throw new Error('there is a main thread');
    return this.plugin.main.host;
  }

  /** The VM of the worker. */
  get worker() {
    return this.plugin.workers[0].host;
  }

  private began({ initialResourceVersions }: DiscoveryRequest): void {
    this.mustSweep = !this.known.isEmpty;
    this.lastResponse = undefined;
    this.known.begin(initialResourceVersions);
    this.counts.streams++;
  }

  private sent(message: Buffer): void {
    this.verdict = this.known.take(message);
    this.lastResponse = this.proxy.process.now();
    this.counts.taken += this.verdict.taken;
    this.counts.removed += this.verdict.removed;
    this.counts.refused += this.verdict.refused.length;
  }

  /** Sends a response, and looks at the answer. */
  push(message: Buffer): Verdict {
    const requests = this.istiod.conversations.at(-1)?.requests ?? [];
    const before = requests.length;
    this.istiod.pushBytes(message);
    const verdict = this.verdict;
    if (!verdict) throw new Error('there is no stream');
    this.judge(verdict, requests.slice(before));
    return verdict;
  }

  private judge(verdict: Verdict, answers: DiscoveryRequest[]): void {
    if (answers.length !== (verdict.nonce ? 1 : 0)) throw new Error(`${answers.length} answers to ${verdict.nonce}`);
    const [answer] = answers;
    if (answer && answer.responseNonce !== verdict.nonce) throw new Error(`the answer is to ${answer.responseNonce}`);
    if (answer && Boolean(answer.errorDetail) !== verdict.refused.length > 0) {
      throw new Error(`answered with ${show(answer.errorDetail)}, refused should be ${show(verdict.refused)}`);
    }
  }

  /** Lets seconds pass. */
  pass(seconds: number): void {
    for (; seconds > 0; seconds--) {
      const next = this.proxy.process.now() + 1000;
      if (this.mustSweep && this.lastResponse !== undefined && next - this.lastResponse >= SETTLED * 1000) {
        this.mustSweep = false;
        this.counts.removed += this.known.sweep();
      }
      this.kept.clear();
      this.proxy.pass(1);
    }
  }

  /** Ends the stream, and waits for the next one; something may happen meanwhile. */
  reconnect(meanwhile: () => void = () => {}): void {
    this.istiod.hangUp();
    this.lastResponse = undefined;
    meanwhile();
    this.waitForStream();
  }

  /** The configuration that has the stream ends, and another one takes over. */
  takeOver(meanwhile: () => void = () => {}): void {
    const old = this.plugin;
    this.plugin = this.proxy.load(CONFIGS[++this.loaded % 2], this.module);
    this.proxy.unload(old);
    this.lastResponse = undefined;
    meanwhile();
    this.waitForStream();
  }

  /** A stream of a proxy with this node begins. */
  introduce(node: Buffer): void {
    this.properties['xds.node'] = node;
    this.reconnect();
    this.properties['xds.node'] = NODE;
    const told = this.istiod.conversations.at(-1)?.requests[0].node ?? Buffer.alloc(0);
    if (!told.equals(nodeToldOf(node))) throw new Error(`the node is told as ${told.toString('hex')}`);
  }

  /** Another VM has the lease for a while: afterwards this one begins anew, and clears what it left of before. */
  usurp(): void {
    const { shared } = this.proxy.process;
    const lease = shared.keys.find((key) => key.startsWith('mxl1')) ?? '';
    const value = Buffer.from(shared.get(lease) ?? Buffer.alloc(0));
    value[0] ^= 1;
    shared.set(lease, value);
    this.mustSweep = false;
    this.lastResponse = undefined;
    // The module closes its stream at the next tick.
    this.known.clear();
    this.pass(1);
    this.waitForStream();
    this.push(response({ nonce: 'anew' }));
    this.pass(SETTLED + TICKS_OF_SWEEP + 1);
  }

  private waitForStream(): void {
    for (let i = 0; this.istiod.open.length === 0; i++) {
      if (i === LONGEST_WAIT) throw new Error('no stream comes');
      this.pass(1);
    }
  }

  /** Lets pass as much time as a new stream has until what it did not name is gone. */
  settle(): void {
    this.pass(SETTLED + 1);
  }

  /** Asks who is at an address, on one of the sides, and compares. */
  ask(said: string, side: 'client' | 'server' | 'behind'): void {
    const address = readAddress(said);
    let expected: unknown;
    if (address !== undefined) {
      if (!this.kept.has(address)) this.kept.set(address, this.known.at(address));
      expected = this.kept.get(address);
    }
    const actual = this.published(said, side);
    this.counts.lookups++;
    if (expected) this.counts.found++;
    if (!isDeepStrictEqual(actual, expected)) {
      throw new Error(`${side} at ${said}: the module says ${show(actual)}, right is ${show(expected)}`);
    }
  }

  /** Who is published of an address. */
  published(said: string, side: 'client' | 'server' | 'behind'): Record<string, unknown> | undefined {
    const { host, root } = this.plugin.workers[0];
    const bytes = Buffer.from(said, 'latin1');
    const stream = host.stream(root);
    if (side === 'client') stream.with({ 'source.address': bytes });
    stream.onRequest();
    if (side === 'server') stream.with({ 'upstream.address': bytes });
    if (side === 'behind') stream.with({ 'upstream.address': Buffer.from('envoy://inner/'), [BEHIND]: bytes });
    stream.onResponse().end();
    const found = stream.filterState[`envoy.wasm.metadata_exchange.${side === 'client' ? 'downstream' : 'upstream'}`];
    return found && struct.read(found);
  }

  /**
   * Has somebody else write one of the records, and asks for addresses: whoever is published must stand in that record.
   * Then all is as it was.
   */
  forge(number: number, change: (record: Buffer) => Buffer, addresses: string[]): void {
    // What a sweep removes meanwhile would come back.
    if (this.mustSweep) this.settle();
    const { shared } = this.proxy.process;
    const keys = shared.keys.filter((key) => key.startsWith('mxw1') && shared.get(key)?.length);
    if (keys.length === 0) return;
    const key = keys[number % keys.length];
    const record = shared.get(key) as Buffer;
    const forged = change(record);
    shared.set(key, forged);
    this.pass(1);
    for (const address of addresses) {
      const who = this.published(address, 'client');
      // Records of other addresses stand elsewhere, as they were.
      const isRight = isDeepStrictEqual(who, this.known.at(readAddress(address) ?? ''));
      if (who && !isRight && !isMadeOf(who, forged)) throw new Error(`a forged record is published as ${show(who)}`);
    }
    shared.set(key, record);
    this.pass(1);
  }

  /** Compares what is counted; a tick writes it. */
  compareCounts(): void {
    this.pass(1);
    const { known, counts } = this;
    const expected = {
      workloads: known.workloads.size,
      addresses: known.addressCount,
      updates: counts.taken,
      removals: counts.removed,
      refused: counts.refused,
      streams: counts.streams,
    };
    for (const [name, value] of Object.entries(expected)) {
      const actual = this.proxy.metric(`discovery_${name}`);
      if (actual !== value) throw new Error(`discovery_${name} is ${actual}, right is ${value}`);
    }
  }

  /** Removes all that is known. */
  empty(): void {
    const names = [...this.known.workloads.keys()];
    if (names.length > 0) this.push(response({ removed: names, nonce: 'all' }));
    this.pass(1);
    for (const { calls, log } of this.proxy.process.vms) [calls.length, log.length] = [0, 0];
    const { conversations } = this.istiod;
    conversations.splice(0, conversations.length - 1);
    conversations[0].requests.length = 1;
  }
}
