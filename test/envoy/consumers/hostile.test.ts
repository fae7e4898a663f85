// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Authorization } from '../../../envoy/consumers/servers/authorization.ts';
import { Collector } from '../../../envoy/consumers/servers/collector.ts';
import { Processor } from '../../../envoy/consumers/servers/processor.ts';
import { App, METADATA } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { Example, OLDEST_AND_NEWEST, takes } from '../../support/consumers.ts';

/**
 * What a peer says need not be what anybody expects: other types, nothing at all, quotes. Line breaks and NUL nobody ever
 * sees: who sends them is nobody.
 */

const BREAK = '\r\nx-admin: true';
const PEERS: Record<string, object> = {
  nul: { NAMESPACE: 'default\0', 'NAMESPACE\0': 'default', WORKLOAD_NAME: 'a\0b' },
  'line-breaks': { WORKLOAD_NAME: `a${BREAK}`, NAMESPACE: `default${BREAK}`, LABELS: { app: `productpage"${BREAK}` } },
  'other-types': { WORKLOAD_NAME: 7, NAMESPACE: ['default'], LABELS: 'productpage' },
  'no-strings': { WORKLOAD_NAME: null, NAMESPACE: { default: 'default' }, LABELS: { app: { productpage: true } } },
  'no-object': { LABELS: 5 },
  quotes: { WORKLOAD_NAME: '"a"', NAMESPACE: '{', LABELS: { app: 'productpage"' } },
  empty: { WORKLOAD_NAME: '', NAMESPACE: '', LABELS: { app: '' } },
};

/** Sends a request of each such peer to reviews; the statuses. */
async function statuses(example: Example, prefix = '/'): Promise<Record<string, number>> {
  const found: Record<string, number> = {};
  for (const [name, says] of Object.entries(PEERS)) {
    const headers = [METADATA, struct.header(says), 'x-lua', 'forged', 'x-caller-app', 'forged'];
    found[name] = (await example.send('reviews', { path: prefix + name, headers })).status;
  }
  return found;
}

const each = (status: number) => Object.fromEntries(Object.keys(PEERS).map((name) => [name, status]));

describe.each(OLDEST_AND_NEWEST)('hostile peers, Envoy %s', (_, version) => {
  const start = (name: string, endpoints = {}, file?: string) => Example.start(name, { version, endpoints, file });

  test('RBAC and ext_authz refuse them', async () => {
    await using authorization = await Authorization.start();
    await using rbac = await start('rbac');
    await using authz = await start('ext-authz', authorization.ports);
    for (const what of ['namespace', 'app', 'id', 'expression']) {
      expect(await statuses(rbac, `/${what}/`), what).toEqual(each(403));
    }
    expect(await statuses(authz)).toEqual(each(403));
    expect(authorization.asked.map(({ grpc }) => grpc?.NAMESPACE)).toEqual([
      undefined,
      undefined,
      ['default'],
      { default: 'default' },
      undefined,
      '{',
      '',
    ]);
  });

  test('Lua, the CEL matcher and another Wasm filter take them for nobody', async () => {
    await using example = await start('lua-cel-wasm');
    expect(await statuses(example)).toEqual(each(403));
    for (const name of Object.keys(PEERS)) {
      const { lua, caller_app } = await example.logged('reviews', `/${name}`);
      const app = name === 'quotes' ? 'productpage"' : null;
      expect(caller_app || null, name).toBe(app);
      if (!app) expect(lua, name).toBe('unknown unknown');
    }
    expect(example.envoy.log()).not.toContain('script log');
  });

  test('no header is smuggled to the application', async () => {
    await using app = await App.start();
    await using example = await start('headers-and-routes', { app: app.port });
    expect(await statuses(example)).toEqual(each(200));
    expect(app.seen.map(({ path }) => path)).toEqual(Object.keys(PEERS).map((name) => `/${name}`));
    for (const { headers } of app.seen) expect(headers.all('x-admin')).toEqual([]);
  });

  test('ext_proc, JSON logs and metrics keep what they say as values', async () => {
    await using processor = await Processor.start();
    await using collector = await Collector.start();
    await using proc = await start('ext-proc', { processor: processor.port });
    expect((await statuses(proc))['other-types']).toBe(200);
    const told = processor.told.map(({ request }) => request.metadata['envoy.wasm.metadata_exchange.downstream']);
    expect(told.slice(0, 3)).toEqual([undefined, undefined, PEERS['other-types']]);

    await using logs = await start('access-log', { collector: collector.port });
    expect(await statuses(logs)).toEqual(each(200));
    for (const [name, says] of Object.entries(PEERS)) {
      const isRefused = name === 'nul' || name === 'line-breaks';
      expect((await logs.logged('reviews', `/${name}`)).peer?.value, name).toEqual(isRefused ? undefined : says);
    }
    for (const file of ['envoy.yaml', ...(takes('metrics', version) ? ['stats_logger.yaml'] : [])]) {
      await using metrics = await start('metrics', {}, file);
      expect(await statuses(metrics)).toEqual(each(200));
      const page = await metrics.envoy.admin('/stats/prometheus');
      expect(page).toContain('source_app="productpage\\"');
      expect(page).not.toMatch(/^x-admin/m);
    }
  });

  test('line breaks do not get into text logs and headers of responses', async () => {
    await using logs = await start('access-log', { collector: 1 });
    await statuses(logs);
    await logs.logged('reviews', '/empty');
    expect(logs.envoy.log()).toMatch(/^reviews: \/line-breaks 200 called by - of -$/m);
    expect(logs.envoy.log()).not.toContain('x-admin');

    await using headers = await start('headers-and-routes', { app: 1 });
    const request = { headers: [METADATA, struct.header(PEERS['line-breaks'])] };
    const answer = await headers.send('reviews', request);
    expect(answer.headers.all('x-admin')).toEqual([]);
    expect(answer.headers.all('x-you-are').filter((value) => value !== '-')).toEqual([]);
  });
});
