// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { spiffe } from '../../../testkit/envoy/certificates.ts';
import { type Bootstrap, Envoy } from '../../../testkit/envoy/process.ts';
import { shipped, shippedIdentity } from '../../../testkit/envoy/shipped.ts';
import { redis, startRedis } from '../../support/databases.ts';

/** envoy/tcp-pair as it is shipped, with a real Redis behind it. */

const CLIENT = 'envoy/tcp-pair/client.yaml';
const SERVER = 'envoy/tcp-pair/server.yaml';
const CERTIFICATE = spiffe('default', 'bookinfo-productpage');

/** The lines of an access log. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON objects
async function logged(envoy: Envoy, count = 1): Promise<any[]> {
  const lines = () => envoy.log().match(/^\{.*\}$/gm) ?? [];
  await envoy.until(`${count} connections are logged`, () => lines().length >= count);
  return lines().map((line) => JSON.parse(line));
}

describe('envoy/tcp-pair', () => {
  let database: Awaited<ReturnType<typeof startRedis>>;
  let server: Envoy;
  beforeAll(async () => {
    database = await startRedis();
  });
  afterAll(() => database?.[Symbol.asyncDispose]());

  /** Both sidecars, the client's changed as told. */
  async function start(
    change: (client: Bootstrap) => void = () => undefined,
  ): Promise<AsyncDisposable & { client: Envoy }> {
    server = await Envoy.start(shipped(SERVER, { redis: database.port }), { name: 'server' });
    const config = shipped(CLIENT, { redis: await server.port('inbound'), 'redis-plain': database.port });
    // What the control plane says of the endpoint is gone with the endpoint.
    const [before] = shipped(CLIENT).static_resources.clusters;
    const [{ lb_endpoints }] = before.load_assignment.endpoints;
    config.static_resources.clusters[0].load_assignment.endpoints[0].lb_endpoints[0].metadata =
      lb_endpoints[0].metadata;
    change(config);
    const client = await Envoy.start(config, { name: 'client' });
    return {
      client,
      [Symbol.asyncDispose]: async () => {
        await client.stop();
        await server.stop();
      },
    };
  }

  test('each side knows the other, and Redis is asked by who may', async () => {
    await using pair = await start();
    const port = await pair.client.port('outbound');
    expect(await redis(port, 'set', 'visits', '1')).toBe('OK');
    expect(await logged(server)).toEqual([
      {
        chain: 'exchange',
        caller: 'productpage-v1',
        caller_app: 'productpage',
        claims: 'verified',
        certificate: CERTIFICATE,
        received: expect.any(Number),
        sent: expect.any(Number),
      },
    ]);
    const [line] = await logged(pair.client);
    expect(line).toMatchObject({
      cluster: 'redis',
      server: 'redis-v1',
      server_id: shippedIdentity(SERVER).id,
      sent: 5,
    });
  });

  test('who is somebody else, or claims what its certificate disproves, is turned away', async () => {
    for (const change of [{ WORKLOAD_NAME: 'details-v1' }, { NAMESPACE: 'kube-system' }]) {
      await using pair = await start((config) => Object.assign(config.node.metadata['istio.io/metadata'], change));
      await expect(redis(await pair.client.port('outbound'), 'get', 'visits')).rejects.toThrow();
      expect(await server.stat('redis.rbac.denied')).toBe(1);
      const [line] = await logged(server);
      expect([line.caller, line.claims]).toEqual(
        change.WORKLOAD_NAME ? ['details-v1', 'verified'] : [null, 'mismatch'],
      );
    }
  });

  test('a client’s sidecar that does not negotiate the exchange is known by its certificate alone', async () => {
    await using pair = await start((config) => {
      const [cluster] = config.static_resources.clusters;
      cluster.transport_socket.typed_config.common_tls_context.alpn_protocols = undefined;
      cluster.load_assignment.endpoints[0].lb_endpoints[0].metadata = undefined;
    });
    expect(await redis(await pair.client.port('outbound'), 'ping')).toBe('PONG');
    const [line] = await logged(server);
    expect(line).toMatchObject({ chain: 'others', caller: null, claims: null, certificate: CERTIFICATE });
  });

  test('a server without a sidecar gets no preface', async () => {
    await using pair = await start();
    expect(await redis(await pair.client.port('outbound-plain'), 'ping')).toBe('PONG');
    expect(await logged(pair.client)).toMatchObject([{ cluster: 'redis-plain', server: null, server_id: null }]);
  });
});
