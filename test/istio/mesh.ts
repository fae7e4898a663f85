// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { randomInt } from 'node:crypto';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import getPort from 'get-port';
import { parse, stringify } from 'yaml';
import { envoyBinary, ROOT } from '../../testkit/envoy/binary.ts';
import { type Authority, spiffe } from '../../testkit/envoy/certificates.ts';
import { Daemon, program } from './programs.ts';

/** A Kubernetes resource. */
// biome-ignore lint/suspicious/noExplicitAny: Istio checks them
export type Resource = any;

/** What istiod must leave out for an Envoy that is not Istio's. */
const VALUES = parse(readFileSync(join(ROOT, 'envoy/istio/istiod-values.yaml'), 'utf8'));

/** Where an agent gets its configuration. */
export interface XdsServer extends AsyncDisposable {
  readonly address: string;
}

/** Istio's discovery server, with resources. */
export class Istiod implements XdsServer {
  private constructor(
    private readonly daemon: Daemon,
    readonly address: string,
  ) {}

  static async start(
    resources: Resource[],
    { args = [], env = {} }: { args?: string[]; env?: Record<string, string> } = {},
  ): Promise<Istiod> {
    const input = resources.map((each) => stringify(each)).join('\n---\n');
    const daemon = Daemon.start('istiod', program('istiod'), args, { input, env: { ...VALUES.pilot.env, ...env } });
    try {
      const address = await daemon.until('it serves', () => /^127\.0\.0\.1:\d+$/m.exec(daemon.log())?.[0]);
      return new Istiod(daemon, address);
    } catch (error) {
      await daemon[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Stops it without an end: its connections stay, and nobody answers on them. */
  freeze(): void {
    process.kill(this.daemon.pid, 'SIGSTOP');
  }

  /** An address that it says with this word before it. */
  said(word: string): string {
    const address = new RegExp(`^${word} (\\S+)$`, 'm').exec(this.log())?.[1];
    if (!address) throw new Error(`istiod did not say \`${word}\``);
    return address;
  }

  log(): string {
    return this.daemon.log();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]();
  }
}

/** Addresses of this machine for the pods of a test, which no other run has. */
export function podAddresses(count: number): string[] {
  const net = `127.${randomInt(1, 255)}.${randomInt(1, 255)}`;
  return Array.from({ length: count }, (_, i) => `${net}.${i + 2}`);
}

/** The pod that a Deployment makes. */
export function podOf(deployment: Resource, address: string): Resource {
  const { metadata, spec } = deployment.spec.template;
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { ...metadata, name: `${deployment.metadata.name}-0`, namespace: deployment.metadata.namespace },
    spec,
    status: {
      phase: 'Running',
      podIP: address,
      podIPs: [{ ip: address }],
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  };
}

/** What Kubernetes says of a Service with one pod behind it. */
export function endpointsOf(service: Resource, pod: Resource): Resource {
  const { name, namespace } = service.metadata;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata: { name, namespace, labels: { 'kubernetes.io/service-name': name } },
    addressType: 'IPv4',
    endpoints: [
      {
        addresses: [pod.status.podIP],
        conditions: { ready: true },
        targetRef: { kind: 'Pod', name: pod.metadata.name, namespace },
      },
    ],
    ports: service.spec.ports.map((port: Resource) => ({ name: port.name, port: port.targetPort, protocol: 'TCP' })),
  };
}

export interface SidecarOptions {
  /** Whether to wait until Envoy is ready, and not only until it is there. */
  ready?: boolean;
  role?: 'sidecar' | 'router';
  /** More of the agent's environment. */
  env?: Record<string, string>;
  /** Who issues the certificate that the agent has for its workload; without this it has none. */
  authority?: Authority;
}

/** A pod's sidecar, or a gateway (the role `router`): Istio's own agent, which starts a stock Envoy. */
export class Sidecar implements AsyncDisposable {
  private constructor(
    private readonly daemon: Daemon,
    private readonly folder: string,
    private readonly adminPort: number,
  ) {}

  /** Starts it, and waits until the Envoy is ready, or is at least there. */
  static async start(
    pod: Resource,
    istiod: XdsServer,
    { ready = true, role = 'sidecar', authority, env: more }: SidecarOptions = {},
  ): Promise<Sidecar> {
    const folder = mkdtempSync(join(tmpdir(), 'sidecar-'));
    const [adminPort, statusPort, envoyStatus, prometheus] = [await port(), await port(), await port(), await port()];
    const write = (path: string, text: string) => {
      mkdirSync(dirname(join(folder, path)), { recursive: true });
      writeFileSync(join(folder, path), text);
    };
    // What the downward API shows of a pod.
    const lines = (all: object = {}) => Object.entries(all).map(([key, value]) => `${key}=${JSON.stringify(value)}\n`);
    write('etc/istio/pod/labels', lines(pod.metadata.labels).join(''));
    write('etc/istio/pod/annotations', lines(pod.metadata.annotations).join(''));
    // Files that an agent takes in place of what a certificate authority would give it.
    if (authority) {
      const { chain, key } = authority.issue(
        'agent',
        {
          uris: [spiffe(pod.metadata.namespace, pod.spec.serviceAccountName)],
        },
        folder,
      );
      write('etc/certs/cert-chain.pem', readFileSync(chain, 'utf8'));
      write('etc/certs/key.pem', readFileSync(key, 'utf8'));
      write('etc/certs/root-cert.pem', readFileSync(authority.root, 'utf8'));
    }
    const workload = pod.metadata.name.replace(/-[^-]*$/, '');
    const env: Record<string, string> = {
      POD_NAME: pod.metadata.name,
      POD_NAMESPACE: pod.metadata.namespace,
      INSTANCE_IP: pod.status.podIP,
      SERVICE_ACCOUNT: pod.spec.serviceAccountName,
      ISTIO_META_CLUSTER_ID: 'Kubernetes',
      // As the injector finds them: the name of the pod's Deployment stands before its own last part.
      ISTIO_META_WORKLOAD_NAME: workload,
      ISTIO_META_OWNER: `kubernetes://apis/apps/v1/namespaces/${pod.metadata.namespace}/deployments/${workload}`,
      // No iptables: listeners are bound to the pod's own address.
      ISTIO_META_INTERCEPTION_MODE: 'NONE',
      FILE_MOUNTED_CERTS: 'true',
      ENVOY_STATUS_PORT: String(envoyStatus),
      ENVOY_PROMETHEUS_PORT: String(prometheus),
      PROXY_CONFIG: JSON.stringify({
        discoveryAddress: istiod.address,
        controlPlaneAuthPolicy: 'NONE',
        binaryPath: envoyBinary(),
        // A file of Istio's image, which the agent fills in.
        proxyBootstrapTemplatePath: program('envoy_bootstrap.json'),
        proxyAdminPort: adminPort,
        statusPort,
        concurrency: 1,
        terminationDrainDuration: '0s',
      }),
      ...more,
    };
    const args = ['proxy', role, '--domain', `${pod.metadata.namespace}.svc.cluster.local`];
    const command = inContainer(program('pilot-agent'), [...args, '--proxyLogLevel=warning']);
    const daemon = Daemon.start('pilot-agent', ...command, { cwd: folder, env });
    const sidecar = new Sidecar(daemon, folder, adminPort);
    try {
      await daemon.until('Envoy is ready', async () => {
        const state = await sidecar.admin('/ready');
        return ready ? state?.startsWith('LIVE') : state;
      });
    } catch (error) {
      await sidecar[Symbol.asyncDispose]();
      throw error;
    }
    return sidecar;
  }

  /** A page of Envoy's admin interface; nothing as long as there is none. */
  async admin(path: string): Promise<string | undefined> {
    const response = await fetch(`http://127.0.0.1:${this.adminPort}${path}`).catch(() => undefined);
    return response?.text();
  }

  /** A file as the pod's containers see it. */
  file(path: string): Buffer {
    return readFileSync(`/proc/${this.daemon.pid}/root${path}`);
  }

  /** All extension configurations that Envoy got by ECDS. */
  async extensions(): Promise<Resource[]> {
    const { configs } = JSON.parse((await this.admin('/config_dump')) ?? '{"configs":[]}');
    const dump = configs.find((each: Resource) => each['@type'].endsWith('EcdsConfigDump'));
    return (dump?.ecds_filters ?? []).map((each: Resource) => each.ecds_filter);
  }

  /** The clusters that Envoy got, by name. */
  async clusters(): Promise<Record<string, Resource>> {
    const { configs } = JSON.parse((await this.admin('/config_dump')) ?? '{"configs":[]}');
    const dump = configs.find((each: Resource) => each['@type'].endsWith('ClustersConfigDump'));
    const clusters = (dump?.dynamic_active_clusters ?? []).map((each: Resource) => each.cluster);
    return Object.fromEntries(clusters.map((each: Resource) => [each.name, each]));
  }

  /** The HTTP filters of the listener at a port, in order: of its first chain that has any. */
  async httpFilters(listenerPort: number): Promise<Resource[]> {
    const { configs } = JSON.parse((await this.admin('/config_dump')) ?? '{"configs":[]}');
    const dump = configs.find((each: Resource) => each['@type'].endsWith('ListenersConfigDump'));
    for (const { active_state } of dump?.dynamic_listeners ?? []) {
      if (active_state?.listener.address.socket_address.port_value !== listenerPort) continue;
      for (const chain of active_state.listener.filter_chains) {
        const filters = chain.filters.find((each: Resource) => each.typed_config.http_filters)?.typed_config;
        if (filters) return filters.http_filters;
      }
    }
    return [];
  }

  log(): string {
    return this.daemon.log();
  }

  until<T>(what: string, holds: () => T | undefined | false | Promise<T | undefined | false>): Promise<T> {
    return this.daemon.until(what, holds);
  }

  /** The access log's line of a request. */
  logged(path: string): Promise<Resource> {
    return this.until(`${path} is in the access log`, () => {
      const line = new RegExp(`^\\{.*"path":"${path}".*\\}$`, 'm').exec(this.daemon.log())?.[0];
      return line && JSON.parse(line);
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.daemon[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}

/**
 * A command with the folder of its own in which agents keep modules, as in a container: a new /var/lib, which nobody else
 * sees. Two agents in one folder would load what the other one is still writing.
 */
function inContainer(command: string, args: string[]): [string, string[]] {
  const mount = 'mount -t tmpfs none /var/lib && mkdir -p /var/lib/istio/data && exec "$@"';
  const user = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  return ['unshare', ['--mount', ...user, 'sh', '-c', mount, 'sh', command, ...args]];
}

function port(): Promise<number> {
  return getPort({ host: '127.0.0.1' });
}
