// SPDX-License-Identifier: Apache-2.0
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { copyFileSync, cpSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { MODULE, ROOT } from '../envoy/binary.ts';
import { Authority, type Certificate } from '../envoy/certificates.ts';
import { Namespaces, NODE_ADDRESS, run, SEARCH_PATH } from './namespaces.ts';
import { Pod } from './pod.ts';

/**
 * The mesh of envoy/open-service-mesh: two clients, and a service of two pods. All as files, to be replaced while it
 * runs.
 */

const FOLDER = join(ROOT, 'envoy/open-service-mesh');

/** The service's address: nobody has it, but the clients' sidecars know whom it stands for. */
export const BOOKSTORE = '10.96.0.20';
export const PORTS = ['14001', '14002'];

/** A server outside of the mesh, which has no sidecar. */
export const LIBRARY = { address: NODE_ADDRESS, port: '8080' };

const CLIENTS = { bookbuyer: '10.244.0.11', bookthief: '10.244.0.12' };
const SERVERS = { 'bookstore-v1': '10.244.0.21', 'bookstore-v2': '10.244.0.22' };

/** Redirected without changing addresses; the others as Open Service Mesh does it. */
const BY_TPROXY = 'bookstore-v2';

export type PodName = keyof typeof CLIENTS | keyof typeof SERVERS;

export interface MeshOptions {
  /** Begins the names of the network namespaces. */
  prefix: string;
  /** How long a sidecar's old listeners go on after an update. */
  drainSeconds?: number;
}

export class OpenServiceMesh implements AsyncDisposable {
  readonly pods = {} as Record<PodName, Pod>;
  private readonly applications: ChildProcess[] = [];

  private constructor(
    private readonly namespaces: Namespaces,
    /** Everything that is not in the project, pods' volumes and certificates. */
    readonly folder: string,
    readonly authority: Authority,
  ) {}

  static async start(options: MeshOptions): Promise<OpenServiceMesh> {
    const folder = mkdtempSync(join(tmpdir(), 'osm-'));
    let mesh: OpenServiceMesh | undefined;
    try {
      const authority = new Authority(join(folder, 'authority-1'));
      mesh = new OpenServiceMesh(new Namespaces(options.prefix), folder, authority);
      await mesh.open(options);
      return mesh;
    } catch (error) {
      await mesh?.[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true, force: true });
      throw error;
    }
  }

  private async open(options: MeshOptions): Promise<void> {
    await this.application('node', 'library', LIBRARY.address, LIBRARY.port);
    for (const [name, address] of Object.entries(SERVERS)) {
      this.addPod(name as PodName, address, 'server', options);
      await this.application(name, name, '127.0.0.1', ...PORTS);
    }
    for (const [name, address] of Object.entries(CLIENTS)) this.addPod(name as PodName, address, 'client', options);
    await Promise.all(Object.values(this.pods).map((pod) => pod.start()));
  }

  /** A pod as an init container leaves it: namespace, redirection, volumes. */
  private addPod(name: PodName, address: string, side: 'client' | 'server', options: MeshOptions): void {
    const inside = this.namespaces.addPod(name, address);
    const [command, ...rest] = inside;
    try {
      run(command, ...rest, join(FOLDER, 'init-iptables.sh'), ...(name === BY_TPROXY ? ['--tproxy'] : []));
    } catch (error) {
      throw new Error(`Redirection by iptables cannot be used here: ${(error as Error).message}`);
    }
    const folder = join(this.folder, name);
    cpSync(join(FOLDER, side), join(folder, 'xds'), { recursive: true });
    copyFileSync(join(FOLDER, `${name}.yaml`), join(folder, 'bootstrap.yaml'));
    copyFileSync(MODULE, join(folder, 'metadata_exchange.wasm'));
    copyFileSync(join(ROOT, 'envoy/dynamic_metadata.lua'), join(folder, 'dynamic_metadata.lua'));
    this.pods[name] = new Pod(name, address, folder, inside, options.drainSeconds);
    this.pods[name].showCertificate(this.authority, readFileSync(this.authority.root));
  }

  /** Starts the application of a pod, and waits until it listens. */
  private async application(pod: string, ...args: string[]): Promise<void> {
    const application = this.run(pod, process.execPath, join(FOLDER, 'bookstore.mjs'), ...args);
    this.applications.push(application);
    await once(application.stdout!, 'data');
  }

  /** Starts a command inside a pod, as an application: it ends with us. */
  run(pod: string, ...command: string[]): ChildProcess {
    const [ip, ...rest] = [...this.namespaces.inside(pod), 'setpriv', '--pdeathsig', 'KILL', ...command];
    const env = { ...process.env, PATH: SEARCH_PATH };
    return spawn(ip, rest, { stdio: ['pipe', 'pipe', 'inherit'], env });
  }

  /** Runs a command inside a pod, or on the node, to its end; what it wrote. Throws with its errors if it fails. */
  async ask(pod: string, ...command: string[]): Promise<string> {
    const [ip, ...rest] = [...this.namespaces.inside(pod), ...command];
    const env = { ...process.env, PATH: SEARCH_PATH };
    return (await promisify(execFile)(ip, rest, { env, timeout: 10_000 })).stdout;
  }

  /** An authority beside the one that the mesh began with. */
  anotherAuthority(): Authority {
    return new Authority(join(this.folder, 'authority-2'));
  }

  /** Asks a server as a proxy of the mesh that shows this certificate: what is said, answers and TLS errors alike. */
  knock(server: Pod, { chain, key }: Certificate): Promise<string> {
    const tls = [
      '-servername',
      'bookstore.bookstore.svc.cluster.local',
      '-alpn',
      'osm,http/1.1',
      '-cert',
      chain,
      '-key',
      key,
    ];
    const request = 'printf "GET /knock HTTP/1.1\\r\\nhost: a\\r\\nconnection: close\\r\\n\\r\\n"';
    const client = `openssl s_client -connect ${server.address}:14001 ${tls.join(' ')} -ign_eof 2>&1 || true`;
    return this.ask('node', 'sh', '-c', `${request} | ${client}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const ended = this.applications.map((each) => each.exitCode === null && once(each, 'exit'));
    for (const application of this.applications) application.kill('SIGKILL');
    await Promise.all([...ended, ...Object.values(this.pods).map((pod) => pod.stop())]);
    this.namespaces[Symbol.dispose]();
    rmSync(this.folder, { recursive: true, force: true });
  }
}
