// SPDX-License-Identifier: Apache-2.0
import { createHash } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connections } from '../../../testkit/connection_log.ts';
import { command, psql, redis, startPostgres, startRedis } from '../../support/databases.ts';
import { Certificates, CLIENT, CLIENT_ID, SERVER, SERVER_ID, TcpPair, untilMetric } from '../../support/tcp.ts';

/** Real databases behind a pair of sidecars that speak mTLS, asked by their own clients. */

let certificates: Certificates;
beforeAll(() => {
  certificates = new Certificates();
});
afterAll(() => certificates?.[Symbol.dispose]());

/** Expects that all connections of both sidecars were each other's. */
async function expectAttributed(pair: TcpPair, atLeast: number): Promise<void> {
  for (const [envoy, side, peer] of [
    [pair.server, 'downstream', { struct: CLIENT, id: CLIENT_ID, verified: 'verified' }],
    [pair.client, 'upstream', { struct: SERVER, id: SERVER_ID, verified: 'verified' }],
  ] as const) {
    await untilMetric(envoy, 'connections', 0);
    await envoy.until('the connections are logged', () => connections(envoy).length >= atLeast);
    for (const each of connections(envoy)) expect(each[side]).toEqual(peer);
  }
}

/** Sidecars in front of a database. */
function pairBefore(to: number): Promise<TcpPair> {
  const config = { verify_peer: { mode: 'mark' } };
  const client = { config: { ...config, preface: 'endpoint_metadata' } };
  return TcpPair.start({ certificates, client, server: { config }, to });
}

describe('PostgreSQL', () => {
  test('is asked by psql as ever, and each side knows the other', { timeout: 120_000 }, async () => {
    await using database = await startPostgres(certificates.server);
    await using pair = await pairBefore(database.port);
    // As psql does by itself: it asks first whether the server speaks TLS, and then does.
    const asked = 'select version() is not null, ssl from pg_stat_ssl where pid = pg_backend_pid()';
    expect(await psql(pair.port, asked)).toBe('t|t\n');
    expect(await psql(pair.port, asked, { sslmode: 'disable' })).toBe('t|f\n');
    await psql(pair.port, 'create table lines as select n, md5(n::text) as word from generate_series(1, 200000) n');
    const sum = 'select md5(string_agg(word, chr(10) order by n) || chr(10)) from lines';
    const lines = await psql(pair.port, 'copy (select word from lines order by n) to stdout');
    expect(createHash('md5').update(lines).digest('hex')).toBe((await psql(pair.port, sum)).trim());
    await expect(psql(pair.port, 'select 1 / 0')).rejects.toThrow('division by zero');
    // A notice that nobody asked for.
    expect(await psql(pair.port, "listen news; notify news, 'hello'; select 1")).toContain('hello');
    await expectAttributed(pair, 7);
  });
});

describe('Redis', () => {
  test('is asked by redis-cli and redis-benchmark as ever, and each side knows the other', {
    timeout: 120_000,
  }, async () => {
    await using database = await startRedis();
    await using pair = await pairBefore(database.port);
    expect(await redis(pair.port, 'ping')).toBe('PONG');
    expect(await redis(pair.port, 'set', 'key', 'value')).toBe('OK');
    expect(await redis(pair.port, 'get', 'key')).toBe('value');
    await redis(pair.port, 'eval', "redis.call('set', 'large', string.rep('x', 5000000))", '0');
    expect((await redis(pair.port, 'get', 'large')).length).toBe(5_000_000);
    const load = [
      '-h',
      '127.0.0.1',
      '-p',
      String(pair.port),
      '-n',
      '20000',
      '-c',
      '50',
      '-P',
      '4',
      '-t',
      'set,get,lpush',
    ];
    const report = await command('redis-benchmark', [...load, '--csv']);
    expect(report.match(/^"(SET|GET|LPUSH)"/gm)).toHaveLength(3);
    expect(await redis(database.port, 'llen', 'mylist')).toBe('20000');
    await expectAttributed(pair, 5 + 50);
  });

  test('behind Envoy’s own proxy for Redis, too, which is no tcp_proxy', async () => {
    await using database = await startRedis();
    const type = 'type.googleapis.com/envoy.extensions.filters.network.redis_proxy.v3.RedisProxy';
    const typed_config = {
      '@type': type,
      stat_prefix: 'redis',
      settings: { op_timeout: '5s' },
      prefix_routes: { catch_all_route: { cluster: 'app' } },
    };
    const chains = (filters: object[]) => [{ filters: [filters[0], { name: 'redis', typed_config }] }];
    await using pair = await TcpPair.start({ server: { chains }, to: database.port });
    expect(await redis(pair.port, 'set', 'key', 'value')).toBe('OK');
    expect(await redis(pair.port, 'get', 'key')).toBe('value');
    await untilMetric(pair.server, 'preface_found', 2);
    await untilMetric(pair.client, 'preface_found', 2);
    expect((await pair.clientLogged(1)).upstream).toMatchObject({ struct: SERVER, id: SERVER_ID });
  });
});
