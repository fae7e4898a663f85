// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type Bootstrap, Envoy, validate } from '../../testkit/envoy/process.ts';
import { shipped, shippedFiles, shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { type Answer, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { logged } from '../support/shipped.ts';

const PRODUCTPAGE = 'envoy/sidecar-pair/productpage.yaml';
const REVIEWS = 'envoy/sidecar-pair/reviews.yaml';
const APP = 'envoy/sidecar-pair/app.yaml';
const GATEWAY = 'envoy/edge-gateway/gateway.yaml';

/** What the applications must not see. */
const OURS = /x-istio-peer/i;

/** What Envoy calls the type of metadata in filter state. */
const STRUCT = 'type.googleapis.com/google.protobuf.Struct';

/** Several Envoys start before the first test. */
const TIMEOUT = 60_000;

describe('the configurations under envoy/', () => {
  const files = shippedFiles();

  it('are found', () => {
    expect(files).toEqual(expect.arrayContaining([PRODUCTPAGE, REVIEWS, APP, GATEWAY]));
  });

  it.each(files)('%s is taken by Envoy as it is, from the project folder', { timeout: TIMEOUT }, async (path) => {
    const { valid, log } = await validate(path);
    expect(valid, log).toBe(true);
  });
});

const running: Envoy[] = [];

async function start(name: string, config: Bootstrap): Promise<Envoy> {
  const envoy = await Envoy.start(config, { name });
  running.push(envoy);
  return envoy;
}

async function stopAll(): Promise<void> {
  await Promise.all(running.splice(0).map((envoy) => envoy.stop()));
}

/** The application behind its sidecar, as shipped: the sidecar, and its port. */
async function startReviews(): Promise<[Envoy, number]> {
  const app = await start('app', shipped(APP));
  const config = shipped(REVIEWS, { app: await app.port('app') });
  alsoLog(config, 'all', '%DYNAMIC_METADATA(envoy.wasm.metadata_exchange.downstream)%');
  const reviews = await start('reviews', config);
  return [reviews, await reviews.port('inbound')];
}

/** Adds a field to a configuration's access log. */
function alsoLog(config: Bootstrap, field: string, format: string): void {
  const manager = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
  manager.access_log[0].typed_config.log_format.json_format[field] = format;
}

describe('the sidecar pair', { timeout: TIMEOUT }, () => {
  let productpage: Envoy;
  let reviews: Envoy;
  let answer: Answer;

  beforeAll(async () => {
    const [server, port] = await startReviews();
    reviews = server;
    const config = shipped(PRODUCTPAGE, { reviews: port });
    alsoLog(config, 'all', '%DYNAMIC_METADATA(envoy.wasm.metadata_exchange.upstream)%');
    productpage = await start('productpage', config);
    answer = await send(await productpage.port('outbound'), { path: '/reviews/1' });
  }, TIMEOUT);
  afterAll(stopAll);

  it("answers productpage's request, and neither application sees a trace of the exchange", () => {
    expect(answer.status).toBe(200);
    expect(answer.body).toContain('":path": "/reviews/1"');
    expect(answer.body).not.toMatch(OURS);
    expect(answer.headers.peer()).toEqual({});
  });

  it('tells reviews all that productpage says of itself, types included', async () => {
    const { downstream_peer } = await logged(reviews, '/reviews/1');
    const { id, metadata } = shippedIdentity(PRODUCTPAGE);
    expect(metadata.PROXY_CONFIG.concurrency).toBeTypeOf('number');
    expect(downstream_peer.id).toBe(id);
    expect(downstream_peer.metadata).toEqual({ '@type': STRUCT, value: metadata });
  });

  it('tells productpage all that reviews says of itself, types included', async () => {
    const { upstream_peer } = await logged(productpage, '/reviews/1');
    const { id, metadata } = shippedIdentity(REVIEWS);
    expect(upstream_peer.id).toBe(id);
    expect(upstream_peer.metadata).toEqual({ '@type': STRUCT, value: metadata });
  });

  it('has every field of the peer in dynamic metadata, on both sides', async () => {
    const { downstream_peer, all: client } = await logged(reviews, '/reviews/1');
    expect(client).toEqual(shippedIdentity(PRODUCTPAGE).metadata);
    expect(downstream_peer.from_dynamic_metadata).toEqual({
      name: 'productpage-v1-84975bc778-pxz2w',
      namespace: 'default',
      workload: 'productpage-v1',
      app: 'productpage',
    });
    const { upstream_peer, all: server } = await logged(productpage, '/reviews/1');
    expect(server).toEqual(shippedIdentity(REVIEWS).metadata);
    expect(upstream_peer.from_dynamic_metadata).toEqual({
      name: 'reviews-v1-7b6b8f5d4c-k9xlm',
      namespace: 'default',
      workload: 'reviews-v1',
      app: 'reviews',
    });
  });

  it('has the peer in CEL expressions, on both sides', async () => {
    const { downstream_peer } = await logged(reviews, '/reviews/1');
    expect(downstream_peer.from_cel).toEqual({ name: 'productpage-v1-84975bc778-pxz2w', app: 'productpage' });
    const { upstream_peer } = await logged(productpage, '/reviews/1');
    expect(upstream_peer.from_cel).toEqual({ name: 'reviews-v1-7b6b8f5d4c-k9xlm', app: 'reviews' });
  });
});

describe('the edge gateway', { timeout: TIMEOUT }, () => {
  let gateway: Envoy;
  let reviews: Envoy;
  let edge: number;

  /** What strangers may try. */
  const forged = struct.header({ NAME: 'forged', WORKLOAD_NAME: 'productpage-v1' });
  const attempts: Record<string, string[]> = {
    nothing: [],
    forged: [METADATA, forged, ID, 'forged'],
    'forged-metadata': [METADATA, forged],
    'forged-id': [ID, 'forged'],
    twice: [METADATA, '', METADATA, forged, ID, '', ID, 'forged'],
    empty: [METADATA, '', ID, ''],
    garbage: [METADATA, '!!!!', ID, '~'],
  };

  beforeAll(async () => {
    const [server, port] = await startReviews();
    reviews = server;
    gateway = await start('gateway', shipped(GATEWAY, { reviews: port }));
    edge = await gateway.port('edge');
  }, TIMEOUT);
  afterAll(stopAll);

  it('is who reviews sees, whoever a stranger claims to be', async () => {
    const { id, metadata } = shippedIdentity(GATEWAY);
    for (const [attempt, headers] of Object.entries(attempts)) {
      const answer = await send(edge, { path: `/reviews/${attempt}`, headers });
      expect(answer.status, attempt).toBe(200);
      expect(answer.body, attempt).not.toMatch(OURS);
      expect(answer.headers.peer(), attempt).toEqual({});
    }
    for (const attempt of Object.keys(attempts)) {
      const { downstream_peer, all } = await logged(reviews, `/reviews/${attempt}`);
      expect(downstream_peer.id, attempt).toBe(id);
      expect(downstream_peer.metadata.value, attempt).toEqual(metadata);
      expect(all, attempt).toEqual(metadata);
    }
  });

  it('learns who answered', async () => {
    await send(edge, { path: '/reviews/learns', headers: attempts.forged });
    const { upstream_peer } = await logged(gateway, '/reviews/learns');
    const { id, metadata } = shippedIdentity(REVIEWS);
    expect(upstream_peer).toMatchObject({ id, workload: 'reviews-v1', app: 'reviews' });
    expect(upstream_peer.metadata.value).toEqual(metadata);
  });

  it.each(Object.entries(attempts))('tells strangers nothing with a 404 (they sent: %s)', async (_, headers) => {
    const answer = await send(edge, { path: '/not-public', headers });
    expect(answer.status).toBe(404);
    expect(answer.headers.peer()).toEqual({});
  });

  it('tells strangers nothing with a 503, when reviews is gone', async () => {
    // Nothing listens at port 1.
    await using alone = await Envoy.start(shipped(GATEWAY, { reviews: 1 }), { name: 'gateway' });
    const port = await alone.port('edge');
    for (const [attempt, headers] of Object.entries(attempts)) {
      const answer = await send(port, { path: '/reviews/1', headers });
      expect(answer.status, attempt).toBe(503);
      expect(answer.headers.peer(), attempt).toEqual({});
    }
  });

  it('turns away headers that a careless server would take for ours', async () => {
    const answer = await send(edge, { path: '/reviews/underscores', headers: ['x_istio_peer_id', 'forged'] });
    expect(answer.status).toBe(400);
    expect(answer.headers.peer()).toEqual({});
  });
});
