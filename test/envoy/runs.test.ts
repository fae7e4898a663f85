// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Learned, learned } from '../../testkit/access_log.ts';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { type Answering, App, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { customResponse } from '../support/custom_response.ts';
import { OWN, OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';
import { VirtualHosts } from '../support/vhds.ts';

/**
 * What makes Envoy run a chain of filters again on the same request: internal redirects, custom responses, tries of a
 * cluster's filters, virtual hosts on demand; and two filters of ours in one chain. The client is known, told and answered
 * as if there had been one run. All of it on every Envoy, with two workers.
 */

const TYPE = 'type.googleapis.com';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const HEADERS = [{ istio_headers: {} }];
const SKIPPING = [{ istio_headers: { skip_external_clusters: true } }];
const FOUR = {
  downstream_discovery: HEADERS,
  upstream_discovery: HEADERS,
  downstream_propagation: HEADERS,
  upstream_propagation: SKIPPING,
};
const READER = { downstream_discovery: HEADERS, downstream_propagation: HEADERS };
const TELLER = { upstream_discovery: HEADERS, upstream_propagation: SKIPPING };

/** A client, what it sent, what it must be answered, and what must be known of it. */
const CLIENTS: [string, string[], object, object | undefined, string | undefined][] = [
  ['both headers', FROM_PEER, OWN_HEADERS, PEER, PEER_ID],
  ['an id', [ID, PEER_ID], { [ID]: [OWN_ID] }, undefined, PEER_ID],
  ['nothing', [], {}, undefined, undefined],
  ['empty headers', [METADATA, '', ID, ''], OWN_HEADERS, undefined, undefined],
];

interface Options {
  version?: string;
  filters: object[];
  routes: object[];
  answer: Answering;
  /** Filters of the cluster `app`. */
  clusterFilters?: object[];
  manager?: object;
  clusters?: object;
}

const SERVER = { NAME: 'server' };
/** What the last server says of itself. */
const FROM_SERVER = [METADATA, struct.header(SERVER), ID, 'server-node'];

/** Sends a request through one Envoy; what came of it. */
async function exchange(options: Options, headers: string[], path = '/from') {
  await using app = await App.start(options.answer);
  const http_filters = options.clusterFilters && {
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        '@type': `${TYPE}/${HTTP_OPTIONS}`,
        explicit_http_config: { http_protocol_options: {} },
        http_filters: [
          ...options.clusterFilters,
          {
            name: 'envoy.filters.http.upstream_codec',
            typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.upstream_codec.v3.UpstreamCodec` },
          },
        ],
      },
    },
  };
  const external = { metadata: { filter_metadata: { istio: { external: true } } } };
  await using envoy = await Envoy.start(
    proxy({
      node: { id: OWN_ID, metadata: { 'istio.io/metadata': OWN } },
      listeners: [
        {
          name: 'listener',
          filters: options.filters,
          routes: options.routes,
          manager: options.manager,
        },
      ],
      clusters: {
        app: { port: app.port, ...http_filters },
        outside: { port: app.port, ...external, ...http_filters },
        ...options.clusters,
      },
    }),
    { version: options.version, workers: 2 },
  );
  const answer = await send(await envoy.port('listener'), { path, headers });
  let line: Learned | undefined;
  await envoy.until('the last run is logged', () => {
    line = learned(envoy).findLast(({ status }) => status === 200);
    return line !== undefined;
  });
  return { answer, seen: app.seen, line: line as Learned };
}

/** From each path `/from` to `/to` and on to `/end`. */
const redirecting: Answering = ({ path }) => {
  if (path === '/end') return { headers: FROM_SERVER };
  const location = `http://test${path === '/from' ? '/to' : '/end'}`;
  return { status: 302, headers: ['location', location, ID, `server-of${path.replace('/', '-')}`] };
};
const policy = { internal_redirect_policy: { max_internal_redirects: 3 } };
const route = (path: string, cluster: string) => ({ match: { path }, route: { cluster, ...policy } });
const toApp = { match: { prefix: '/' }, route: { cluster: 'app', ...policy } };
/** Routes that come from a file: none but what is asked for. */
function rds(folder: string, vhds: object): object {
  const routes = { '@type': `${TYPE}/envoy.config.route.v3.RouteConfiguration`, name: 'routes', vhds };
  writeFileSync(join(folder, 'rds.json'), JSON.stringify({ resources: [routes] }));
  return {
    route_config_name: 'routes',
    config_source: { resource_api_version: 'V3', path_config_source: { path: join(folder, 'rds.json') } },
  };
}

const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);

describe.each(TESTED)('a request that runs the chain more than once, Envoy %s', (_, version) => {
  const check = (
    { answer, line }: Awaited<ReturnType<typeof exchange>>,
    answered: object,
    known: object | undefined,
    id: string | undefined,
  ) => {
    expect(answer.status).toBe(200);
    expect(answer.headers.peer()).toEqual(answered);
    expect(line.downstream.struct, 'the client').toEqual(known);
    expect(line.downstream.id).toEqual(id);
  };

  test.each(CLIENTS)('redirected out of the mesh and back, after %s', async (_, sent, answered, known, id) => {
    for (const clusters of [
      ['app', 'outside', 'app'],
      ['outside', 'app', 'outside'],
    ]) {
      const paths = ['/from', '/to', '/end'];
      const routes = paths.map((path, i) => route(path, clusters[i]));
      const done = await exchange({ version, filters: [metadataExchange(FOUR)], routes, answer: redirecting }, sent);
      check(done, answered, known, id);
      const told = clusters.map((cluster) => (cluster === 'app' ? OWN_HEADERS : {}));
      expect(
        done.seen.map(({ headers }) => headers.peer()),
        'whom we tell',
      ).toEqual(told);
      expect([done.line.upstream.struct, done.line.upstream.id]).toEqual([SERVER, 'server-node']);
    }
  });

  test.each(CLIENTS)(
    'readers in the listener, tellers in the cluster, with retries, after %s',
    async (_, sent, answered, known, id) => {
      const retry = { retry_policy: { retry_on: '5xx', num_retries: 2 } };
      const tries: Record<string, number> = {};
      const done = await exchange(
        {
          version,
          filters: [metadataExchange(READER, 'reader')],
          clusterFilters: [metadataExchange(TELLER, 'teller')],
          routes: [{ match: { prefix: '/' }, route: { cluster: 'app', ...policy, ...retry } }],
          answer: (request) => {
            tries[request.path] = (tries[request.path] ?? 0) + 1;
            return tries[request.path] === 1 ? { status: 503, headers: [ID, 'broken'] } : redirecting(request);
          },
        },
        sent,
      );
      check(done, answered, known, id);
      expect(done.seen.map(({ headers }) => headers.peer())).toEqual(Array(6).fill(OWN_HEADERS));
      expect([done.line.upstream.struct, done.line.upstream.id]).toEqual([SERVER, 'server-node']);
    },
  );

  test('a server that says nothing is not taken for the one before it', async () => {
    for (const clusterFilters of [undefined, [metadataExchange(TELLER, 'teller')]]) {
      const answer: Answering = (request) => (request.path === '/end' ? {} : redirecting(request));
      const filters = [metadataExchange(clusterFilters ? READER : FOUR)];
      const { line } = await exchange({ version, filters, clusterFilters, routes: [toApp], answer }, FROM_PEER);
      // Filter state cannot be deleted: what is cleared reads as empty.
      expect([line.upstream.struct, line.upstream.id || undefined]).toEqual([undefined, undefined]);
    }
  });

  test.each(CLIENTS)('a custom response that redirects, after %s', async (_, sent, answered, known, id) => {
    const answer: Answering = (request) => (request.path === '/from' ? { status: 500 } : redirecting(request));
    const filters = [customResponse, metadataExchange(FOUR)];
    const done = await exchange({ version, filters, routes: [toApp], answer }, sent);
    check(done, answered, known, id);
    expect(done.seen.map(({ headers, path }) => [path, headers.peer()])).toEqual([
      ['/from', OWN_HEADERS],
      ['/end', OWN_HEADERS],
    ]);
  });

  test.each(CLIENTS)('a virtual host that comes on demand, after %s', async (_, sent, answered, known, id) => {
    await using hosts = await VirtualHosts.start('app');
    const onDemand = {
      name: 'envoy.filters.http.on_demand',
      typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.on_demand.v3.OnDemand` },
    };
    // On demand only what comes by RDS: an older Envoy waits without end for a route that its listener has inline.
    const folder = mkdtempSync(join(tmpdir(), 'rds-'));
    onTestFinished(() => rmSync(folder, { recursive: true }));
    const source = {
      resource_api_version: 'V3',
      api_config_source: {
        api_type: 'DELTA_GRPC',
        transport_api_version: 'V3',
        grpc_services: [{ envoy_grpc: { cluster_name: 'hosts' } }],
      },
    };
    const done = await exchange(
      {
        version,
        filters: [metadataExchange(FOUR), onDemand],
        routes: [],
        manager: { route_config: undefined, rds: rds(folder, { config_source: source }) },
        clusters: { hosts: { port: hosts.port, http2: true } },
        answer: () => ({ headers: FROM_SERVER }),
      },
      sent,
    );
    expect(hosts.asked).toEqual(['routes/test']);
    check(done, answered, known, id);
    expect(done.seen.map(({ headers }) => headers.peer())).toEqual([OWN_HEADERS]);
  });

  test.each(CLIENTS)('two equal filters in one chain, after %s', async (_, sent, answered, known, id) => {
    const filters = [metadataExchange(undefined, 'same'), metadataExchange(undefined, 'same')];
    const done = await exchange({ version, filters, routes: [toApp], answer: redirecting }, sent);
    check(done, answered, known, id);
    expect(done.seen.map(({ headers }) => headers.peer())).toEqual(Array(3).fill(OWN_HEADERS));
    expect([done.line.upstream.struct, done.line.upstream.id]).toEqual([SERVER, 'server-node']);
    const silent: Answering = () => ({});
    const { line } = await exchange({ version, filters, routes: [toApp], answer: silent }, sent);
    expect([line.upstream.struct, line.upstream.id], 'our own answer is not the server').toEqual([
      undefined,
      undefined,
    ]);
  });

  test('two filters with other headers: Struct and id are those of one peer', async () => {
    const other = metadataExchange({ headers: { metadata: 'x-b-metadata', id: 'x-b-id' } }, 'other');
    const answer: Answering = () => ({ headers: ['x-b-metadata', PEER_HEADER, 'x-b-id', 'b', ID, 'a'] });
    const filters = [metadataExchange(), other];
    const sent = [ID, PEER_ID, 'x-b-metadata', struct.header({ NAME: 'b' }), 'x-b-id', 'b'];
    const { line } = await exchange({ version, filters, routes: [toApp], answer }, sent);
    expect([line.downstream.struct, line.downstream.id], 'the first one’s client').toEqual([undefined, PEER_ID]);
    expect(line.upstream.id, 'the last one’s server').toBe('a');
    expect(line.upstream.struct).toEqual({});
  });
});
