// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import http from 'node:http';
import { join } from 'node:path';
import { parse } from 'yaml';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { WorkloadServer } from '../../testkit/xds/server.ts';

/** The part of the pair view in which nobody has a sidecar: a proxy knows both sides by their addresses. */

const FOLDER = 'envoy/workload-discovery';
const METRIC = 'wasmcustom.metadata_exchange.discovery_workloads';

/** Who was found on both sides of a request, as the access log has it. */
export interface Found {
  /** Where the request came from, and where it went. */
  addresses: [client: string, server: string];
  client: string | null;
  server: string | null;
  server_identity: string | null;
}

/** Sends a request through the proxy of envoy/workload-discovery; nobody says who it is. */
export async function foundByAddress(): Promise<Found> {
  const workloads = parse(readFileSync(join(ROOT, FOLDER, 'workloads.yaml'), 'utf8'));
  const [client, server] = workloads.map(({ addresses }: { addresses: string[] }) => addresses[0]);
  await using controlPlane = await WorkloadServer.start({ workloads });
  const app = http.createServer((_, response) => response.end('Hello from ratings.\n'));
  await new Promise<void>((resolve) => app.listen(0, server, resolve));
  try {
    const { port } = app.address() as { port: number };
    const config = shipped(`${FOLDER}/any-server.yaml`, { ratings: port, 'workload-discovery': controlPlane.port });
    const [ratings] = config.static_resources.clusters;
    ratings.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = server;
    await using proxy = await Envoy.start(config, { name: 'proxy' });
    await proxy.until('both are known', async () => (await proxy.stat(METRIC)) === workloads.length);
    await get(await proxy.port('proxy'), client);
    let line: string | undefined;
    await proxy.until('the access log has the request', () => {
      line = proxy
        .log()
        .split('\n')
        .find((each) => each.startsWith('{'));
      return line !== undefined;
    });
    return { ...JSON.parse(line as string), addresses: [client, server] };
  } finally {
    app.close();
  }
}

/** A request from one of this machine's addresses. */
function get(port: number, from: string): Promise<void> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path: '/ratings/1', localAddress: from, agent: false };
    http.get(options, (response) => response.resume().on('end', resolve)).on('error', reject);
  });
}
