// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { setTimeout as sleep } from 'node:timers/promises';
import { type Learned, learned } from '../../testkit/access_log.ts';
import { type Cluster, httpCluster, httpListener, type Listener, proxy } from '../../testkit/envoy/config.ts';
import { Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';
import { type Answer, type Answering, App, type Request, send } from '../../testkit/http.ts';
import { type Named, WorkloadServer } from '../../testkit/xds/server.ts';
import { ConfigFiles } from './config_files.ts';
import { BY_ADDRESS, CLIENT, discovered, filter, KEPT, listening, SERVER } from './discovery.ts';

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
type Json = any;

export interface DiscoveryStandOptions extends EnvoyOptions {
  /** What the control plane has; client and server unless told. */
  workloads?: Named[];
  perResponse?: number;
  /** One listener `main` that finds both sides by address, unless told. */
  listeners?: Listener[];
  /** Listeners come by LDS, so that they can be replaced. */
  lds?: boolean;
  /** The filter of the listener `main`, which comes by ECDS, so that it can be replaced. */
  ecds?: Json;
  /** More fields of the cluster that goes to the control plane; `null`: there is none. */
  cluster?: Partial<Cluster> | null;
  /** The cluster comes by CDS, so that it can be replaced. */
  cds?: boolean;
  /** An extension of the bootstrap configuration: `bootstrapService`. */
  bootstrap?: Json;
  node?: Json;
  clusters?: Record<string, Cluster>;
  answer?: Answering;
  /** Changes the bootstrap configuration before Envoy starts; the folder goes with the stand. */
  change?: (config: Json, folder: string) => void;
}

/** The cluster that the module asks, unless told otherwise. */
const CLUSTER = 'workload-discovery';

/** The name of the filter that comes by ECDS. */
const EXTENSION = 'by-ecds';

/** What was learned of a request, and whom the plain fields name. */
export interface Attributed extends Learned {
  plain: Record<'downstream' | 'upstream', Record<string, string | null>>;
}

/** A real Envoy with our filter, which asks a control plane for workloads; the test is the client, and the server. */
export class DiscoveryStand implements AsyncDisposable {
  private count = 0;

  private constructor(
    readonly server: WorkloadServer,
    readonly app: App,
    readonly envoy: Envoy,
    private readonly files: ConfigFiles,
  ) {}

  static async start(options: DiscoveryStandOptions = {}): Promise<DiscoveryStand> {
    const { workloads = [CLIENT, SERVER], perResponse } = options;
    const server = await WorkloadServer.start({ workloads, perResponse });
    const app = await App.start(options.answer, SERVER.addresses[0]);
    const files = new ConfigFiles();
    try {
      const config = configuration(options, files, app, server);
      return new DiscoveryStand(server, app, await Envoy.start(config, options), files);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      await app[Symbol.asyncDispose]();
      files[Symbol.dispose]();
      throw error;
    }
  }

  /** Sends a request as the client does, and waits until the access log says who was on either side. */
  async ask(request: Request & { listener?: string } = {}): Promise<{ answer: Answer; log: Attributed }> {
    const { listener = 'main', path = this.nextPath(), ...more } = request;
    const answer = await this.send(await this.envoy.port(listener), { ...more, path });
    return { answer, log: await this.logged(path) };
  }

  /** Sends a request as the client does. */
  send(port: number, request: Request): Promise<Answer> {
    return send(port, { from: CLIENT.addresses[0], ...request });
  }

  /** A path that no other request has. */
  nextPath(): string {
    return `/${this.count++}`;
  }

  /** The line of a request in the access log, when it is there. */
  async logged(path: string): Promise<Attributed> {
    let line: Learned | undefined;
    await this.until(`the access log has ${path}`, () => {
      line = learned(this.envoy).findLast((each) => each.path === path);
      return line !== undefined;
    });
    return line as Attributed;
  }

  /** Who a request is attributed to, by name: who asked, and who answered. */
  async names(request: Request & { listener?: string } = {}): Promise<[unknown, unknown]> {
    return namesOf((await this.ask(request)).log);
  }

  /** Asks again and again until the two sides have these names, whichever worker is asked. */
  async untilNames(names: [unknown, unknown], listener = 'main'): Promise<void> {
    let last: unknown;
    let tries = 0;
    const equal = async () => {
      tries++;
      last = await this.names({ listener });
      return JSON.stringify(last) === JSON.stringify(names);
    };
    await this.until(`${listener} knows ${names}`, equal).catch((error) => {
      throw new Error(`${error.message}\nthe last answer: ${JSON.stringify(last)}`);
    });
    // Another worker may have been asked too early.
    if (tries > 1) await sleep(KEPT);
  }

  /** Waits until client and server are known by their addresses. */
  async untilKnown(listener = 'main'): Promise<void> {
    await this.until('the control plane has told all', () => this.server.settled);
    await this.untilNames(BOTH, listener);
  }

  /** Waits until the control plane has exactly this many streams, and all that it sent on them is answered. */
  async untilStreams(open: number): Promise<void> {
    await this.until(`${open} streams are open`, () => {
      return this.server.open.length === open && (open === 0 || this.server.settled);
    });
  }

  /** Waits until something holds. */
  async until(what: string, holds: () => boolean | undefined | Promise<boolean | undefined>): Promise<void> {
    await this.envoy.until(what, holds);
  }

  /** One of our metrics. */
  metric(name: string): Promise<number> {
    return this.envoy.stat(`wasmcustom.metadata_exchange.${name}`);
  }

  /** Waits until a metric is what it should be: they are written once a second. */
  async untilMetric(name: string, value: number): Promise<void> {
    await this.until(`${name} is ${value}`, async () => (await this.metric(name)) === value);
  }

  /** Replaces the listeners. */
  async setListeners(listeners: Listener[]): Promise<void> {
    this.files.write('lds', listeners.map(httpListener));
    await this.taken('listener_manager.lds.update_success');
  }

  /** Replaces the cluster that goes to the control plane, or removes it: `null`. */
  async setCluster(cluster: Partial<Cluster> | null): Promise<void> {
    this.files.write('cds', clusterOf(cluster, this.server));
    await this.taken('cluster_manager.cds.update_success');
  }

  /** Replaces the filter that comes by ECDS. */
  async setExtension(ours: Json): Promise<void> {
    this.files.write('ecds', [{ ...ours, name: EXTENSION }]);
    await this.taken(`extension_config_discovery.http_filter.${EXTENSION}.update_success`);
  }

  /** Requests that go on until they are stopped. */
  traffic(listener = 'main'): Traffic {
    return new Traffic(this, listener);
  }

  /** A file in a folder that goes with the stand. */
  file(name: string): string {
    return `${this.files.folder}/${name}`;
  }

  /** Stops everything; throws if Envoy had anything worse to say than a warning. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    await this.server[Symbol.asyncDispose]();
    await this.app[Symbol.asyncDispose]();
    this.files[Symbol.dispose]();
    const errors = this.envoy.log().match(/^.*\[(error|critical)\].*$/gm);
    if (errors) throw new Error(`Envoy's log:\n${errors.slice(0, 20).join('\n')}`);
  }

  private readonly successes = new Map<string, number>();

  /** Waits until Envoy has taken one update more than when it was asked last. */
  private async taken(counter: string): Promise<void> {
    // Of each kind it had one at its start.
    const before = this.successes.get(counter) ?? 1;
    await this.until(`${counter} is more than ${before}`, async () => (await this.envoy.stat(counter)) > before);
    this.successes.set(counter, await this.envoy.stat(counter));
  }
}

/** Requests one after the other, until they are stopped. */
export class Traffic {
  private readonly paths: string[] = [];
  private stopped = false;
  private readonly running: Promise<void>;

  constructor(
    private readonly stand: DiscoveryStand,
    listener: string,
  ) {
    this.running = this.run(listener);
    // Heard of when it is stopped.
    this.running.catch(() => undefined);
  }

  /** How many requests were answered. */
  get count(): number {
    return this.paths.length;
  }

  /** Waits until so many more were answered. */
  async more(count: number): Promise<void> {
    const goal = this.count + count;
    await this.stand.until(`${count} more requests are answered`, () => this.count >= goal);
  }

  /** Stops; who each request was attributed to, and how often: `productpage-v1-0 → ratings-v1-0`. */
  async stop(): Promise<Record<string, number>> {
    this.stopped = true;
    await this.running;
    await this.stand.logged(this.paths.at(-1) ?? '');
    const lines = new Map(learned(this.stand.envoy).map((line) => [line.path, line]));
    const counts: Record<string, number> = {};
    for (const path of this.paths) {
      const names = namesOf(lines.get(path) ?? (await this.stand.logged(path))).join(' → ');
      counts[names] = (counts[names] ?? 0) + 1;
    }
    return counts;
  }

  private async run(listener: string): Promise<void> {
    const port = await this.stand.envoy.port(listener);
    while (!this.stopped) {
      const path = this.stand.nextPath();
      const { status } = await this.stand.send(port, { path });
      if (status !== 200) throw new Error(`${path} was answered ${status}`);
      this.paths.push(path);
      await sleep(5);
    }
  }
}

/** Who asks and who answers, by name. */
export const BOTH: [string, string] = [CLIENT.name, SERVER.name];

/** What traffic is attributed to when nothing goes wrong. */
export const ALL_KNOWN = BOTH.join(' → ');

/** The names of both sides; `undefined` for nobody. */
export function namesOf({ downstream, upstream }: Learned): [unknown, unknown] {
  const name = (peer: unknown) => (peer as { NAME?: string } | undefined)?.NAME;
  return [name(downstream.struct), name(upstream.struct)];
}

/** The cluster that goes to the control plane, unless there is none. */
function clusterOf(cluster: Partial<Cluster> | null | undefined, server: WorkloadServer): object[] {
  if (cluster === null) return [];
  return [httpCluster(CLUSTER, { port: server.port, http2: true, ...cluster })];
}

function configuration(options: DiscoveryStandOptions, files: ConfigFiles, app: App, server: WorkloadServer): Json {
  const { lds, ecds, cds, cluster, bootstrap, node } = options;
  const ours = ecds ? discovered(EXTENSION, files.source('ecds')) : filter(BY_ADDRESS);
  const listeners = options.listeners ?? [listening('main', ours)];
  const clusters = { app: { port: app.port, address: SERVER.addresses[0] }, ...options.clusters };
  const config = proxy({ node, listeners: lds ? [] : listeners, clusters });
  config.dynamic_resources = {};
  if (lds) {
    files.write('lds', listeners.map(httpListener));
    config.dynamic_resources.lds_config = files.source('lds');
  }
  if (cds) {
    files.write('cds', clusterOf(cluster, server));
    config.dynamic_resources.cds_config = files.source('cds');
  } else config.static_resources.clusters.push(...clusterOf(cluster, server));
  if (ecds) files.write('ecds', [{ ...ecds, name: EXTENSION }]);
  if (bootstrap) config.bootstrap_extensions = [bootstrap];
  options.change?.(config, files.folder);
  return config;
}
