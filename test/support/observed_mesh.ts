// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Authority, type Certificate, spiffe } from '../../testkit/envoy/certificates.ts';
import { metadataExchange } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { tcpCluster, tcpExchange, tcpListener, tcpProxy } from '../../testkit/envoy/tcp.ts';
import { App, METADATA, send } from '../../testkit/http.ts';
import { type Named, WorkloadServer } from '../../testkit/xds/server.ts';
import { Prometheus } from './prometheus.ts';
import { counting, workload } from './traffic.ts';
import { echo, TcpServer, Wire } from './wire.ts';

/**
 * A small mesh that a Prometheus server watches: productpage calls reviews through two real sidecars, by HTTP and by
 * TCP, over mTLS and in plain text, and a server without a sidecar, which it does not know. A report without a sidecar is known by its
 * address; strangers are not known at all, and some of them send garbage.
 */

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';
const REPORT_ADDRESS = '127.52.0.77';

const REPORT: Named = {
  uid: 'cluster-1//Pod/default/stock-report',
  name: 'stock-report',
  namespace: 'default',
  addresses: [REPORT_ADDRESS],
  workloadName: 'stock-report',
  canonicalName: 'stock-report',
};

const HEADERS = { istio_headers: {} };

/** The filter of reviews' sidecar: it counts, and asks a control plane for those who say nothing. */
const FINDING = {
  metrics: {},
  downstream_discovery: [HEADERS, { workload_discovery: {} }],
  downstream_propagation: [HEADERS],
};

/** Of ten requests one fails, and one is the client's own mistake. */
const statusOf = (path: string) => [500, 404][Number(path.slice(1)) % 10] ?? 200;

/** How often each of the callers asks. */
const EVERY_MILLISECONDS = 40;

export class ObservedMesh implements AsyncDisposable {
  private readonly parts: AsyncDisposable[] = [];
  private readonly folder = mkdtempSync(join(tmpdir(), 'mesh-'));
  private traffic: NodeJS.Timeout | undefined;
  private readonly underWay = new Set<Promise<unknown>>();
  prometheus!: Prometheus;

  /** Starts all, and sends requests until it is stopped. */
  static async start(): Promise<ObservedMesh> {
    const mesh = new ObservedMesh();
    try {
      await mesh.open();
      return mesh;
    } catch (error) {
      await mesh[Symbol.asyncDispose]();
      throw error;
    }
  }

  private async open(): Promise<void> {
    const authority = new Authority(this.folder);
    const certificate = (name: string) => authority.issue(name, { uris: [spiffe('default', name)] });
    const control = this.use(await WorkloadServer.start({ workloads: [REPORT] }));
    const app = this.use(await App.start(({ path }) => ({ status: statusOf(path), body: 'five stars' })));

    const inbound = (name: string) => ({ name, direction: 'INBOUND' as const, filters: [metadataExchange(FINDING)] });
    const server = counting({
      own: workload('reviews'),
      listeners: [inbound('plain'), inbound('mtls')],
      clusters: { app: { port: app.port }, 'workload-discovery': { port: control.port, http2: true } },
    });
    const [, mtls] = server.static_resources.listeners;
    const serves = transport('Downstream', authority, certificate('reviews'));
    mtls.filter_chains[0].transport_socket = serves;
    const database = this.use(await TcpServer.start(echo));
    server.static_resources.clusters.push(tcpCluster('database', database.port));
    server.static_resources.listeners.push(
      tcpListener({ name: 'tcp', direction: 'INBOUND', chains: [{ filters: connections('database') }] }),
      tcpListener({
        name: 'tcp-mtls',
        direction: 'INBOUND',
        chains: [{ filters: connections('database'), transportSocket: serves }],
      }),
    );
    const reviews = this.use(await Envoy.start(server, { name: 'reviews' }));
    const plainPort = await reviews.port('plain');

    const outbound = (name: string) => ({
      name,
      direction: 'OUTBOUND' as const,
      filters: [metadataExchange({ metrics: {} })],
      routes: [{ match: { prefix: '/' }, route: { cluster: name } }],
    });
    const client = counting({
      own: workload('productpage'),
      listeners: [outbound('plain'), outbound('mtls'), outbound('bare')],
      clusters: {
        plain: { port: plainPort },
        bare: { port: app.port },
        mtls: {
          port: await reviews.port('mtls'),
          transport_socket: transport('Upstream', authority, certificate('productpage')),
        },
      },
    });
    const calls = transport('Upstream', authority, certificate('productpage'));
    client.static_resources.clusters.push(
      tcpCluster('tcp', await reviews.port('tcp')),
      tcpCluster('tcp-mtls', await reviews.port('tcp-mtls'), undefined, { transport_socket: calls }),
    );
    for (const name of ['tcp', 'tcp-mtls']) {
      client.static_resources.listeners.push(
        tcpListener({ name, direction: 'OUTBOUND', chains: [{ filters: connections(name) }] }),
      );
    }
    const productpage = this.use(await Envoy.start(client, { name: 'productpage' }));
    const ports = await Promise.all(['plain', 'mtls', 'bare'].map((name) => productpage.port(name)));

    const tcpPorts = await Promise.all(['tcp', 'tcp-mtls'].map((name) => productpage.port(name)));
    const strangersPort = await reviews.port('tcp');

    // One that stays open.
    const open = await Wire.open(tcpPorts[0]);
    this.use({ [Symbol.asyncDispose]: async () => open[Symbol.dispose]() });
    await open.send('question');
    await open.until('heard question');

    let n = 0;
    const ask = () => {
      const path = `/${n++}`;
      for (const port of [...tcpPorts, strangersPort]) this.track(connect(port));
      for (const port of ports) this.track(send(port, { path, method: 'POST', body: 'x'.repeat(100) }));
      this.track(send(plainPort, { path, from: REPORT_ADDRESS }));
      this.track(send(plainPort, { path }));
      if (n % 5 === 0) this.track(send(plainPort, { path, headers: [METADATA, 'no base64!'] }));
    };
    ask();
    await Promise.all(this.underWay);
    this.prometheus = this.use(await Prometheus.start(reviews.adminAddress(), productpage.adminAddress()));
    this.traffic = setInterval(() => this.underWay.size < 20 && ask(), EVERY_MILLISECONDS);
  }

  private use<T extends AsyncDisposable>(part: T): T {
    this.parts.push(part);
    return part;
  }

  private track(request: Promise<unknown>): void {
    const done = request.finally(() => this.underWay.delete(done));
    this.underWay.add(done);
    // A mesh that does not answer makes empty panels, which the test tells.
    done.catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.traffic);
    await Promise.allSettled(this.underWay);
    for (const part of this.parts.reverse()) await part[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}

/** What a listener does with connections: the filter counts them, and says to all who this is. */
function connections(cluster: string): object[] {
  return [tcpExchange({ metrics: {}, preface: 'always' }), tcpProxy({ name: cluster, cluster })];
}

/** A connection that asks something, and ends when it was answered. */
async function connect(port: number): Promise<void> {
  using wire = await Wire.open(port);
  await wire.send('question');
  await wire.until('heard question');
}

/** A transport socket that shows a certificate, and asks for one of the same authority. */
function transport(side: 'Upstream' | 'Downstream', authority: Authority, { chain, key }: Certificate): object {
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: {
      '@type': `${TLS}.${side}TlsContext`,
      common_tls_context: {
        tls_certificates: [{ certificate_chain: { filename: chain }, private_key: { filename: key } }],
        validation_context: { trusted_ca: { filename: authority.root } },
      },
      ...(side === 'Downstream' ? { require_client_certificate: true } : {}),
    },
  };
}
