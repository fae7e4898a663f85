// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Collector } from '../../../envoy/consumers/servers/collector.ts';
import type { Bootstrap } from '../../../testkit/envoy/process.ts';
import { Example, managerOf, OLDEST_AND_NEWEST, row, takes } from '../../support/consumers.ts';

/** envoy/consumers/tracing: one trace of two spans, each of which says who was on the other side. */

/** Takes out the tags that Envoy 1.36 does not know. */
function withoutValue(config: Bootstrap): void {
  for (const { name } of config.static_resources.listeners) {
    const { tracing } = managerOf(config, name);
    tracing.custom_tags = tracing.custom_tags.filter((tag: object) => !('value' in tag));
  }
}

describe.each(OLDEST_AND_NEWEST)('tracing, Envoy %s', (_, version) => {
  let collector: Collector;
  let example: Example;

  beforeAll(async () => {
    collector = await Collector.start();
    const change = takes('trace-value', version) ? undefined : withoutValue;
    example = await Example.start('tracing', { version, endpoints: { collector: collector.port }, change });
  });
  afterAll(async () => {
    await example?.[Symbol.asyncDispose]();
    await collector?.[Symbol.asyncDispose]();
  });

  /** Sends a request; its spans, the first one first. */
  async function spansOf(listener: string, path: string, count: number) {
    await example.send(listener, { path });
    const spans = await example.found(`the collector has ${count} spans of ${path}`, () => {
      const found = collector.reports.filter(({ span }) => span?.attributes['http.url'].endsWith(path));
      return found.length === count ? found.map(({ span }) => span) : undefined;
    });
    return spans.sort((a, b) => (a.parent ?? '').length - (b.parent ?? '').length);
  }

  test(row('trace-metadata'), async () => {
    const [client, server] = await spansOf('productpage', '/known', 2);
    expect([server.trace, server.parent], 'one trace').toEqual([client.trace, client.id]);
    expect(client.attributes).toMatchObject({ 'service.peer.name': 'reviews', 'service.peer.namespace': 'default' });
    expect(server.attributes).toMatchObject({
      'service.peer.name': 'productpage',
      'service.peer.namespace': 'default',
    });

    const [stranger] = await spansOf('reviews', '/stranger', 1);
    expect(stranger.attributes['service.peer.name']).toBe('unknown');
    expect(Object.keys(stranger.attributes)).not.toContain('service.peer.namespace');
  });

  test(row('trace-value'), async () => {
    if (!takes('trace-value', version)) {
      const { port: collectorPort } = collector;
      const start = Example.start('tracing', { version, endpoints: { collector: collectorPort } });
      await expect(start).rejects.toThrow(/CustomTag.*no\s+such\s+field:\s+'value'/s);
      return;
    }
    const [client, server] = await spansOf('productpage', '/formatted', 2);
    expect(client.attributes['peer.service'], 'the old name').toBe('reviews');
    expect(server.attributes['peer.service'], 'the old name').toBe('productpage');
    const [stranger] = await spansOf('reviews', '/unformatted', 1);
    expect(Object.keys(stranger.attributes)).not.toContain('peer.service');
  });
});
