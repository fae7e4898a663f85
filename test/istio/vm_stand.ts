// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse, stringify } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { Authority, spiffe } from '../../testkit/envoy/certificates.ts';
import { type Bootstrap, Envoy } from '../../testkit/envoy/process.ts';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { App, send } from '../../testkit/http.ts';
import { Cluster, type ClusterOptions } from './cluster.ts';
import { podAddresses, type Resource } from './mesh.ts';
import { deployed } from './pods.ts';

const FOLDER = 'envoy/workload-discovery';

/** The service account that the configuration's node names. */
const account = {
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name: 'vm', namespace: 'default' },
};

/** envoy/workload-discovery as shipped, beside an istiod that knows two pods: visitor calls it, and it calls ratings. */
export class VmStand implements AsyncDisposable {
  private count = 0;

  private constructor(
    readonly cluster: Cluster,
    /** What the Envoy is started with. */
    readonly config: Bootstrap,
    private readonly app: App,
    private readonly folder: string,
    readonly visitor: Resource,
    readonly ratings: Resource,
  ) {}

  static async start(options: ClusterOptions = {}): Promise<VmStand> {
    const folder = mkdtempSync(join(tmpdir(), 'vm-'));
    mkdirSync(join(folder, 'tokens'));
    const authority = new Authority(folder);
    const [first, second] = podAddresses(2);
    const visitor = deployed('visitor', 'v1', first);
    const ratings = deployed('ratings', 'v1', second);
    const cluster = await Cluster.start([account, visitor, ratings], { ...options, authority });
    const app = await App.start(() => ({}), second);
    const config = configuration(cluster, app, second, authority, folder);
    return new VmStand(cluster, config, app, folder, visitor, ratings);
  }

  /** Both sides of a request, by their identities. */
  readonly both = [spiffe('default', 'bookinfo-ratings'), spiffe('default', 'bookinfo-visitor')];

  /** Replaces the token as agents do: by moving another file there. */
  writeToken(token: string): void {
    writeFileSync(join(this.folder, 'new'), token);
    renameSync(join(this.folder, 'new'), join(this.folder, 'tokens/istio-token'));
  }

  startEnvoy(): Promise<Envoy> {
    return Envoy.start(this.config, { name: 'vm' });
  }

  /** Starts it with a token that istiod takes, and waits until it knows the pods. */
  async startKnowing(): Promise<Envoy> {
    this.writeToken('first');
    await this.cluster.setTokens({ first: 'default:vm' });
    const envoy = await this.startEnvoy();
    await this.untilWatched(envoy);
    await envoy.until('it counts them', async () => (await metric(envoy, 'discovery_workloads')) > 0);
    return envoy;
  }

  async untilWatched(envoy: Envoy): Promise<void> {
    await envoy.until('it watches', async () => {
      const [watcher] = await this.cluster.watchers();
      return watcher !== undefined && watcher.sent !== '' && watcher.sent === watcher.acked;
    });
  }

  /** Who answers a request of the machine, and who asks it, by its access log: their identities. */
  async ask(envoy: Envoy, headers: string[] = []): Promise<unknown[]> {
    const path = `/${this.count++}`;
    const { podIP } = this.visitor.status;
    await send(await envoy.port('outbound'), { path });
    // Where the client says that it comes from plays no part.
    const forwarded = ['x-forwarded-for', this.ratings.status.podIP];
    await send(await envoy.port('inbound'), { path, from: podIP, headers: [...forwarded, ...headers] });
    const logged = () => envoy.log().match(new RegExp(`^\\{.*"path":"${path}".*\\}$`, 'gm')) ?? [];
    await envoy.until('both are logged', () => logged().length === 2);
    const lines = logged().map((line) => JSON.parse(line));
    const of = (key: string) => lines.find((line) => key in line)[key];
    return [of('server_identity'), of('client_identity')];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.cluster[Symbol.asyncDispose]();
    await this.app[Symbol.asyncDispose]();
    rmSync(this.folder, { recursive: true });
  }
}

/** One of our metrics. */
export function metric(envoy: Envoy, name: string): Promise<number> {
  return envoy.stat(`wasmcustom.metadata_exchange.${name}`);
}

/** The configuration as shipped, with istiod, the pod and the files where the test has them. */
function configuration(cluster: Cluster, app: App, at: string, authority: Authority, folder: string): Bootstrap {
  const istiod = Number(cluster.secure.split(':')[1]);
  const made = shipped(`${FOLDER}/envoy.yaml`, { 'workload-discovery': istiod, pods: app.port, app: app.port });
  const [ours, pods, discovery] = made.static_resources.clusters;
  for (const each of [ours, pods]) {
    each.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = at;
  }
  discovery.transport_socket.typed_config.common_tls_context.validation_context.trusted_ca.filename = authority.root;
  const options = Object.values(discovery.typed_extension_protocol_options)[0] as Bootstrap;
  const { credential } = options.http_filters[0].typed_config.credential.typed_config;
  credential.sds_config.path_config_source.path = tokenSource(folder);
  return made;
}

/** token.yaml as shipped, with the folder of the test. */
function tokenSource(folder: string): string {
  const source = parse(readFileSync(join(ROOT, FOLDER, 'token.yaml'), 'utf8'));
  const { secret } = source.resources[0].generic_secret;
  secret.filename = join(folder, 'tokens/istio-token');
  secret.watched_directory.path = join(folder, 'tokens');
  const path = join(folder, 'token.yaml');
  writeFileSync(path, stringify(source));
  return path;
}
