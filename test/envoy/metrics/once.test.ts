// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { metadataExchange } from '../../../testkit/envoy/config.ts';
import { type Answering, App, ID, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { customResponse } from '../../support/custom_response.ts';
import { counter, counts, EVERY, expectCounts, series, startCounting, workload } from '../../support/traffic.ts';
import { VirtualHosts } from '../../support/vhds.ts';

/**
 * What counts as one request: what Envoy's access log has a line for. docs/metrics.md has this as a table, and here is a
 * test for each of its rows.
 */

const TYPE = 'type.googleapis.com';
const LABELS = 'source_workload response_code';
const FROM_PRODUCTPAGE = [METADATA, struct.header(workload('productpage')), ID, 'productpage'];
const HEADERS = [{ istio_headers: {} }];
const toApp = { match: { prefix: '/' }, route: { cluster: 'app' } };

/** Envoy's own RBAC, which refuses whatever comes. */
const refusing = {
  name: 'envoy.filters.http.rbac',
  typed_config: {
    '@type': `${TYPE}/envoy.extensions.filters.http.rbac.v3.RBAC`,
    rules: { action: 'DENY', policies: { all: { permissions: [{ any: true }], principals: [{ any: true }] } } },
  },
};

const onDemand = {
  name: 'envoy.filters.http.on_demand',
  typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.on_demand.v3.OnDemand` },
};

/** Connection managers get their routes from a control plane, and virtual hosts when somebody asks for them. */
function routesOnDemand() {
  const folder = mkdtempSync(join(tmpdir(), 'rds-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const grpc_services = [{ envoy_grpc: { cluster_name: 'hosts' } }];
  const api_config_source = { api_type: 'DELTA_GRPC', transport_api_version: 'V3', grpc_services };
  const vhds = { config_source: { resource_api_version: 'V3', api_config_source } };
  const routes = { '@type': `${TYPE}/envoy.config.route.v3.RouteConfiguration`, name: 'routes', vhds };
  const path = join(folder, 'rds.json');
  writeFileSync(path, JSON.stringify({ resources: [routes] }));
  const config_source = { resource_api_version: 'V3', path_config_source: { path } };
  return { route_config: undefined, rds: { route_config_name: 'routes', config_source } };
}

/** Bytes on a connection of their own; all that came back. */
async function sendBytes(port: number, bytes: string): Promise<string> {
  const socket = net.connect(port, '127.0.0.1');
  socket.write(bytes);
  let text = '';
  for await (const chunk of socket) text += chunk.toString('latin1');
  return text;
}

/** Filters of a cluster's own chain. */
function inCluster(filters: object[]): object {
  const options = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
  const codec = {
    name: 'envoy.filters.http.upstream_codec',
    typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec` },
  };
  return {
    typed_extension_protocol_options: {
      [options]: {
        '@type': `${TYPE}/${options}`,
        explicit_http_config: { http_protocol_options: {} },
        http_filters: [...filters, codec],
      },
    },
  };
}

/** A request that details redirects, then one who says nothing, until ratings answers: what reviews' sidecar counts. */
async function expectRedirected(
  version: string | undefined,
  filters: object[],
  clusterFilters: object[],
  expected: Record<string, number>,
): Promise<void> {
  const says = (app: string) => [METADATA, struct.header(workload(app)), ID, app];
  const answer: Answering = ({ path }) => {
    if (path === '/from') return { status: 302, headers: ['location', 'http://test/to', ...says('details')] };
    if (path === '/to') return { status: 302, headers: ['location', 'http://test/end'] };
    return { headers: says('ratings') };
  };
  await using app = await App.start(answer);
  const internal_redirect_policy = { max_internal_redirects: 2 };
  const routes = [{ match: { prefix: '/' }, route: { cluster: 'app', internal_redirect_policy } }];
  const clusters = { app: { port: app.port, ...(clusterFilters.length > 0 && inCluster(clusterFilters)) } };
  const { envoy, port } = await startCounting({ version, direction: 'OUTBOUND', filters, routes, clusters });
  await using _ = envoy;
  await send(port, { path: '/from' });
  // Before 1.39 all metrics of Wasm stand under the name of a cluster that has a Wasm filter: see docs/metrics.md.
  const isUnderCluster = clusterFilters.length > 0 && /^1\.3[678]\./.test(version ?? '');
  const metric = isUnderCluster ? 'envoy_cluster_wasmcustom_istio_requests_total' : undefined;
  await expectCounts(envoy, 'source_workload destination_workload response_code', expected, metric);
}

describe.each(EVERY)('what counts as one request, Envoy %s', (_, version) => {
  test('one that an earlier filter refuses: its client is unknown, since our filter never saw it', async () => {
    const { envoy, port } = await startCounting({ version, filters: [refusing, counter()] });
    await using _ = envoy;
    await send(port, { headers: FROM_PRODUCTPAGE });
    await expectCounts(envoy, LABELS, { 'unknown 403': 1 });
  });

  test('one that a later filter refuses: its client is known', async () => {
    const { envoy, port } = await startCounting({ version, filters: [counter(), refusing] });
    await using _ = envoy;
    await send(port, { headers: FROM_PRODUCTPAGE });
    await expectCounts(envoy, LABELS, { 'productpage-v1 403': 1 });
  });

  test('garbage that Envoy answers with 400', async () => {
    const { envoy, port } = await startCounting({ version });
    await using _ = envoy;
    expect(await sendBytes(port, 'this is no request\r\n\r\n')).toContain('400 Bad Request');
    await expectCounts(envoy, LABELS, { 'unknown 400': 1 });
  });

  test('an internal redirect: each of its runs, as in the access log', async () => {
    const answer: Answering = ({ path }) =>
      path === '/from' ? { status: 302, headers: ['location', 'http://test/to'] } : {};
    await using app = await App.start(answer);
    const internal_redirect_policy = { max_internal_redirects: 1 };
    const routes = [{ match: { prefix: '/' }, route: { cluster: 'app', internal_redirect_policy } }];
    const { envoy, port } = await startCounting({ version, routes, clusters: { app: { port: app.port } } });
    await using _ = envoy;
    expect((await send(port, { path: '/from', headers: FROM_PRODUCTPAGE })).status).toBe(200);
    await expectCounts(envoy, LABELS, { 'productpage-v1 302': 1, 'productpage-v1 200': 1 });
  });

  test('an internal redirect at a client: the last run names its server', async () => {
    // A second filter, with other headers, makes this one look at what others found.
    const other = metadataExchange({ headers: { metadata: 'x-other-metadata', id: 'x-other-id' } }, 'other');
    for (const filters of [[counter()], [counter(), other], [other, counter()]]) {
      await expectRedirected(version, filters, [], {
        // The router keeps a response that redirects to itself: a listener's filter sees no headers of it.
        'reviews-v1 unknown 302': 2,
        'reviews-v1 ratings-v1 200': 1,
      });
    }
  });

  test('the same where a filter in the cluster learns who answers: each run names its server, or nobody', async () => {
    const learner = metadataExchange({ upstream_discovery: HEADERS, upstream_propagation: HEADERS }, 'learner');
    const listening = { downstream_discovery: HEADERS, downstream_propagation: HEADERS };
    for (const config of [listening, { ...listening, upstream_discovery: HEADERS }, {}]) {
      await expectRedirected(version, [counter(config)], [learner], {
        'reviews-v1 details-v1 302': 1,
        'reviews-v1 unknown 302': 1,
        'reviews-v1 ratings-v1 200': 1,
      });
    }
  });

  test('a custom response that comes from elsewhere: both, as in the access log', async () => {
    await using app = await App.start(({ path }) => ({ status: path === '/from' ? 500 : 200 }));
    const filters = [customResponse, counter()];
    const { envoy, port } = await startCounting({ version, filters, clusters: { app: { port: app.port } } });
    await using _ = envoy;
    expect((await send(port, { path: '/from', headers: FROM_PRODUCTPAGE })).status).toBe(200);
    await expectCounts(envoy, LABELS, { 'productpage-v1 500': 1, 'productpage-v1 200': 1 });
  });

  test('one that waits for its virtual host on demand: once, though some Envoys run the chain twice', async () => {
    await using app = await App.start();
    await using hosts = await VirtualHosts.start('app');
    const { envoy, port } = await startCounting({
      version,
      workers: 2,
      filters: [counter(), onDemand],
      routes: [],
      manager: routesOnDemand(),
      clusters: { app: { port: app.port }, hosts: { port: hosts.port, http2: true } },
    });
    await using _ = envoy;
    for (let i = 0; i < 3; i++) await send(port, { headers: FROM_PRODUCTPAGE });
    await expectCounts(envoy, LABELS, { 'productpage-v1 200': 3 });
  });

  test('nothing in a cluster’s filter, which Envoy does not tell of a request’s end', async () => {
    await using app = await App.start();
    const clusters = { app: { port: app.port, ...inCluster([counter()]) } };
    const { envoy, port } = await startCounting({ version, filters: [], clusters });
    await using _ = envoy;
    await send(port, {});
    await new Promise((resolve) => setTimeout(resolve, 300));
    expect(await series(envoy)).toEqual([]);
  });

  test('two filters of ours in a chain: one that has `metrics` counts, the other does not', async () => {
    const filters = [metadataExchange(undefined, 'plain'), counter({}, 'counts')];
    const { envoy, port } = await startCounting({ version, workers: 2, filters });
    await using _ = envoy;
    for (let i = 0; i < 3; i++) await send(port, { headers: FROM_PRODUCTPAGE });
    await expectCounts(envoy, LABELS, { 'productpage-v1 200': 3 });
  });

  test('two that both have `metrics` count twice', async () => {
    const { envoy, port } = await startCounting({ version, filters: [counter({}, 'a'), counter({}, 'b')] });
    await using _ = envoy;
    await send(port, { headers: FROM_PRODUCTPAGE });
    await expectCounts(envoy, LABELS, { 'productpage-v1 200': 2 });
  });

  test('an upgrade to WebSocket: once, when it ends', async () => {
    const server = net.createServer((socket) => {
      socket.on('error', () => undefined);
      socket.once('data', () => {
        socket.write('HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\n');
        socket.pipe(socket);
      });
    });
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    onTestFinished(() => void server.close());
    const { port: behind } = server.address() as net.AddressInfo;
    const manager = { upgrade_configs: [{ upgrade_type: 'websocket' }] };
    const { envoy, port } = await startCounting({
      version,
      routes: [toApp],
      manager,
      clusters: { app: { port: behind } },
    });
    await using _ = envoy;
    const socket = net.connect(port, '127.0.0.1');
    let heard = '';
    socket.on('data', (chunk) => {
      heard += chunk.toString('latin1');
    });
    const [metadata, id] = [FROM_PRODUCTPAGE[1], FROM_PRODUCTPAGE[3]];
    socket.write(
      `GET / HTTP/1.1\r\nhost: test\r\nupgrade: websocket\r\nconnection: upgrade\r\n` +
        `sec-websocket-key: x\r\nsec-websocket-version: 13\r\n${METADATA}: ${metadata}\r\n${ID}: ${id}\r\n\r\n`,
    );
    await envoy.until('the connection is upgraded', () => heard.includes('101'));
    socket.write('hello');
    await envoy.until('it echoes', () => heard.endsWith('hello'));
    expect(await counts(envoy, ['response_code'])).toEqual({});
    socket.end();
    await expectCounts(envoy, LABELS, { 'productpage-v1 101': 1 });
  });
});
