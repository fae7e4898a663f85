// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { parse } from 'yaml';
import { type Sample, samplesOf } from '../../cli/map/samples.ts';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { type Cluster, type Listener, metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { type Bootstrap, Envoy, localPort } from '../../testkit/envoy/process.ts';
import { tcpCluster, tcpExchange, tcpListener, tcpProxy } from '../../testkit/envoy/tcp.ts';
import { WorkloadServer } from '../../testkit/xds/server.ts';
import { Application, USER } from './application.ts';
import {
  BOOKS,
  DATABASE,
  DATABASE_CALLER,
  nodeOf,
  READS_PREFACES,
  REPORT,
  WORKLOADS,
  type Workload,
} from './bookinfo.ts';
import { Database } from './database.ts';

/** Bookinfo, running: an Envoy for each workload that has a sidecar, and all applications in this process. */

/** Istio's rules, which make labels of what stands in a metric's name. */
const STATS_TAGS = 'envoy/stats_tags.yaml';

/** If the module ever fails, requests go on without it; but not those of strangers, at a gateway. */
function failing(policy: 'FAIL_OPEN' | 'FAIL_CLOSED', filter: { typed_config: { config: object } }): object {
  Object.assign(filter.typed_config.config, { failure_policy: policy });
  return filter;
}

/** The filter, with its metrics on. Two of the sidecars look for peers that say nothing, too. */
const COUNTING = { metrics: {} };
const ALSO_BY_ADDRESS = {
  ...COUNTING,
  downstream_discovery: [{ istio_headers: {} }, { workload_discovery: {} }],
  downstream_propagation: [{ istio_headers: {} }],
};
const ALSO_BY_ENDPOINT = {
  ...COUNTING,
  upstream_discovery: [{ istio_headers: {} }, { endpoint_metadata: {} }],
  // Who has no filter would see the headers: nothing is told there.
  upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
};

/** Connections to the database: it is told who calls, since its endpoint says that it reads that. */
const TELLING_DATABASE = { ...COUNTING, preface: 'endpoint_metadata' };

const CONTROL_PLANE = 'workload-discovery';
/** A control plane that is gone without a word is noticed. */
const KEPT_ALIVE = { connection_keepalive: { interval: '30s', timeout: '5s' } };
const KNOWN_WORKLOADS = 'wasmcustom.metadata_exchange.discovery_workloads';

/** Bookinfo's processes, by the names of its workloads. */
export class Mesh implements AsyncDisposable {
  readonly sidecars = new Map<string, Envoy>();
  readonly applications = new Map<string, Application | Database>();
  private readonly inbound = new Map<string, number>();
  private controlPlane: WorkloadServer | undefined;

  private constructor(
    /** Whether the client without a sidecar is there: it needs an address of its own. */
    readonly withReport: boolean,
  ) {}

  /** Starts all, servers before their clients. If one does not start the others are stopped. */
  static async start(): Promise<Mesh> {
    const mesh = new Mesh(await isOurs(REPORT.address));
    try {
      await mesh.open();
      return mesh;
    } catch (error) {
      await mesh[Symbol.asyncDispose]();
      throw error;
    }
  }

  private async open(): Promise<void> {
    if (this.withReport) this.controlPlane = await WorkloadServer.start({ workloads: [REPORT.workload] });
    this.applications.set(BOOKS.name, await Application.start(BOOKS.name, BOOKS.answer));
    await this.addDatabase();
    for (let waiting = WORKLOADS; waiting.length > 0; ) {
      const isWaiting = (service: string) => waiting.some((each) => each.service === service);
      const next = waiting.filter(({ calls }) => !calls.some(isWaiting));
      const started = await Promise.allSettled(next.map((workload) => this.add(workload)));
      for (const result of started) if (result.status === 'rejected') throw result.reason;
      waiting = waiting.filter((each) => !next.includes(each));
    }
    const finder = this.sidecar(REPORT.server);
    // If the control plane does not reach it the map will lack a name, which is better to read than an error.
    for (const end = Date.now() + 5_000; this.withReport && Date.now() < end; await sleep(20)) {
      if ((await finder.stat(KNOWN_WORKLOADS)) === 1) break;
    }
  }

  /** Starts a workload: its application, if it has one, and its sidecar. */
  private async add(workload: Workload): Promise<void> {
    const { name, answer } = workload;
    const application = answer && (await Application.start(name, answer));
    if (application) this.applications.set(name, application);
    const sidecar = await Envoy.start(this.bootstrap(workload, application?.port), { name });
    this.sidecars.set(name, sidecar);
    if (!application) return;
    application.outbound = await sidecar.port('outbound');
    if (name === DATABASE_CALLER) application.database = await sidecar.port('database');
    this.inbound.set(name, await sidecar.port('inbound'));
  }

  /** Starts the database and its sidecar. */
  private async addDatabase(): Promise<void> {
    const { name, entries = {} } = DATABASE;
    const database = await Database.start(name, entries);
    this.applications.set(name, database);
    const inbound = connections('inbound', 'INBOUND', COUNTING, 'app');
    const cluster = tcpCluster('app', database.port);
    const sidecar = await Envoy.start(
      counted({ node: nodeOf(DATABASE), static_resources: { listeners: [inbound], clusters: [cluster] } }),
      { name },
    );
    this.sidecars.set(name, sidecar);
    this.inbound.set(name, await sidecar.port('inbound'));
  }

  private bootstrap(workload: Workload, app: number | undefined): Bootstrap {
    const clusters: Record<string, Cluster> = {};
    if (app !== undefined) clusters.app = { port: app };
    for (const service of workload.calls) clusters[service] = this.clusterOf(service);
    const findsReport = this.withReport && workload.name === REPORT.server;
    if (findsReport) clusters[CONTROL_PLANE] = { port: this.controlPlane?.port ?? 0, http2: KEPT_ALIVE };
    const outward = workload.name === BOOKS.caller ? ALSO_BY_ENDPOINT : COUNTING;
    const outbound: Listener = {
      name: 'outbound',
      direction: 'OUTBOUND',
      filters: [failing(workload.answer ? 'FAIL_OPEN' : 'FAIL_CLOSED', metadataExchange(outward))],
      manager: { access_log: [], route_config: { virtual_hosts: workload.calls.map(virtualHost) } },
    };
    // As at any edge: whatever host the world asks for.
    if (!workload.answer) outbound.manager.route_config.virtual_hosts[0].domains = ['*'];
    const inbound: Listener = {
      name: 'inbound',
      direction: 'INBOUND',
      filters: [failing('FAIL_OPEN', metadataExchange(findsReport ? ALSO_BY_ADDRESS : COUNTING))],
      manager: { access_log: [accessLog()], use_remote_address: true },
    };
    const listeners = app === undefined ? [outbound] : [inbound, outbound];
    const bootstrap = proxy({ node: nodeOf(workload), listeners, clusters });
    if (workload.name === DATABASE_CALLER) {
      const { service, name } = DATABASE;
      const metadata = { filter_metadata: READS_PREFACES };
      bootstrap.static_resources.listeners.push(connections('database', 'OUTBOUND', TELLING_DATABASE, service));
      bootstrap.static_resources.clusters.push(tcpCluster(service, this.inboundPort(name), metadata));
    }
    return counted(bootstrap);
  }

  /** The endpoints of a service: the sidecars of its workloads, or the server that has none. */
  private clusterOf(service: string): Cluster {
    const assignment = (lb_endpoints: object[]) => ({ cluster_name: service, endpoints: [{ lb_endpoints }] });
    const endpoint = (port: number) => ({ endpoint: { address: localPort(port) } });
    if (service !== BOOKS.service) {
      const ports = WORKLOADS.filter((each) => each.service === service).map(({ name }) => this.inboundPort(name));
      return { port: ports[0], load_assignment: assignment(ports.map(endpoint)) };
    }
    const { port = 0 } = this.applications.get(BOOKS.name) ?? {};
    const { clusterMetadata, endpointMetadata } = BOOKS;
    return {
      port,
      metadata: { filter_metadata: clusterMetadata },
      load_assignment: assignment([{ ...endpoint(port), metadata: { filter_metadata: endpointMetadata } }]),
    };
  }

  /** The Envoy of a workload. */
  sidecar(name: string): Envoy {
    const sidecar = this.sidecars.get(name);
    if (!sidecar) throw new Error(`${name} has no sidecar`);
    return sidecar;
  }

  /** Where a workload's sidecar listens for others. */
  inboundPort(name: string): number {
    const port = this.inbound.get(name);
    if (port === undefined) throw new Error(`${name} does not listen yet`);
    return port;
  }

  /** What all sidecars have counted: a page for each. */
  async samples(): Promise<Sample[][]> {
    const pages = [...this.sidecars.values()].map((each) => each.admin('/stats/prometheus?filter=istio_'));
    return (await Promise.all(pages)).map((page) => samplesOf(page, 'istio_'));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const parts: AsyncDisposable[] = [...this.sidecars.values(), ...this.applications.values()];
    await Promise.all(parts.map((part) => part[Symbol.asyncDispose]()));
    this.controlPlane?.stop();
  }
}

/** A listener for connections, that lead to a cluster. */
function connections(name: string, direction: 'INBOUND' | 'OUTBOUND', config: object, cluster: string): object {
  // A database would take a preface that nobody cut out for a key.
  const policy = direction === 'INBOUND' ? 'FAIL_CLOSED' : 'FAIL_OPEN';
  const filters = [failing(policy, tcpExchange(config)), tcpProxy({ name, cluster, proxy: { access_log: [] } })];
  return tcpListener({ name, direction, chains: [{ filters }] });
}

/** A bootstrap whose metrics have labels. The duration of requests is counted each second. */
function counted(bootstrap: Bootstrap): Bootstrap {
  return { ...bootstrap, stats_config: { stats_tags: statsTags() }, stats_flush_interval: '1s' };
}

/** Whether it is an address of this machine. Only Linux has more of them by itself than 127.0.0.1. */
function isOurs(address: string): Promise<boolean> {
  const server = createServer();
  return new Promise((resolve) => {
    server.once('error', () => resolve(false));
    server.listen(0, address, () => server.close(() => resolve(true)));
  });
}

function virtualHost(service: string) {
  return { name: service, domains: [service], routes: [{ match: { prefix: '/' }, route: { cluster: service } }] };
}

function statsTags(): object[] {
  const { stats_config } = parse(readFileSync(join(ROOT, STATS_TAGS), 'utf8'));
  return stats_config.stats_tags;
}

/** Who called, as filter state has it, for requests of a named user only. */
function accessLog() {
  const type = 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog';
  const state = 'wasm.envoy.wasm.metadata_exchange.downstream';
  return {
    name: 'callers',
    filter: { header_filter: { header: { name: USER, present_match: true } } },
    typed_config: {
      '@type': type,
      log_format: {
        json_format: {
          path: '%REQ(:PATH)%',
          downstream_id: `%FILTER_STATE(${state}_id:PLAIN)%`,
          downstream: `%FILTER_STATE(${state}:TYPED)%`,
        },
      },
    },
  };
}
