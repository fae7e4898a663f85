// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse, stringify } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import type { Authority } from '../../testkit/envoy/certificates.ts';
import { Istiod, type Resource, type XdsServer } from './mesh.ts';

/** What istiod needs to tell of workloads. */
const VALUES = parse(readFileSync(join(ROOT, 'envoy/istio/workload-discovery/istiod-values.yaml'), 'utf8'));

/** Who asked istiod for workloads: a node's id as istiod shortens it, and the nonces of what was sent and taken. */
export interface Watcher {
  node: string;
  sent: string;
  acked: string;
  error: string;
  identity: string;
}

export interface ClusterOptions {
  /** Who issues certificates to istiod and its clients: it has a secure port then. */
  authority?: Authority;
  /** That port; any unless told. */
  securePort?: number;
  /** How long istiod's connections live, such as `2s`; without an end unless told. */
  age?: string;
  /** More of istiod's environment than the shipped values. */
  env?: Record<string, string>;
}

/**
 * A Kubernetes cluster with istiod. The test keeps what is in it: istiod can be killed, and starts again at the same
 * addresses with what is there by then, as it would read it from a kube-apiserver.
 */
export class Cluster implements XdsServer {
  private readonly resources = new Map<string, Resource>();
  private running: Istiod | undefined;
  private tokens: Record<string, string> = {};
  private control = '';
  /** Where it serves xDS without TLS. */
  address = '';
  /** Where it serves xDS with TLS. */
  secure = '';

  private constructor(private readonly options: ClusterOptions) {}

  static async start(resources: Resource[], options: ClusterOptions = {}): Promise<Cluster> {
    const cluster = new Cluster(options);
    for (const each of resources) cluster.resources.set(keyOf(each), each);
    await cluster.startIstiod();
    return cluster;
  }

  /** Starts istiod, at the addresses that it had before. */
  async startIstiod(): Promise<void> {
    const { authority, securePort = 0, age = '0s' } = this.options;
    const args = this.address ? ['-xds', this.address] : [];
    args.push('-age', age, '-secure', this.secure || `127.0.0.1:${securePort}`);
    if (authority) {
      const { chain, key } = authority.issue('istiod', { hosts: ['istiod.istio-system.svc'] });
      args.push('-certificate', chain, '-key', key, '-root', authority.root);
    }
    this.running = await Istiod.start([...this.resources.values()], {
      args,
      env: { ...VALUES.pilot.env, ...this.options.env },
    });
    this.address = this.running.address;
    this.control = this.running.said('control');
    this.secure = authority ? this.running.said('secure') : '';
    await this.setTokens(this.tokens);
  }

  /** Kills istiod; the cluster can change meanwhile. */
  async killIstiod(): Promise<void> {
    await this.running?.[Symbol.asyncDispose]();
    this.running = undefined;
  }

  /** Stops istiod without an end: its connections stay, and nobody answers on them. */
  freezeIstiod(): void {
    this.running?.freeze();
  }

  /** Adds Kubernetes resources, or puts them in place of those of the same name. */
  async put(...resources: Resource[]): Promise<void> {
    for (const each of resources) this.resources.set(keyOf(each), each);
    await this.change('PUT', resources);
  }

  async remove(...resources: Resource[]): Promise<void> {
    for (const each of resources) this.resources.delete(keyOf(each));
    await this.change('DELETE', resources);
  }

  /** The tokens that are good from now on, and the service accounts that they stand for: `NAMESPACE:NAME`. */
  async setTokens(tokens: Record<string, string>): Promise<void> {
    this.tokens = tokens;
    await this.ask('PUT', '/tokens', JSON.stringify(tokens));
  }

  async watchers(): Promise<Watcher[]> {
    return (await this.ask('GET', '/watchers')).json() as Promise<Watcher[]>;
  }

  /** Does something, and waits until all who watch have acknowledged what istiod sent them of it. */
  async acknowledged(change: () => Promise<void>, patience = 20_000): Promise<void> {
    const before = await this.watchers();
    if (before.length === 0) throw new Error('nobody watches workloads');
    await change();
    for (const end = Date.now() + patience; ; await sleep(10)) {
      const now = await this.watchers();
      const changed = now.every(({ sent }) => before.every((each) => each.sent !== sent));
      if (now.length > 0 && changed && now.every(({ sent, acked }) => sent === acked)) return;
      if (Date.now() > end) throw new Error(`istiod was not answered: ${JSON.stringify(now)}\n${this.log()}`);
    }
  }

  log(): string {
    return this.running?.log() ?? '';
  }

  private async change(method: string, resources: Resource[]): Promise<void> {
    if (this.running) await this.ask(method, '/', resources.map((each) => stringify(each)).join('\n---\n'));
  }

  private async ask(method: string, path: string, body?: string): Promise<Response> {
    const response = await fetch(`http://${this.control}${path}`, { method, body });
    if (!response.ok) throw new Error(`istiod: ${method} ${path}: ${await response.text()}`);
    return response;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.killIstiod();
  }
}

function keyOf({ kind, metadata }: Resource): string {
  return `${kind} ${metadata.namespace} ${metadata.name}`;
}
