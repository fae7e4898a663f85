// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { lua } from '../../../testkit/envoy/config.ts';
import type { Bootstrap } from '../../../testkit/envoy/process.ts';
import { changeFilters, Example, OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/consumers/headers-and-routes: the peer in headers, and as what a route is chosen by. */

/**
 * Takes out the filter that clears the route cache, and puts one in front that asks for the route, as any Lua filter does:
 * so there is a route before the exchange.
 */
function routeCacheAsItIs(config: Bootstrap): void {
  const early = lua('asks_early', { inline_string: 'function envoy_on_request() end' });
  changeFilters(config, (filters) => [early, ...filters.filter(({ name }) => name !== 'choose_route_again')]);
}

describe.each(OLDEST_AND_NEWEST)('headers and routes, Envoy %s', (_, version) => {
  let example: Example;
  let withoutClearing: Example;

  beforeAll(async () => {
    [example, withoutClearing] = await Promise.all([
      Example.start('headers-and-routes', { version }),
      Example.start('headers-and-routes', { version, change: routeCacheAsItIs }),
    ]);
  });
  afterAll(async () => {
    await example?.[Symbol.asyncDispose]();
    await withoutClearing?.[Symbol.asyncDispose]();
  });

  /** The values of a request header as the application saw it. */
  async function seen(listener: string, header: string, headers: string[] = []): Promise<string[]> {
    const { body } = await example.send(listener, { headers });
    return body
      .split('\n')
      .filter((line) => line.startsWith(`${header}: `))
      .map((line) => line.split(': ')[1]);
  }

  test(row('request-header-route'), async () => {
    const forged = ['x-called-by-app', 'forged'];
    expect(await seen('productpage', 'x-called-by-app', forged)).toEqual(['productpage']);
    expect(await seen('loadtest', 'x-called-by-app', forged)).toEqual(['loadtest']);
    expect(await seen('reviews', 'x-called-by-app', forged)).toEqual([]);
  });

  test(row('request-header-filter'), async () => {
    const forged = ['x-called-by', 'forged'];
    expect(await seen('productpage', 'x-called-by', forged)).toEqual(['productpage-v1']);
    expect(await seen('loadtest', 'x-called-by', forged)).toEqual(['loadtest-v1']);
    expect(await seen('reviews', 'x-called-by', forged)).toEqual([]);
  });

  test(row('response-header-route'), async () => {
    const headers = async (listener: string) => (await example.send(listener, {})).headers;
    expect((await headers('productpage')).all('x-you-are')).toEqual(['productpage-v1']);
    expect((await headers('loadtest')).all('x-you-are')).toEqual(['loadtest-v1']);
    expect((await headers('reviews')).all('x-you-are')).toEqual([]);
    expect((await headers('productpage')).all('x-answered-by-route'), 'of the server: too early').toEqual(['']);
  });

  test(row('response-header-filter'), async () => {
    const { headers } = await example.send('productpage', {});
    expect(headers.all('x-answered-by')).toEqual(['reviews-v1']);
    expect(headers.all('x-answered-by-version')).toEqual(['v1']);
  });

  /** The name of the route that a request took. */
  async function routeOf(mesh: Example, listener: string, path: string): Promise<string> {
    await mesh.send(listener, { path: path + listener });
    return (await mesh.logged('reviews', path + listener)).route;
  }

  test(row('route-filter-state'), async () => {
    for (const mesh of [example, withoutClearing]) {
      expect(await routeOf(mesh, 'productpage', '/by-filter-state/')).toBe('by_filter_state');
      expect(await routeOf(mesh, 'reviews', '/by-filter-state/')).toBe('for_all');
    }
  });

  test(row('route-metadata'), async () => {
    expect(await routeOf(example, 'productpage', '/by-metadata/')).toBe('by_metadata');
    expect(await routeOf(example, 'loadtest', '/by-metadata/')).toBe('for_all');
    expect(await routeOf(example, 'reviews', '/by-metadata/')).toBe('for_all');
    expect(await routeOf(withoutClearing, 'productpage', '/by-metadata/'), 'chosen too early').toBe('for_all');
  });
});
