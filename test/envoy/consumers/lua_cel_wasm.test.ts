// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bootstrap, validate } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import type { Answer } from '../../../testkit/http.ts';
import { Example, managerOf, NODE_ID, OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/consumers/lua-cel-wasm: the peer in Lua, in expressions that decide, and in another Wasm filter. */

/** One more logger with the metadata filter, as it is without a word about peers that have no such field. */
function alsoLogTheUnknown(config: Bootstrap): void {
  const { access_log } = managerOf(config, 'reviews');
  const more = structuredClone(
    access_log.find((each: { name: string }) => each.name === 'of_one_peer_only_by_metadata'),
  );
  delete more.filter.metadata_filter.match_if_key_not_found;
  more.typed_config.log_format.text_format_source.inline_string = 'default or nobody called: %REQ(:PATH)%\n';
  access_log.unshift(more);
}

describe.each(OLDEST_AND_NEWEST)('Lua, CEL and Wasm, Envoy %s', (_, version) => {
  let example: Example;
  let answers: Record<'productpage' | 'loadtest' | 'reviews', Answer>;

  beforeAll(async () => {
    example = await Example.start('lua-cel-wasm', { version, change: alsoLogTheUnknown });
    const headers = ['x-lua', 'forged', 'x-caller-app', 'forged', 'x-caller-id', 'forged'];
    answers = {
      productpage: await example.send('productpage', { path: '/productpage', headers }),
      loadtest: await example.send('loadtest', { path: '/loadtest', headers }),
      reviews: await example.send('reviews', { path: '/stranger', headers }),
    };
    await example.send('reviews', { path: '/last' });
  });
  afterAll(() => example?.[Symbol.asyncDispose]());

  test(row('lua-request'), async () => {
    expect((await example.logged('reviews', '/productpage')).lua).toBe(`productpage ${NODE_ID}`);
    expect((await example.logged('reviews', '/loadtest')).lua).toBe(`loadtest ${NODE_ID}`);
    expect((await example.logged('reviews', '/stranger')).lua).toBe('unknown unknown');
  });

  test(row('lua-response'), () => {
    expect(answers.productpage.headers.all('x-lua')).toEqual([`reviews ${NODE_ID}`]);
  });

  test(row('wasm-request'), async () => {
    const read = async (path: string) => {
      const { caller_app, caller_id } = await example.logged('reviews', path);
      return [caller_app, caller_id];
    };
    expect(await read('/productpage')).toEqual(['productpage', NODE_ID]);
    expect(await read('/loadtest')).toEqual(['loadtest', NODE_ID]);
    expect(await read('/stranger')).toEqual([null, null]);
  });

  test(row('wasm-response'), () => {
    const { headers } = answers.productpage;
    expect([headers.all('x-server-app'), headers.all('x-server-id')]).toEqual([['reviews'], [NODE_ID]]);
  });

  test(row('cel-matcher'), () => {
    expect([answers.productpage.status, answers.loadtest.status, answers.reviews.status]).toEqual([200, 403, 403]);
  });

  test('a route table refuses the CEL matcher', async () => {
    const config = shipped('envoy/consumers/lua-cel-wasm/envoy.yaml');
    const manager = managerOf(config, 'reviews');
    const { matcher } = manager.http_filters.find(({ name }: { name: string }) => name === 'matcher').typed_config;
    manager.route_config.virtual_hosts = [{ name: 'reviews', domains: ['*'], matcher }];
    const { valid, log } = await validate(config, version);
    expect(valid).toBe(false);
    expect(log).toContain('Route table can only match on request headers');
  });

  /** The paths of an access log that begins its lines so. */
  async function logged(prefix: string): Promise<string[]> {
    // A later request is in the other log: what is to come of those before has come.
    await example.logged('reviews', '/last');
    const lines = example.envoy.log().split('\n');
    return lines.filter((line) => line.startsWith(prefix)).map((line) => line.slice(prefix.length));
  }

  test(row('log-filter-expression'), async () => {
    expect(await logged('productpage called: ')).toEqual(['/productpage']);
  });

  test(row('log-filter-metadata'), async () => {
    expect(await logged('default called: ')).toEqual(['/productpage']);
    expect(await logged('default or nobody called: ')).toEqual(['/productpage', '/stranger', '/last']);
  });
});
