// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Processor } from '../../../envoy/consumers/servers/processor.ts';
import type { Bootstrap } from '../../../testkit/envoy/process.ts';
import { changeFilters, Example, isBridge, NODE_ID, OLDEST_AND_NEWEST } from '../../support/consumers.ts';

/** docs/consume.md: what a filter knows depends on where it stands, and on whether it needs the bridge. */

function withoutBridge(config: Bootstrap): void {
  changeFilters(config, (filters) => filters.filter((each) => !isBridge(each)));
}

/** What stands after the exchange and its bridge goes before them, and the other way round. */
function onTheWrongSide(config: Bootstrap): void {
  // biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
  const isOurs = (filter: any) => filter.name === 'metadata_exchange' || isBridge(filter);
  changeFilters(config, (filters) => {
    const [ours, others] = [filters.filter(isOurs), filters.filter((each) => !isOurs(each))];
    return filters.length > 0 && isOurs(filters[0]) ? [...others, ...ours] : [...ours, ...others];
  });
}

/** Values of the headers that an application wrote into its answer. */
const seen = (body: string, header: string) =>
  body.split('\n').flatMap((line) => (line.startsWith(`${header}: `) ? [line.slice(header.length + 2)] : []));

describe.each(OLDEST_AND_NEWEST)(
  'without the bridge filter state is there and dynamic metadata is not, Envoy %s',
  (_, version) => {
    const start = (name: string, endpoints = {}) => Example.start(name, { version, endpoints, change: withoutBridge });

    test('access logs', async () => {
      await using example = await start('access-log', { collector: 1 });
      await example.send('productpage', { path: '/1' });
      const client = await example.logged('productpage', '/1');
      expect([client.peer.value.WORKLOAD_NAME, client.peer_labels]).toEqual(['reviews-v1', null]);
      const server = await example.logged('reviews', '/1');
      expect([server.peer.value.WORKLOAD_NAME, server.peer_labels]).toEqual(['productpage-v1', null]);
      expect(example.envoy.log()).toContain('reviews: /1 200 called by - of default\n');
    });

    test('RBAC', async () => {
      await using example = await start('rbac');
      const statuses = ['namespace', 'app', 'id', 'expression'].map(async (what) => {
        return (await example.send('productpage', { path: `/${what}/` })).status;
      });
      expect(await Promise.all(statuses)).toEqual([403, 403, 200, 200]);
    });

    test('rate limits', async () => {
      await using example = await start('rate-limit');
      const statuses: number[] = [];
      for (let i = 0; i < 2; i++) statuses.push((await example.send('productpage', {})).status);
      expect(statuses, 'it falls under the bucket of the unknown').toEqual([200, 429]);
      expect((await example.send('loadtest', {})).status).toBe(429);
    });

    test('ext_proc', async () => {
      await using processor = await Processor.start();
      await using example = await start('ext-proc', { processor: processor.port });
      const { headers } = await example.send('productpage', { path: '/1' });
      expect(headers.all('x-answered-by')).toEqual(['reviews']);
      expect((await example.logged('reviews', '/1')).header_of_the_processor).toBe('productpage');
      const metadata = processor.told.map(({ request, response }) => (request ?? response).metadata);
      expect(metadata).toEqual([{}, {}]);
    });

    test('headers and routes', async () => {
      await using example = await start('headers-and-routes');
      const { headers, body } = await example.send('productpage', { path: '/by-filter-state/' });
      expect([headers.all('x-answered-by'), headers.all('x-answered-by-version')]).toEqual([[], ['v1']]);
      expect([seen(body, 'x-called-by'), seen(body, 'x-called-by-app')]).toEqual([[], ['productpage']]);
      expect((await example.logged('reviews', '/by-filter-state/')).route).toBe('by_filter_state');
      await example.send('productpage', { path: '/by-metadata/' });
      expect((await example.logged('reviews', '/by-metadata/')).route).toBe('for_all');
    });

    test('Lua, CEL and Wasm', async () => {
      await using example = await start('lua-cel-wasm');
      const { status, headers } = await example.send('productpage', { path: '/1' });
      expect(status, 'the CEL matcher').toBe(200);
      expect([headers.all('x-lua'), headers.all('x-server-app')]).toEqual([[`unknown ${NODE_ID}`], ['reviews']]);
      const { lua, caller_app } = await example.logged('reviews', '/1');
      expect([lua, caller_app]).toEqual([`unknown ${NODE_ID}`, 'productpage']);
    });
  },
);

describe.each(OLDEST_AND_NEWEST)('on the wrong side of the exchange nobody is known, Envoy %s', (_, version) => {
  const start = (name: string, endpoints = {}) => Example.start(name, { version, endpoints, change: onTheWrongSide });

  test('RBAC refuses all who should come in, and the log does not say whom', async () => {
    await using example = await start('rbac');
    for (const path of ['/namespace/', '/app/', '/id/', '/expression/']) {
      expect((await example.send('productpage', { path })).status, path).toBe(403);
      expect((await example.logged('reviews', path)).caller, path).toBeNull();
    }
  });

  test('ext_proc is told nothing', async () => {
    await using processor = await Processor.start();
    await using example = await start('ext-proc', { processor: processor.port });
    const { headers } = await example.send('productpage', {});
    expect(headers.all('x-answered-by')).toEqual(['unknown']);
    const nothing = { attributes: {}, metadata: {} };
    expect(processor.told).toEqual([{ request: nothing }, { response: nothing }]);
  });

  test('header mutations find nothing, and the router still does', async () => {
    await using example = await start('headers-and-routes');
    const { headers, body } = await example.send('productpage', {});
    expect([headers.all('x-answered-by'), headers.all('x-answered-by-version')]).toEqual([[], []]);
    expect([seen(body, 'x-called-by'), seen(body, 'x-called-by-app')]).toEqual([[], ['productpage']]);
    expect(headers.all('x-you-are')).toEqual(['productpage-v1']);
  });

  test('Lua and another Wasm filter find nothing', async () => {
    await using example = await start('lua-cel-wasm');
    await example.send('productpage', { path: '/1' });
    const { lua, caller_app, caller_id } = await example.logged('reviews', '/1');
    expect([lua, caller_app, caller_id]).toEqual(['unknown unknown', null, null]);
  });
});
