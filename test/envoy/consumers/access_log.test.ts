// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Collector } from '../../../envoy/consumers/servers/collector.ts';
import { struct } from '../../../testkit/struct.ts';
import { Example, identities, NODE_ID, OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/consumers/access-log: who called and who answered, in four kinds of access log. */

const SAYS = identities('access-log');
const CLIENT = 'envoy.wasm.metadata_exchange.downstream';
const SERVER = 'envoy.wasm.metadata_exchange.upstream';
const STRUCT = 'type.googleapis.com/google.protobuf.Struct';

describe.each(OLDEST_AND_NEWEST)('access logs, Envoy %s', (_, version) => {
  let collector: Collector;
  let example: Example;

  beforeAll(async () => {
    collector = await Collector.start();
    example = await Example.start('access-log', { version, endpoints: { collector: collector.port } });
    expect((await example.send('productpage', { path: '/known' })).status).toBe(200);
    // Somebody who says nothing, after somebody who does.
    expect((await example.send('reviews', { path: '/stranger' })).status).toBe(200);
  });
  afterAll(async () => {
    await example?.[Symbol.asyncDispose]();
    await collector?.[Symbol.asyncDispose]();
  });

  test(row('log-text'), async () => {
    for (const line of [
      'reviews: /known 200 called by productpage-v1 of default',
      'productpage: /known 200 answered by reviews-v1 of default',
      'reviews: /stranger 200 called by - of -',
    ]) {
      await example.envoy.until(`“${line}” is logged`, () => example.envoy.log().split('\n').includes(line));
    }
  });

  test(row('log-json'), async () => {
    const line = (proxy: string, path: string) => example.logged(proxy, path);
    expect(await line('reviews', '/known')).toMatchObject({
      peer: { '@type': STRUCT, value: SAYS.productpage },
      peer_id: NODE_ID,
      peer_labels: SAYS.productpage.LABELS,
    });
    expect(await line('productpage', '/known')).toMatchObject({
      peer: { '@type': STRUCT, value: SAYS.reviews },
      peer_id: NODE_ID,
      peer_labels: SAYS.reviews.LABELS,
    });
    expect(await line('reviews', '/stranger')).toMatchObject({ peer: null, peer_id: null, peer_labels: null });
  });

  test(row('log-opentelemetry'), async () => {
    const attributes = (body: string) =>
      example.found(`the collector has “${body}”`, () => {
        return collector.reports.find(({ log }) => log?.body === body)?.log.attributes;
      });
    const peer = (name: string, namespace: string) => ({
      'service.peer.name': name,
      'service.peer.namespace': namespace,
      'peer.service': name,
    });
    expect(await attributes('reviews /known')).toEqual(peer('productpage', 'default'));
    expect(await attributes('productpage /known')).toEqual(peer('reviews', 'default'));
    expect(await attributes('reviews /stranger')).toEqual(peer('-', '-'));
  });

  test(row('log-grpc'), async () => {
    await example.envoy.until('the collector has all entries', () => {
      return collector.reports.filter(({ entry }) => entry).length === 3;
    });
    const entries = collector.reports.filter(({ entry }) => entry).map(({ entry }) => entry);
    const ofPeer = (namespace: string) =>
      entries.filter((each) => each.commonProperties.metadata?.filterMetadata[namespace]);
    for (const [namespace, says] of [
      [CLIENT, SAYS.productpage],
      [SERVER, SAYS.reviews],
    ]) {
      const [entry, ...others] = ofPeer(namespace);
      expect(others).toEqual([]);
      expect(entry.request.path).toBe('/known');
      expect(entry.commonProperties.metadata.filterMetadata).toEqual({ [namespace]: says });
      const { type_url, value } = entry.commonProperties.filterStateObjects[`wasm.${namespace}`];
      expect([type_url, struct.read(value)]).toEqual([STRUCT, says]);
    }
    const [stranger] = entries.filter((each) => each.request.path === '/stranger');
    expect(stranger.commonProperties).toEqual({});
  });
});
