// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseAllDocuments, stringify } from 'yaml';
import { envoyBinary, ROOT } from '../../testkit/envoy/binary.ts';
import { Envoy, localPort } from '../../testkit/envoy/process.ts';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { Daemon, program, type Result, run } from '../istio/programs.ts';

/** A program that `make test-envoy-gateway` builds. */
export const gatewayProgram = (name: string) => join(ROOT, '.cache/envoy-gateway', name);

const FOLDER = 'envoy/envoy-gateway';
/** What the shipped resources say. */
const PORT = 8080;
/** Ports in a network of our own. */
const REGISTRY = '127.0.0.1:5000';
const SERVICE = 9080;
const NAMESPACE = 'envoy-gateway-system';
/** Envoy Gateway downloads no Envoy where it has one of the version that it was told. What it has is ours. */
const ENVOY_VERSION = '1.0.0';

// biome-ignore lint/suspicious/noExplicitAny: Envoy Gateway checks its resources
export type Resource = Record<string, any>;

/** The resources of a shipped file. */
export function resourcesOf(file: string, folder = join(ROOT, FOLDER)): Resource[] {
  return parseAllDocuments(readFileSync(join(folder, file), 'utf8')).map((each) => each.toJS());
}

/**
 * Envoy Gateway without Kubernetes: it reads resources from files, and starts Envoy itself. Its image comes from a
 * registry beside it, and behind the gateway is the server of the quick start, as the service `reviews`.
 */
export class Stand implements AsyncDisposable {
  private constructor(
    private readonly folder: string,
    private readonly started: AsyncDisposable[],
    private readonly network: string[],
    readonly gateway: Daemon,
    readonly server: Envoy,
  ) {}

  /** `extensionApis` are switches of Envoy Gateway's; `version` is that of the Envoy, unless the usual one. */
  static async start(extensionApis: object, version?: string): Promise<Stand> {
    const folder = mkdtempSync(join(tmpdir(), 'envoy-gateway-'));
    const started: AsyncDisposable[] = [];
    try {
      for (const each of ['root', 'certs', 'resources', 'home']) mkdirSync(join(folder, each));
      await prepare(folder, extensionApis, version);
      const unshared = ['--net', '--mount', '--pid', '--fork', '--kill-child', '--'];
      const script = join(ROOT, 'test/envoy-gateway/sandbox.sh');
      const sandbox = Daemon.start('sandbox', 'unshare', [...unshared, script, folder]);
      started.push(sandbox);
      await sandbox.until('it is ready', () => sandbox.log().includes('ready'));
      const pid = readFileSync(`/proc/${sandbox.pid}/task/${sandbox.pid}/children`, 'utf8').trim();
      const network = ['nsenter', `--net=/proc/${pid}/ns/net`];

      const serve = ['registry', 'serve', '--address', REGISTRY];
      const [nsenter, ...within] = network;
      started.unshift(Daemon.start('registry', nsenter, [...within, program('crane'), ...serve]));
      const image = `IMAGE=${REGISTRY}/mesh/metadata-exchange:0.1.0`;
      const pushed = await run(nsenter, [...within, 'make', '--no-print-directory', 'push', image]);
      if (!pushed.ok) throw new Error(pushed.errors);

      const config = shipped('envoy/quick-start/server.yaml');
      config.admin = { address: { pipe: { path: join(folder, 'server') } } };
      config.static_resources.listeners[0].address = localPort(SERVICE);
      const server = await Envoy.start(config, { name: 'server', runner: network });
      started.unshift(server);

      const inside = ['--target', pid, '--net', '--mount', '--pid', '--root', '--wd=/'];
      const command = [gatewayProgram('envoy-gateway'), 'server', '--config-path', join(folder, 'gateway.yaml')];
      const gateway = Daemon.start('envoy-gateway', nsenter, [...inside, ...command], {
        env: { HOME: join(folder, 'home') },
      });
      started.unshift(gateway);
      const stand = new Stand(folder, started, network, gateway, server);
      stand.apply('gateway', onThisHost(resourcesOf('gateway.yaml')));
      return stand;
    } catch (error) {
      for (const each of started) await each[Symbol.asyncDispose]();
      rmSync(folder, { recursive: true });
      throw error;
    }
  }

  /** Writes a file of resources, in place of the one of this name: Envoy Gateway sees it at once. */
  apply(name: string, resources: Resource[]): void {
    const text = resources.map((each) => stringify(each, { lineWidth: 0 })).join('---\n');
    writeFileSync(join(this.folder, 'resources', `${name}.yaml`), text);
  }

  /** What somebody outside gets who asks the gateway: status, headers and body as curl shows them. */
  async ask(path: string, headers: string[] = []): Promise<Result> {
    const given = headers.flatMap((header) => ['-H', header]);
    const [nsenter, ...within] = this.network;
    return await run(nsenter, [...within, 'curl', '-si', ...given, `http://127.0.0.1:${PORT}${path}`]);
  }

  /** Asks until the answer is as it shall be: configuration takes its time to arrive. */
  async untilAnswer(what: string, path: string, isRight: (answer: string) => boolean): Promise<void> {
    await this.gateway.until(what, async () => isRight((await this.ask(path)).output.toString()));
  }

  /** The line of a request in the gateway's access log. */
  async logged(path: string): Promise<Resource> {
    const line = () => this.gateway.log().match(new RegExp(`^\\{.*"path":"${path}".*\\}$`, 'm'))?.[0];
    return JSON.parse(await this.gateway.until(`${path} is in the access log`, line));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const each of this.started) await each[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}

/** What Envoy Gateway finds in its folder: its configuration, certificates, and the Envoy to start. */
async function prepare(folder: string, extensionApis: object, version?: string): Promise<void> {
  const configHome = join(folder, 'config');
  const made = await run(gatewayProgram('envoy-gateway'), ['certgen', '--local', '--config-home', configHome]);
  if (!made.ok) throw new Error(made.errors);
  cpSync(join(configHome, 'certs/envoy'), join(folder, 'certs'), { recursive: true });
  const service = `envoy-gateway.${NAMESPACE}.svc.cluster.local`;
  writeFileSync(join(folder, 'hosts'), `127.0.0.1 localhost envoy-gateway ${service}\n`);
  const binaries = join(folder, 'data/envoy-versions', ENVOY_VERSION, 'bin');
  mkdirSync(binaries, { recursive: true });
  symlinkSync(envoyBinary(version), join(binaries, 'envoy'));
  const [dataHome, stateHome, runtimeDir] = ['data', 'state', 'run'].map((each) => join(folder, each));
  const config = {
    apiVersion: 'gateway.envoyproxy.io/v1alpha1',
    kind: 'EnvoyGateway',
    gateway: { controllerName: 'gateway.envoyproxy.io/gatewayclass-controller' },
    provider: {
      type: 'Custom',
      custom: {
        resource: { type: 'File', file: { paths: [join(folder, 'resources')] } },
        infrastructure: { type: 'Host', host: { configHome, dataHome, stateHome, runtimeDir } },
      },
    },
    extensionApis: { enableBackend: true, ...extensionApis },
  };
  writeFileSync(join(folder, 'gateway.yaml'), stringify(config));
  // In a cluster `envoy-gateway certgen` makes it. Envoy fetches the module from Envoy Gateway by this certificate.
  const file = (name: string) => readFileSync(join(folder, 'certs', name)).toString('base64');
  const secret = {
    apiVersion: 'v1',
    kind: 'Secret',
    metadata: { name: 'envoy', namespace: NAMESPACE },
    type: 'kubernetes.io/tls',
    data: Object.fromEntries(['tls.crt', 'tls.key', 'ca.crt'].map((name) => [name, file(name)])),
  };
  writeFileSync(join(folder, 'resources/secret.yaml'), stringify(secret));
}

/** The shipped gateway on a machine without Kubernetes: Envoy is a process, and a service is an address. */
function onThisHost(resources: Resource[]): Resource[] {
  const only = (kind: string) => resources.find((each) => each.kind === kind) as Resource;
  only('EnvoyProxy').spec.provider = { type: 'Host', host: { envoyVersion: ENVOY_VERSION } };
  const route = only('HTTPRoute');
  const [{ name }] = route.spec.rules[0].backendRefs;
  route.spec.rules[0].backendRefs = [{ group: 'gateway.envoyproxy.io', kind: 'Backend', name }];
  const backend = {
    apiVersion: 'gateway.envoyproxy.io/v1alpha1',
    kind: 'Backend',
    metadata: { name, namespace: route.metadata.namespace },
    spec: { endpoints: [{ ip: { address: '127.0.0.1', port: SERVICE } }] },
  };
  return [...resources, backend];
}
