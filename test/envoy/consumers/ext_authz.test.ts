// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Authorization } from '../../../envoy/consumers/servers/authorization.ts';
import { changeFilters, Example, identities, OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/consumers/ext-authz: two authorisation servers that let the namespace `default` pass. */

const SAYS = identities('ext-authz');

describe.each(OLDEST_AND_NEWEST)('ext_authz, Envoy %s', (_, version) => {
  let server: Authorization;
  let example: Example;

  beforeAll(async () => {
    server = await Authorization.start();
    example = await Example.start('ext-authz', { version, endpoints: server.ports });
  });
  afterAll(async () => {
    await example?.[Symbol.asyncDispose]();
    await server?.[Symbol.asyncDispose]();
  });

  /** Sends a request; its status, its body, and what the servers were asked. */
  async function call(listener: string, headers: string[] = []) {
    const before = server.asked.length;
    const { status, body } = await example.send(listener, { headers });
    return { status, body, asked: server.asked.slice(before) };
  }

  test(row('authz-grpc'), async () => {
    const productpage = await call('productpage');
    expect(productpage.status).toBe(200);
    expect(productpage.asked[0]).toEqual({ grpc: SAYS.productpage });

    const loadtest = await call('loadtest');
    expect([loadtest.status, loadtest.body]).toEqual([403, 'loadtest-v1 is not of this namespace\n']);
    expect(loadtest.asked).toEqual([{ grpc: SAYS.loadtest }]);

    const stranger = await call('reviews');
    expect([stranger.status, stranger.body]).toEqual([403, 'nobody is not of this namespace\n']);
    expect(stranger.asked).toEqual([{ grpc: null }]);
  });

  test(row('authz-http'), async () => {
    const { asked } = await call('productpage', ['x-caller-namespace', 'forged']);
    expect(asked[1]).toEqual({ http: 'default' });

    // Without the server over gRPC, which would refuse these before.
    await using alone = await Example.start('ext-authz', {
      version,
      endpoints: server.ports,
      change: (config) => changeFilters(config, (filters) => filters.filter(({ name }) => name !== 'grpc')),
    });
    const before = server.asked.length;
    const forged = ['x-caller-namespace', 'default'];
    expect((await alone.send('productpage', { headers: forged })).status).toBe(200);
    expect((await alone.send('loadtest', { headers: forged })).status).toBe(403);
    expect((await alone.send('reviews', { headers: forged })).status).toBe(403);
    expect(server.asked.slice(before)).toEqual([{ http: 'default' }, { http: 'testing' }, { http: null }]);
  });
});
