// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { createSign, generateKeyPairSync } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Learned, learned } from '../../testkit/access_log.ts';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { lua, metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { type Answering, App, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { OWN, OWN_HEADER, OWN_ID } from '../support/proxy_stand.ts';

/**
 * Routes that are chosen after a listener's filter has run, to a cluster of the mesh and to one outside of it: whom a
 * filter behind the router tells, a cluster's own or the router's, and whom the listener's filter tells there.
 */

const TYPE = 'type.googleapis.com';
const HTTP_OPTIONS = 'envoy.extensions.upstreams.http.v3.HttpProtocolOptions';
const HEADERS = [{ istio_headers: {} }];
const TELLER = { upstream_discovery: HEADERS, upstream_propagation: HEADERS };
const SKIPPING = {
  upstream_discovery: HEADERS,
  upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
};
const EXTERNAL = { metadata: { filter_metadata: { istio: { external: true } } } };
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const FORGED = [METADATA, 'forged', ID, 'forged'];
const SERVER = { NAME: 'server' };
const SERVER_ID = 'server-node';
const NOBODY = [undefined, undefined];

const filter = (name: string, type: string, config: object) => ({
  name,
  typed_config: { '@type': `${TYPE}/envoy.extensions.filters.http.${type}`, ...config },
});

/** A chain behind the router: it ends with a filter that every such chain must have. */
const chain = (config: object) => [
  metadataExchange(config, 'upstream'),
  filter('envoy.filters.http.upstream_codec', 'upstream_codec.v3.UpstreamCodec', {}),
];

/** A cluster's own filters. */
const own = (config?: object) =>
  config && {
    typed_extension_protocol_options: {
      [HTTP_OPTIONS]: {
        '@type': `${TYPE}/${HTTP_OPTIONS}`,
        explicit_http_config: { http_protocol_options: {} },
        http_filters: chain(config),
      },
    },
  };

/** Where the exchange stands. */
interface Way {
  listener?: object;
  router?: object;
  inside?: object;
  outside?: object;
}

const BEHIND: Record<string, Way> = {
  'filters of all clusters, with skip_external_clusters': { inside: SKIPPING, outside: SKIPPING },
  'a filter of the inside cluster alone': { inside: TELLER },
  'the router’s filter for all clusters, with skip_external_clusters': { router: SKIPPING },
};
const BEFORE: Way = { listener: SKIPPING };

function manager(way: Way, filters: object[], routes: object[]): object {
  const router = way.router && { upstream_http_filters: chain(way.router) };
  return {
    http_filters: [
      ...(way.listener ? [metadataExchange(way.listener)] : []),
      ...filters,
      filter('router', 'router.v3.Router', router ?? {}),
    ],
    route_config: {
      virtual_hosts: [
        {
          name: 'all',
          domains: ['*'],
          // As in envoy/upstream-filter: a cluster without a filter would get what the client claims to be.
          ...(way.inside && !way.outside && { request_headers_to_remove: [METADATA, ID] }),
          routes,
        },
      ],
    },
  };
}

const keys = generateKeyPairSync('rsa', { modulusLength: 2048 });
/** A token that claims where its bearer's requests must go. */
function token(to: string): string {
  const encode = (part: object) => Buffer.from(JSON.stringify(part)).toString('base64url');
  const text = `${encode({ alg: 'RS256', kid: 'key' })}.${encode({ iss: 'issuer', exp: 4e9, to })}`;
  return `${text}.${createSign('RSA-SHA256').update(text).sign(keys.privateKey, 'base64url')}`;
}

/** Stock filters that choose another cluster, and what a client sends for that. */
const CHOOSERS: Record<string, { filters: object[]; asks?: (to: string) => string[] }> = {
  'jwt_authn, a claim as header': {
    filters: [
      filter('jwt', 'jwt_authn.v3.JwtAuthentication', {
        providers: {
          issuer: {
            issuer: 'issuer',
            local_jwks: {
              inline_string: JSON.stringify({
                keys: [{ ...keys.publicKey.export({ format: 'jwk' }), kid: 'key', alg: 'RS256' }],
              }),
            },
            claim_to_headers: [{ header_name: 'x-chosen', claim_name: 'to' }],
            clear_route_cache: true,
          },
        },
        rules: [{ match: { prefix: '/' }, requires: { provider_name: 'issuer' } }],
      }),
    ],
    asks: (to) => ['authorization', `Bearer ${token(to)}`],
  },
  'Lua, a header and clearRouteCache': {
    filters: [
      lua('choose', {
        inline_string: `function envoy_on_request(handle)
          handle:headers():replace("x-chosen", handle:headers():get("x-wanted"))
          handle:clearRouteCache() end`,
      }),
    ],
  },
  // It does not clear the route cache itself: whichever filter clears it later brings its header to bear.
  'header_mutation, and a later filter that clears the route cache': {
    filters: [
      filter('mutation', 'header_mutation.v3.HeaderMutation', {
        mutations: {
          request_mutations: [
            {
              append: {
                header: { key: 'x-chosen', value: '%REQ(x-wanted)%' },
                append_action: 'OVERWRITE_IF_EXISTS_OR_ADD',
              },
            },
          ],
        },
      }),
      lua('clear', { inline_string: 'function envoy_on_request(handle) handle:clearRouteCache() end' }),
    ],
  },
};

const withHeader = (name: string, exact: string, action: object) => ({
  match: { prefix: '/', headers: [{ name, string_match: { exact } }] },
  route: action,
});

/** Who wants to go outside is led inside until a filter has chosen, and the reverse. */
const CHOSEN_ROUTES = [
  withHeader('x-chosen', 'outside', { cluster: 'outside' }),
  withHeader('x-chosen', 'inside', { cluster: 'inside' }),
  withHeader('x-wanted', 'outside', { cluster: 'inside' }),
  withHeader('x-wanted', 'inside', { cluster: 'outside' }),
];

const mirrored = (cluster: string, mirror: string) => ({ cluster, request_mirror_policies: [{ cluster: mirror }] });

const REDIRECTED = {
  match: { prefix: '/' },
  route: { cluster: 'inside', internal_redirect_policy: { max_internal_redirects: 1 } },
};

/** The server in the mesh: it says who it is, and redirects or fails where a path asks for it. */
const insideAnswer: Answering = ({ path }) => {
  const headers = [METADATA, struct.header(SERVER), ID, SERVER_ID];
  if (path === '/redirected') return { status: 302, headers: ['location', 'http://test/outside', ...headers] };
  return { status: path === '/retried' ? 503 : 200, headers };
};

/** An Envoy, and a server on either side of the mesh's border. */
class Stand implements AsyncDisposable {
  private constructor(
    readonly envoy: Envoy,
    readonly inside: App,
    readonly outside: App,
  ) {}

  static async start(listeners: Record<string, object>, clusters: Clusters, version?: string): Promise<Stand> {
    const inside = await App.start(insideAnswer);
    const outside = await App.start();
    const config = proxy({
      node: { id: OWN_ID, metadata: { 'istio.io/metadata': OWN } },
      listeners: Object.entries(listeners).map(([name, manager]) => ({
        name,
        direction: 'OUTBOUND',
        filters: [],
        manager,
      })),
      clusters: clusters(inside.port, outside.port),
    });
    try {
      return new Stand(await Envoy.start(config, { version, workers: 2 }), inside, outside);
    } catch (error) {
      await inside[Symbol.asyncDispose]();
      await outside[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Sends a request: what each server was told, and the server that the listener's access log names. */
  async exchange(listener: string, path: string, headers: string[] = []) {
    const [inside, outside] = [this.inside.seen.length, this.outside.seen.length];
    const answer = await send(await this.envoy.port(listener), { path, headers: [...headers, ...FORGED] });
    // A redirected request has another path in the log, and a line for each run.
    const logged = path === '/redirected' ? '/outside' : path;
    let line: Learned | undefined;
    await this.envoy.until(`the access log has ${logged}`, () => {
      line = learned(this.envoy).find((each) => each.path === logged && each.status === answer.status);
      return line !== undefined;
    });
    const { upstream } = line as Learned;
    return {
      inside: this.inside.seen.slice(inside).map((each) => each.headers.peer()),
      outside: this.outside.seen.slice(outside).map((each) => each.headers.peer()),
      server: [upstream.struct, upstream.id || undefined],
      answer,
    };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.envoy.stop();
    await this.inside[Symbol.asyncDispose]();
    await this.outside[Symbol.asyncDispose]();
  }
}

type Clusters = (inside: number, outside: number) => NonNullable<Parameters<typeof proxy>[0]['clusters']>;

const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);

describe.each(TESTED)('a cluster that is chosen late, Envoy %s', (_, version) => {
  const stands = new Map<Way, Stand>();

  beforeAll(async () => {
    for (const way of [...Object.values(BEHIND), BEFORE]) {
      const redirects = [{ match: { path: '/outside' }, route: { cluster: 'outside' } }, REDIRECTED];
      const mirrors = [
        { match: { path: '/mirrored-outside' }, route: mirrored('inside', 'outside') },
        { match: { path: '/mirrored-inside' }, route: mirrored('outside', 'inside') },
      ];
      const listeners: Record<string, object> = {
        redirects: manager(way, [], redirects),
        mirrors: manager(way, [], mirrors),
      };
      for (const [name, { filters }] of Object.entries(CHOOSERS))
        listeners[name] = manager(way, filters, CHOSEN_ROUTES);
      const clusters: Clusters = (inside, outside) => ({
        inside: { port: inside, ...own(way.inside) },
        outside: { port: outside, ...EXTERNAL, ...own(way.outside) },
      });
      stands.set(way, await Stand.start(listeners, clusters, version));
    }
  });
  afterAll(async () => {
    for (const stand of stands.values()) await stand[Symbol.asyncDispose]();
  });

  const choose = (way: Way, chooser: string, to: string) => {
    const headers = ['x-wanted', to, ...(CHOOSERS[chooser].asks?.(to) ?? [])];
    const path = `/${Object.keys(CHOOSERS).indexOf(chooser)}/${to}`;
    return stands.get(way)!.exchange(chooser, path, headers);
  };

  /** What both servers were told of a request of which one of them gets a copy. */
  const mirror = async (way: Way, path: string) => {
    const { envoy, inside, outside } = stands.get(way)!;
    await send(await envoy.port('mirrors'), { path, headers: FORGED });
    const seen = [inside, outside].map((app) => () => app.seen.find((each) => each.path === path)?.headers.peer());
    await envoy.until('both have it', () => seen.every((each) => each()));
    return seen.map((each) => each());
  };

  describe.each(Object.entries(BEHIND))('%s', (_, way) => {
    test.each(Object.keys(CHOOSERS))('%s: outside nothing is told, inside both sides learn', async (chooser) => {
      const left = await choose(way, chooser, 'outside');
      expect([left.inside, left.outside, left.server]).toEqual([[], [{}], NOBODY]);
      const stayed = await choose(way, chooser, 'inside');
      expect([stayed.inside, stayed.outside, stayed.server]).toEqual([[OWN_HEADERS], [], [SERVER, SERVER_ID]]);
      expect(stayed.answer.headers.peer(), 'the client').toEqual({});
    });

    test('a mirror: the server inside is told, whichever of the two it is', async () => {
      for (const path of ['/mirrored-outside', '/mirrored-inside']) {
        expect(await mirror(way, path), path).toEqual([OWN_HEADERS, {}]);
      }
    });

    test('an internal redirect: what the inside cluster was told does not go outside', async () => {
      const { inside, outside, server } = await stands.get(way)!.exchange('redirects', '/redirected');
      expect([inside, outside]).toEqual([[OWN_HEADERS], [{}]]);
      // Filter state cannot be deleted: only a filter that sees the second run can clear what the first one learned.
      const isSeen = way.router || way.outside;
      expect(server).toEqual(isSeen ? [{}, undefined] : [SERVER, SERVER_ID]);
    });
  });

  // These show that the tests above can fail, and why the listener's filter is the second best.
  test.each(Object.keys(CHOOSERS))(
    'the listener’s filter with skip_external_clusters, %s: it leaks',
    async (chooser) => {
      expect((await choose(BEFORE, chooser, 'outside')).outside, 'outside is told').toEqual([OWN_HEADERS]);
      expect((await choose(BEFORE, chooser, 'inside')).inside, 'inside is not').toEqual([{}]);
    },
  );

  test('the listener’s filter with skip_external_clusters, a mirror: it leaks', async () => {
    expect(await mirror(BEFORE, '/mirrored-outside')).toEqual([OWN_HEADERS, OWN_HEADERS]);
    expect(await mirror(BEFORE, '/mirrored-inside')).toEqual([{}, {}]);
  });

  test('the listener’s filter with skip_external_clusters, an internal redirect: the chain runs again', async () => {
    const { inside, outside } = await stands.get(BEFORE)!.exchange('redirects', '/redirected');
    expect([inside, outside]).toEqual([[OWN_HEADERS], [{}]]);
  });

  test.each([{ router: SKIPPING }, { inside: SKIPPING }])('a route can switch it off: %j', async (way: Way) => {
    const off = { '@type': `${TYPE}/envoy.config.route.v3.FilterConfig`, disabled: true };
    const route = { match: { prefix: '/' }, route: { cluster: 'inside' } };
    const routes = [{ ...route, match: { prefix: '/off' }, typed_per_filter_config: { upstream: off } }, route];
    const clusters: Clusters = (inside) => ({ inside: { port: inside, ...own(way.inside) } });
    await using stand = await Stand.start({ listener: manager(way, [], routes) }, clusters, version);
    const { inside, server } = await stand.exchange('listener', '/off');
    expect([inside[0][ID], server]).toEqual([way.router && ['forged'], NOBODY]);
    expect((await stand.exchange('listener', '/')).server).toEqual([SERVER, SERVER_ID]);
  });

  test('the router’s filter knows the PassthroughCluster by its name', async () => {
    const routes = [{ match: { prefix: '/' }, route: { cluster: 'PassthroughCluster' } }];
    const clusters: Clusters = (_, port) => ({ PassthroughCluster: { port } });
    await using stand = await Stand.start({ listener: manager({ router: SKIPPING }, [], routes) }, clusters, version);
    expect((await stand.exchange('listener', '/')).outside).toEqual([{}]);
  });

  test('a cluster’s own filters stand in place of the router’s', async () => {
    const way = { router: SKIPPING, inside: { upstream_discovery: HEADERS } };
    const routes = [{ match: { prefix: '/' }, route: { cluster: 'inside' } }];
    const clusters: Clusters = (inside) => ({ inside: { port: inside, ...own(way.inside) } });
    await using stand = await Stand.start({ listener: manager(way, [], routes) }, clusters, version);
    const { inside, server } = await stand.exchange('listener', '/');
    expect([inside, server]).toEqual([[{}], [SERVER, SERVER_ID]]);
  });
});

/**
 * Of an aggregate cluster Envoy runs the aggregate's own filters and not those of the member that it chooses, and says
 * the aggregate's name and metadata to all filters. No filter can know a member by them.
 */
describe.each(TESTED)('an aggregate cluster, Envoy %s', (_, version) => {
  const aggregate = (...clusters: string[]) => ({
    port: 0,
    load_assignment: undefined,
    lb_policy: 'CLUSTER_PROVIDED',
    cluster_type: {
      name: 'envoy.clusters.aggregate',
      typed_config: { '@type': `${TYPE}/envoy.extensions.clusters.aggregate.v3.ClusterConfig`, clusters },
    },
  });
  /** A second try goes to the next member. */
  const retry_policy = {
    retry_on: '5xx',
    num_retries: 1,
    retry_priority: {
      name: 'envoy.retry_priorities.previous_priorities',
      typed_config: {
        '@type': `${TYPE}/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig`,
        update_frequency: 1,
      },
    },
  };
  const to = (cluster: string) => ({ match: { prefix: `/${cluster}` }, route: { cluster } });

  interface Aggregate extends Way {
    /** Filters of the aggregates. */
    aggregate?: object;
    /** Whether the aggregate that may leave the mesh says so. */
    isMarked?: boolean;
  }

  function start(way: Aggregate): Promise<Stand> {
    const routes = [
      to('mesh'),
      to('left'),
      { match: { path: '/retried' }, route: { cluster: 'mixed', retry_policy } },
      to('mixed'),
    ];
    const marked = way.isMarked ? EXTERNAL : {};
    return Stand.start(
      { listener: manager(way, [], routes) },
      (inside, outside) => ({
        inside: { port: inside, ...own(way.inside) },
        outside: { port: outside, ...EXTERNAL, ...own(way.outside) },
        // It has no host: whoever tries it goes on to the next.
        gone: { port: 0, load_assignment: undefined, type: 'STATIC', ...own(way.inside) },
        mesh: { ...aggregate('gone', 'inside'), ...own(way.aggregate) },
        left: { ...aggregate('gone', 'outside'), ...marked, ...own(way.aggregate) },
        mixed: { ...aggregate('inside', 'outside'), ...marked, ...own(way.aggregate) },
      }),
      version,
    );
  }

  const TELLING: [string, Aggregate][] = [
    ['its own filter', { aggregate: SKIPPING, inside: SKIPPING, outside: SKIPPING }],
    ['the router’s filter', { router: SKIPPING }],
  ];

  test.each(TELLING)('%s tells the members, where none is outside, and learns who answered', async (_, way) => {
    await using stand = await start(way);
    const { inside, server } = await stand.exchange('listener', '/mesh');
    expect([inside, server]).toEqual([[OWN_HEADERS], [SERVER, SERVER_ID]]);
  });

  const ALL: [string, Aggregate][] = [...TELLING, ['the listener’s filter', BEFORE]];

  test.each(ALL)('%s tells nobody, where the aggregate is marked as external', async (_, way) => {
    await using stand = await start({ ...way, isMarked: true });
    expect(await stand.exchange('listener', '/left')).toMatchObject({ inside: [], outside: [{}] });
    expect(await stand.exchange('listener', '/mixed')).toMatchObject({ inside: [{}], outside: [] });
    expect(await stand.exchange('listener', '/retried')).toMatchObject({ inside: [{}], outside: [{}] });
  });

  test.each(ALL)('%s tells a member outside, where the aggregate is not marked', async (_, way) => {
    await using stand = await start(way);
    expect((await stand.exchange('listener', '/left')).outside).toEqual([OWN_HEADERS]);
    const { inside, outside } = await stand.exchange('listener', '/retried');
    expect([inside, outside]).toEqual([[OWN_HEADERS], [OWN_HEADERS]]);
  });

  test('filters of its members do not run: nobody is told', async () => {
    await using stand = await start({ inside: SKIPPING, outside: SKIPPING });
    // What the client claims to be passes, as nobody removes it.
    const forged = { [METADATA]: ['forged'], [ID]: ['forged'] };
    expect(await stand.exchange('listener', '/mesh')).toMatchObject({ inside: [forged], server: NOBODY });
    expect((await stand.exchange('listener', '/left')).outside).toEqual([forged]);
  });
});
