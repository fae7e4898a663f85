// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { readFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { parseAllDocuments } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { App, Headers } from '../../testkit/http.ts';
import {
  endpointsOf,
  Istiod,
  podAddresses,
  podOf,
  type Resource,
  Sidecar,
  type SidecarOptions,
  type XdsServer,
} from './mesh.ts';

/** The resources of a file under envoy/istio. */
export function shippedResources(file: string): Resource[] {
  const text = readFileSync(join(ROOT, 'envoy/istio', file), 'utf8');
  return parseAllDocuments(text).map((each) => each.toJS());
}

/** The one resource of a file. */
export function shippedResource(file: string): Resource {
  return shippedResources(file)[0];
}

/** The shipped cluster of workload discovery, with istiod's secure port of a test. */
export function discoveryCluster(securePort: number): Resource {
  const filter = shippedResource('workload-discovery/cluster.yaml');
  const { endpoint } = filter.spec.configPatches[0].patch.value.load_assignment.endpoints[0].lb_endpoints[0];
  endpoint.address.socket_address = { address: '127.0.0.1', port_value: securePort };
  return filter;
}

/** The header names of the dialect that the shipped configuration has. */
export const HEADERS = { metadata: 'x-envoy-peer-metadata', id: 'x-envoy-peer-metadata-id' };

/** A request from productpage to reviews: what came back, and the headers that both applications saw. */
export interface Exchange {
  status: number;
  clientSaw: Headers;
  serverSaw: Headers | undefined;
}

export interface MeshOptions extends SidecarOptions {
  /** Another istiod, such as one of a cluster that changes. */
  istiod?: (resources: Resource[]) => Promise<XdsServer>;
}

/**
 * The two workloads of workloads.yaml, each an Istio agent with a stock Envoy, under an istiod with these resources. There
 * is no cluster that would run them: the test makes pods of the Deployments, and is the application itself.
 */
export class MeshStand implements AsyncDisposable {
  private constructor(
    readonly productpage: Sidecar,
    readonly reviews: Sidecar,
    private readonly app: App,
    private readonly client: string,
    /** The address of reviews' pod. */
    readonly server: string,
    readonly istiod: XdsServer,
    /** What must be stopped, in this order. */
    private readonly running: AsyncDisposable[],
  ) {}

  static async start(resources: Resource[], options: MeshOptions = {}): Promise<MeshStand> {
    const workloads = shippedResources('workloads.yaml');
    const find = (kind: string, app: string) =>
      workloads.find((each) => each.kind === kind && each.metadata.name.startsWith(app));
    const [client, server] = podAddresses(2);
    const productpage = podOf(find('Deployment', 'productpage'), client);
    const reviews = podOf(find('Deployment', 'reviews'), server);
    const service = find('Service', 'reviews');
    const others = workloads.filter((each) => each.kind !== 'Deployment');
    const running: AsyncDisposable[] = [];
    const keep = <T extends AsyncDisposable>(each: T): T => {
      running.unshift(each);
      return each;
    };
    try {
      const app = keep(await App.start());
      const startIstiod: (all: Resource[]) => Promise<XdsServer> = options.istiod ?? Istiod.start;
      const istiod = keep(
        await startIstiod([
          ...others,
          productpage,
          reviews,
          endpointsOf(service, reviews),
          ...boundToAddresses(client, server, app.port),
          ...resources,
        ]),
      );
      const first = keep(await Sidecar.start(productpage, istiod, options));
      const second = keep(await Sidecar.start(reviews, istiod, options));
      return new MeshStand(first, second, app, client, server, istiod, running);
    } catch (error) {
      await stopAll(running);
      throw error;
    }
  }

  /** productpage's application sends a request to reviews, through both sidecars; or to another service. */
  exchange(path: string, headers: Record<string, string> = {}, service = 'reviews'): Promise<Exchange> {
    const before = this.app.seen.length;
    return new Promise((resolve, reject) => {
      const options = { host: this.client, port: PORT, path, headers: { host: `${service}:${PORT}`, ...headers } };
      request({ ...options, agent: false }, (response) => {
        response.resume().on('end', () => {
          const clientSaw = new Headers(response.rawHeaders);
          resolve({ status: response.statusCode!, clientSaw, serverSaw: this.app.seen[before]?.headers });
        });
      })
        .on('error', reject)
        .end();
    });
  }

  /** A pod that has no sidecar sends a request to reviews' sidecar. */
  visit(path: string, from: string, headers: Record<string, string> = {}): Promise<number> {
    return new Promise((resolve, reject) => {
      const options = { host: this.server, port: POD_PORT, localAddress: from, path, headers, agent: false };
      request(options, (response) => {
        response.resume().on('end', () => resolve(response.statusCode!));
      })
        .on('error', reject)
        .end();
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await stopAll(this.running);
  }
}

async function stopAll(running: AsyncDisposable[]): Promise<void> {
  for (const each of running) await each[Symbol.asyncDispose]();
}

/** The port of reviews' Service, and that of its pod. */
const PORT = 9080;
const POD_PORT = 8080;

/** In place of iptables: listeners at the pods' addresses, and the application's true port. */
function boundToAddresses(client: string, server: string, appPort: number): Resource[] {
  const sidecar = (app: string, spec: object) => ({
    apiVersion: 'networking.istio.io/v1',
    kind: 'Sidecar',
    metadata: { name: app, namespace: 'default' },
    spec: { workloadSelector: { labels: { app } }, ...spec },
  });
  // There is no certificate authority here.
  const noTls = {
    apiVersion: 'security.istio.io/v1',
    kind: 'PeerAuthentication',
    metadata: { name: 'default', namespace: 'default' },
    spec: { mtls: { mode: 'DISABLE' } },
  };
  const http = (number: number) => ({ number, protocol: 'HTTP', name: 'http' });
  return [
    noTls,
    sidecar('productpage', {
      egress: [{ port: http(PORT), bind: client, captureMode: 'NONE', hosts: ['default/*'] }],
    }),
    sidecar('reviews', {
      ingress: [{ port: http(POD_PORT), bind: server, captureMode: 'NONE', defaultEndpoint: `127.0.0.1:${appPort}` }],
      egress: [{ hosts: ['~/*'] }],
    }),
  ];
}
