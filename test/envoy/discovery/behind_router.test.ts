// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { describe, expect, test } from 'vitest';
import { httpCluster } from '../../../testkit/envoy/config.ts';
import { type Bootstrap, Envoy } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { App, send } from '../../../testkit/http.ts';
import { WorkloadServer } from '../../../testkit/xds/server.ts';
import { OLDEST_AND_NEWEST, SERVER } from '../../support/discovery.ts';

/** The filter in the chain of a cluster, or of the router: servers are known by their addresses there as well. */

/** A shipped configuration whose lists ask for the server's address too, and its cluster to a control plane. */
function withDiscovery(file: string, ports: Record<string, number>, controlPlane: number): Bootstrap {
  const text = JSON.stringify(shipped(file, ports));
  const method = /(\\?"upstream_discovery\\?":\s*\[\{\s*(\\?)"istio_headers\\?":\s*\{\}\s*\})/g;
  expect(text).toMatch(method);
  const config: Bootstrap = JSON.parse(text.replace(method, '$1,{$2"workload_discovery$2":{}}'));
  const reviews = config.static_resources.clusters.find(({ name }: { name: string }) => name === 'reviews');
  reviews.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address.address = SERVER.addresses[0];
  config.static_resources.clusters.push(httpCluster('workload-discovery', { port: controlPlane, http2: true }));
  return config;
}

describe.each(OLDEST_AND_NEWEST)('on Envoy %s', (_, version) => {
  test.each(['sidecar.yaml', 'router.yaml'])('envoy/upstream-filter/%s', async (file) => {
    await using reviews = await App.start(() => ({}), SERVER.addresses[0]);
    await using outside = await App.start();
    await using server = await WorkloadServer.start({ workloads: [SERVER] });
    const ports = { reviews: reviews.port, outside: outside.port };
    const config = withDiscovery(`envoy/upstream-filter/${file}`, ports, server.port);
    await using envoy = await Envoy.start(config, { version });
    const port = await envoy.port('outbound');
    await envoy.until('reviews is known', async () => {
      await send(port, { path: '/reviews' });
      return envoy.log().includes(`{"path":"/reviews","server":"${SERVER.name}","status":200}`);
    });
    expect(server.streams).toHaveLength(1);
  });
});
