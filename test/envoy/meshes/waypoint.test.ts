// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { metadataExchange } from '../../../testkit/envoy/config.ts';
import type { Bootstrap, Envoy } from '../../../testkit/envoy/process.ts';
import { shipped, shippedIdentity } from '../../../testkit/envoy/shipped.ts';
import { ID, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { Fleet, logged } from '../../support/shipped.ts';

const PRODUCTPAGE = 'envoy/sidecar-pair/productpage.yaml';
const WAYPOINT = 'envoy/waypoint/waypoint.yaml';
const REVIEWS = 'envoy/sidecar-pair/reviews.yaml';
const APP = 'envoy/sidecar-pair/app.yaml';

const LISTED = [{ istio_headers: {} }];
const BOTH_WAYS = {
  downstream_discovery: LISTED,
  upstream_discovery: LISTED,
  downstream_propagation: LISTED,
  upstream_propagation: LISTED,
};

const asShipped = (server: number) => shipped(WAYPOINT, { reviews: server });

/** The waypoint told by lists what it is told by having no direction: here on a listener that has the wrong one. */
function byLists(server: number): Bootstrap {
  const config = asShipped(server);
  const [listener] = config.static_resources.listeners;
  listener.traffic_direction = 'INBOUND';
  const { http_filters } = listener.filter_chains[0].filters[0].typed_config;
  const ours = http_filters.findIndex((each: { name: string }) => each.name === 'metadata_exchange');
  http_filters[ours] = metadataExchange(BOTH_WAYS);
  return config;
}

describe.each([
  ['without direction', asShipped],
  ['by its lists', byLists],
])('a waypoint between two sidecars, %s', { timeout: 60_000 }, (how, configuration) => {
  const fleet = new Fleet();
  let productpage: Envoy;
  let waypoint: Envoy;
  let reviews: Envoy;

  beforeAll(async () => {
    const app = await fleet.start('app', shipped(APP));
    reviews = await fleet.start('reviews', shipped(REVIEWS, { app: await app.port('app') }));
    waypoint = await fleet.start('waypoint', configuration(await reviews.port('inbound')));
    productpage = await fleet.start('productpage', shipped(PRODUCTPAGE, { reviews: await waypoint.port('main') }));
  }, 60_000);
  afterAll(() => fleet[Symbol.asyncDispose]());

  it('ends with both in its log: who asked and who answered, field by field', async () => {
    const path = `/reviews/${how.replaceAll(' ', '-')}`;
    const answer = await send(await productpage.port('outbound'), { path });
    expect(answer.status).toBe(200);
    expect(answer.headers.peer(), 'what the client sees').toEqual({});
    expect(answer.body, 'what the application saw').toContain(path);
    expect(answer.body, 'what the application saw').not.toMatch(/x-istio-peer/i);

    const line = await logged(waypoint, path);
    const client = shippedIdentity(PRODUCTPAGE);
    const server = shippedIdentity(REVIEWS);
    expect(line.downstream_peer).toMatchObject({ id: client.id, workload: 'productpage-v1' });
    expect(line.downstream_peer.metadata.value).toEqual(client.metadata);
    expect(line.upstream_peer).toMatchObject({ id: server.id, workload: 'reviews-v1' });
    expect(line.upstream_peer.metadata.value).toEqual(server.metadata);

    // Each sidecar knows its neighbour, and that is the waypoint.
    const middle = shippedIdentity(WAYPOINT);
    for (const peer of [
      (await logged(productpage, path)).upstream_peer,
      (await logged(reviews, path)).downstream_peer,
    ]) {
      expect(peer.id).toBe(middle.id);
      expect(peer.metadata.value).toEqual(middle.metadata);
    }
  });

  it('passes on nothing that a client claims about itself, and answers only who asked', async () => {
    const port = await waypoint.port('main');
    const claims = { NAME: 'somebody' };
    const asked = await send(port, { path: '/asked', headers: [METADATA, struct.header(claims), ID, 'somebody'] });
    const { id, metadata } = shippedIdentity(WAYPOINT);
    expect(asked.headers.peer()).toEqual({ [METADATA]: [struct.header(inOrder(metadata) as object)], [ID]: [id] });
    expect((await logged(waypoint, '/asked')).downstream_peer.metadata.value).toEqual(claims);
    expect((await logged(reviews, '/asked')).downstream_peer.id).toBe(id);

    const silent = await send(port, { path: '/silent' });
    expect(silent.headers.peer()).toEqual({});
    const line = await logged(waypoint, '/silent');
    expect(line.downstream_peer.id).toBeNull();
    expect(line.upstream_peer.id).toBe(shippedIdentity(REVIEWS).id);
    expect((await logged(reviews, '/silent')).downstream_peer.id).toBe(id);
  });
});

/** The same with the keys of all objects in order, as they are sent. */
function inOrder(json: unknown): unknown {
  if (json === null || typeof json !== 'object' || Array.isArray(json)) return json;
  const sorted = Object.entries(json).sort(([a], [b]) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
  return Object.fromEntries(sorted.map(([key, value]) => [key, inOrder(value)]));
}
