// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type Connection, connectionOf } from '../../testkit/connection_log.ts';
import { Authority, type Certificate, spiffe } from '../../testkit/envoy/certificates.ts';
import { type Bootstrap, Envoy, type EnvoyOptions } from '../../testkit/envoy/process.ts';
import {
  type Chain,
  PEER_EXCHANGE,
  TAKES_PREFACES,
  tcpCluster,
  tcpExchange,
  tcpListener,
  tcpProxy,
} from '../../testkit/envoy/tcp.ts';
import { transportSocket } from './tls.ts';
import { TcpServer, Wire } from './wire.ts';

/** Real Envoys that exchange metadata over TCP: one alone with the test on both its sides, or two of them. */

/** What the two proxies of a pair say of themselves, and what a proxy that stands alone does. */
export const CLIENT = { NAME: 'productpage-v1-abc', NAMESPACE: 'default', SERVICE_ACCOUNT: 'productpage' };
export const CLIENT_ID = 'productpage-node';
export const SERVER = { NAME: 'redis-v1-abc', NAMESPACE: 'default', SERVICE_ACCOUNT: 'redis' };
export const SERVER_ID = 'redis-node';
export const OWN = { LABELS: { app: 'own-app' }, NAME: 'own' };
export const OWN_ID = 'own-node';

/** What the peer says that tests play. */
export const PEER = { LABELS: { app: 'peer-app' }, NAME: 'peer' };
export const PEER_ID = 'peer-node';

export interface TcpProxyOptions extends EnvoyOptions {
  direction?: 'INBOUND' | 'OUTBOUND';
  /** The plugin's configuration; none unless told. */
  config?: object;
  metadata?: object;
  id?: string;
  /** What a control plane says of the endpoint behind the proxy. */
  endpoint?: object;
  /** More fields of the cluster behind the proxy. */
  cluster?: object;
  /** Network filters in front of the TCP proxy; ours alone unless told. */
  filters?: object[];
  /** All of the listener's chains, of the filters that a chain has unless told otherwise. */
  chains?: (filters: object[]) => Chain[];
  /** More fields of the access log's lines. */
  log?: Record<string, string>;
  /** More clusters. */
  clusters?: object[];
  /** More fields of the bootstrap. */
  bootstrap?: Bootstrap;
}

/** A bootstrap with a listener of TCP, before a server on this port. */
export function tcpBootstrap(port: number, options: TcpProxyOptions): Bootstrap {
  const { direction, config, metadata = OWN, id = OWN_ID, endpoint, cluster, log, bootstrap, clusters = [] } = options;
  const filters = [...(options.filters ?? [tcpExchange(config)]), tcpProxy({ name: 'listener', log })];
  const chains = options.chains?.(filters) ?? [{ filters }];
  return {
    node: { id, cluster: 'test-cluster', metadata: { 'istio.io/metadata': metadata } },
    static_resources: {
      listeners: [tcpListener({ name: 'listener', direction, chains })],
      clusters: [tcpCluster('app', port, endpoint, cluster), ...clusters],
    },
    ...bootstrap,
  };
}

/** A metric of ours. They are written once a second: `untilMetric` waits for it. */
export function metric(envoy: Envoy, name: string): Promise<number> {
  return envoy.stat(`wasmcustom.metadata_exchange.${name}`);
}

/** Waits until one of our metrics is what it should be. */
export async function untilMetric(envoy: Envoy, name: string, value: number): Promise<void> {
  let last = Number.NaN;
  await envoy
    .until(`${name} is ${value}`, async () => {
      last = await metric(envoy, name);
      return last === value;
    })
    .catch((error: Error) => {
      throw new Error(`${name} is ${last}: ${error.message}`);
    });
}

/** One Envoy with our filter, and the test on both its sides: as the client, and as the server behind. */
export class TcpStand implements AsyncDisposable {
  private opened = 0;

  private constructor(
    readonly envoy: Envoy,
    readonly server: TcpServer,
    readonly port: number,
  ) {}

  static async start(options: TcpProxyOptions = {}, serve?: (wire: Wire) => void): Promise<TcpStand> {
    const server = await TcpServer.start(serve);
    try {
      const envoy = await Envoy.start(tcpBootstrap(server.port, options), options);
      return new TcpStand(envoy, server, await envoy.port('listener'));
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** A connection through the proxy, from one of this machine's addresses: its two ends, and its number. */
  async open(from?: string): Promise<{ client: Wire; server: Wire; n: number }> {
    const n = this.opened++;
    const client = await Wire.open(this.port, from);
    return { client, server: await this.server.wire(n), n };
  }

  /** The line in the access log of the connection that was the n-th to end; the first one unless told. */
  logged(n = 0): Promise<Connection> {
    return connectionOf(this.envoy, n);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    await this.server[Symbol.asyncDispose]();
  }
}

/** Certificates of a mesh with productpage and redis, in a folder that goes with them. */
export class Certificates implements Disposable {
  private readonly folder = mkdtempSync(join(tmpdir(), 'tcp-'));
  readonly authority = new Authority(this.folder);
  readonly client = this.issue('productpage');
  readonly server = this.issue('redis');

  issue(account: string, namespace = 'default'): Certificate {
    return this.authority.issue(`${namespace}-${account}`, { uris: [spiffe(namespace, account)] });
  }

  [Symbol.dispose](): void {
    rmSync(this.folder, { recursive: true });
  }
}

export interface TcpPairOptions extends EnvoyOptions {
  client?: TcpProxyOptions;
  server?: TcpProxyOptions;
  /** Speaks TLS with these; plain TCP unless told. */
  certificates?: Certificates;
  /** What the client's proxy offers to speak over TLS. */
  offers?: string[];
  serve?: (wire: Wire) => void;
  /** The port of the server behind both; unless told one that the test plays. */
  to?: number;
}

/** A client's sidecar and a server's, of which the first knows that the second takes prefaces. */
export class TcpPair implements AsyncDisposable {
  private constructor(
    readonly client: Envoy,
    readonly server: Envoy,
    readonly app: TcpServer,
    /** Where the client's sidecar listens. */
    readonly port: number,
  ) {}

  static async start(options: TcpPairOptions = {}): Promise<TcpPair> {
    const { certificates, offers = [PEER_EXCHANGE, 'istio'], serve, to } = options;
    const { client: before, server: behind, version, workers, componentLogLevel } = options;
    const how = { version, workers, componentLogLevel };
    const app = await TcpServer.start(serve);
    const running: AsyncDisposable[] = [app];
    try {
      const inbound: TcpProxyOptions = { direction: 'INBOUND', metadata: SERVER, id: SERVER_ID, ...how, ...behind };
      if (certificates) inbound.chains ??= (filters) => negotiatingChains(certificates, filters);
      const server = await Envoy.start(tcpBootstrap(to ?? app.port, inbound), { name: 'server', ...inbound });
      running.unshift(server);
      const outbound: TcpProxyOptions = {
        direction: 'OUTBOUND',
        metadata: CLIENT,
        id: CLIENT_ID,
        config: { preface: 'endpoint_metadata' },
        endpoint: TAKES_PREFACES,
        cluster: certificates && { transport_socket: clientSocket(certificates, offers) },
        ...how,
        ...before,
      };
      const client = await Envoy.start(tcpBootstrap(await server.port('listener'), outbound), {
        name: 'client',
        ...outbound,
      });
      return new TcpPair(client, server, app, await client.port('listener'));
    } catch (error) {
      for (const each of running) await each[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** What both sidecars logged of the connection that was the n-th to end; the first one unless told. */
  async logged(n = 0): Promise<{ client: Connection; server: Connection }> {
    return { client: await connectionOf(this.client, n), server: await connectionOf(this.server, n) };
  }

  /** What the client's sidecar alone logged, where the server's has no such log. */
  clientLogged(n = 0): Promise<Connection> {
    return connectionOf(this.client, n);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const envoy of [this.client, this.server]) await envoy.stop();
    await this.app[Symbol.asyncDispose]();
  }
}

/** What the client's sidecar speaks TLS by. */
export function clientSocket(certificates: Certificates, offers: string[]): object {
  return withProtocols(transportSocket('Upstream', certificates.authority, certificates.client), offers);
}

/** Two chains of a server's sidecar: the first for clients that offer the exchange, the other for all others, without it. */
export function negotiatingChains(certificates: Certificates, filters: object[]): Chain[] {
  const socket = transportSocket('Downstream', certificates.authority, certificates.server);
  return [
    {
      name: 'exchange',
      filters,
      transportSocket: withProtocols(socket, [PEER_EXCHANGE, 'istio']),
      protocols: [PEER_EXCHANGE],
    },
    { name: 'others', filters: filters.slice(-1), transportSocket: socket },
  ];
}

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
function withProtocols(socket: any, protocols: string[]): object {
  const { typed_config } = socket;
  const common_tls_context = { ...typed_config.common_tls_context, alpn_protocols: protocols };
  return { ...socket, typed_config: { ...typed_config, common_tls_context } };
}
