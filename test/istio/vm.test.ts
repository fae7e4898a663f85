// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { Authority, spiffe } from '../../testkit/envoy/certificates.ts';
import { type Bootstrap, Envoy } from '../../testkit/envoy/process.ts';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { App, send } from '../../testkit/http.ts';
import { Cluster } from './cluster.ts';
import { podAddresses } from './mesh.ts';
import { deployed } from './pods.ts';

/** envoy/workload-discovery: an Envoy without Istio's agent, which shows istiod a token that is replaced now and then. */

const FOLDER = 'envoy/workload-discovery';

/** The service account that the configuration's node names. */
const account = {
  apiVersion: 'v1',
  kind: 'ServiceAccount',
  metadata: { name: 'vm', namespace: 'default' },
};
const [VISITOR, RATINGS] = podAddresses(2);
const visitor = deployed('visitor', 'v1', VISITOR);
const ratings = deployed('ratings', 'v1', RATINGS);

let folder: string;
let cluster: Cluster;
let app: App;
let config: Bootstrap;

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), 'vm-'));
  mkdirSync(join(folder, 'tokens'));
  const authority = new Authority(folder);
  cluster = await Cluster.start([account, visitor, ratings], { authority });
  app = await App.start(() => ({}), RATINGS);
  config = configuration(authority);
});
afterEach(async () => {
  await cluster?.[Symbol.asyncDispose]();
  await app?.[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true });
});

/** The configuration as shipped, with istiod, the pod and the files where the test has them. */
function configuration(authority: Authority): Bootstrap {
  const istiod = Number(cluster.secure.split(':')[1]);
  const made = shipped(`${FOLDER}/envoy.yaml`, { 'workload-discovery': istiod, pods: app.port, app: app.port });
  const [ours, pods, discovery] = made.static_resources.clusters;
  for (const each of [ours, pods]) {
    each.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = RATINGS;
  }
  discovery.transport_socket.typed_config.common_tls_context.validation_context.trusted_ca.filename = authority.root;
  const options = Object.values(discovery.typed_extension_protocol_options)[0] as Bootstrap;
  const { credential } = options.http_filters[0].typed_config.credential.typed_config;
  credential.sds_config.path_config_source.path = tokenSource();
  return made;
}

/** token.yaml as shipped, with the folder of the test. */
function tokenSource(): string {
  const source = parse(readFileSync(join(ROOT, FOLDER, 'token.yaml'), 'utf8'));
  const { secret } = source.resources[0].generic_secret;
  secret.filename = join(folder, 'tokens/istio-token');
  secret.watched_directory.path = join(folder, 'tokens');
  const path = join(folder, 'token.yaml');
  writeFileSync(path, stringify(source));
  return path;
}

/** Replaces the token as agents do: by moving another file there. */
function writeToken(token: string): void {
  writeFileSync(join(folder, 'new'), token);
  renameSync(join(folder, 'new'), join(folder, 'tokens/istio-token'));
}

async function untilWatched(envoy: Envoy): Promise<void> {
  await envoy.until('it watches', async () => {
    const [watcher] = await cluster.watchers();
    return watcher !== undefined && watcher.sent !== '' && watcher.sent === watcher.acked;
  });
}

/** Who answers requests of the machine, and who asks it, by its access log. */
async function namesAt(envoy: Envoy, path: string, headers: string[] = []): Promise<unknown[]> {
  await send(await envoy.port('outbound'), { path });
  await send(await envoy.port('inbound'), { path, from: VISITOR, headers: ['x-forwarded-for', RATINGS, ...headers] });
  const logged = () => envoy.log().match(new RegExp(`^\\{.*"path":"${path}".*\\}$`, 'gm')) ?? [];
  await envoy.until('both are logged', () => logged().length === 2);
  const lines = logged().map((line) => JSON.parse(line));
  const of = (key: string) => lines.find((line) => key in line)[key];
  return [of('server_identity'), of('client_identity')];
}

const BOTH = [spiffe('default', 'bookinfo-ratings'), spiffe('default', 'bookinfo-visitor')];

test('as shipped it knows pods on both sides, and proves who it is by its token', async () => {
  writeToken('first');
  await cluster.setTokens({ first: 'default:vm' });
  await using envoy = await Envoy.start(config, { name: 'vm' });
  await untilWatched(envoy);
  const [{ node, identity }] = await cluster.watchers();
  expect([node, identity]).toEqual(['vm-1.default', spiffe('default', 'vm')]);
  await sleep(1_000);
  expect(await namesAt(envoy, '/1')).toEqual(BOTH);
});

test('a token that was replaced is the one that it shows', async () => {
  writeToken('first');
  await cluster.setTokens({ first: 'default:vm' });
  await using envoy = await Envoy.start(config, { name: 'vm' });
  await untilWatched(envoy);
  await cluster.killIstiod();
  writeToken('second');
  await cluster.startIstiod();
  await cluster.setTokens({ second: 'default:vm' });
  await untilWatched(envoy);
});

test('a token that comes later, or a good one after a bad one, is enough', async () => {
  await cluster.setTokens({ good: 'default:vm' });
  await using envoy = await Envoy.start(config, { name: 'vm' });
  await envoy.until('it fails', async () => {
    return (await envoy.stat('wasmcustom.metadata_exchange.discovery_failures')) > 0;
  });
  writeToken('bad');
  await sleep(1_500);
  expect(await cluster.watchers()).toEqual([]);
  writeToken('good');
  await untilWatched(envoy);
});

/** Where istiod reads which network its pods are in. */
const network = {
  apiVersion: 'v1',
  kind: 'Namespace',
  metadata: { name: 'istio-system', labels: { 'topology.istio.io/network': 'network-1' } },
};

test('in a mesh with networks it must say in which one it is; what another one’s gateway brings is nobody', async () => {
  await cluster.put(network);
  writeToken('first');
  await cluster.setTokens({ first: 'default:vm' });
  const start = async () => {
    const envoy = await Envoy.start(config, { name: 'vm' });
    await untilWatched(envoy);
    await sleep(1_000);
    return envoy;
  };
  {
    await using envoy = await start();
    expect(await namesAt(envoy, '/1')).toEqual([null, null]);
  }
  config.node.metadata.NETWORK = 'network-1';
  await using envoy = await start();
  expect(await namesAt(envoy, '/1')).toEqual(BOTH);
  expect(await namesAt(envoy, '/2', ['x-forwarded-network', 'network-2'])).toEqual([BOTH[0], null]);
  expect(await namesAt(envoy, '/3', ['x-forwarded-network', 'network-1'])).toEqual(BOTH);
});
