// SPDX-License-Identifier: Apache-2.0
import * as grpc from '@grpc/grpc-js';
import { describe, expect, onTestFinished, test } from 'vitest';
import { EVERY, expectCounts, startCounting, workload } from '../../support/traffic.ts';

/** gRPC: the protocol is `grpc`, and a call's status is a label beside the code of HTTP, which is 200 as a rule. */

const same = (bytes: Buffer) => bytes;
const raw = {
  requestSerialize: same,
  requestDeserialize: same,
  responseSerialize: same,
  responseDeserialize: same,
};
const method = (path: string) => ({ path, requestStream: false, responseStream: false, ...raw });

/** A service whose calls succeed, or fail with a status of their own. */
async function startService(): Promise<number> {
  const server = new grpc.Server();
  const fail = (code: grpc.status) => (_: unknown, done: grpc.sendUnaryData<Buffer>) => done({ code, details: 'no' });
  server.addService(
    { Rate: method('/Ratings/Rate'), Deny: method('/Ratings/Deny'), Slow: method('/Ratings/Slow') },
    {
      Rate: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => done(null, call.request),
      Deny: fail(grpc.status.PERMISSION_DENIED),
      Slow: () => undefined,
    },
  );
  onTestFinished(() => server.forceShutdown());
  return await new Promise((resolve, reject) => {
    server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
      error ? reject(error) : resolve(port),
    );
  });
}

/** Calls a method; the code that the client gets. */
function call(client: grpc.Client, path: string): Promise<grpc.status> {
  return new Promise((resolve) => {
    client.makeUnaryRequest(path, same, same, Buffer.from('5'), (error) => resolve(error?.code ?? grpc.status.OK));
  });
}

test.each(EVERY)('calls are counted by their status, Envoy %s', async (_, version) => {
  const { envoy, port } = await startCounting({
    version,
    workers: 2,
    direction: 'OUTBOUND',
    own: workload('reviews'),
    routes: [
      { match: { prefix: '/Ratings/Slow' }, route: { cluster: 'app', timeout: '0.2s' } },
      { match: { prefix: '/Ratings' }, route: { cluster: 'app' } },
    ],
    clusters: { app: { port: await startService(), http2: true } },
  });
  await using _envoy = envoy;
  const client = new grpc.Client(`127.0.0.1:${port}`, grpc.credentials.createInsecure());
  try {
    for (let i = 0; i < 3; i++) expect(await call(client, '/Ratings/Rate')).toBe(grpc.status.OK);
    expect(await call(client, '/Ratings/Deny')).toBe(grpc.status.PERMISSION_DENIED);
    expect(await call(client, '/Ratings/Slow')).toBe(grpc.status.UNAVAILABLE);
    expect(await call(client, '/Nobody/Knows')).toBe(grpc.status.UNIMPLEMENTED);
  } finally {
    client.close();
  }
  await expectCounts(envoy, 'request_protocol response_code grpc_response_status response_flags', {
    'grpc 200 0 -': 3,
    'grpc 200 7 -': 1,
    'grpc 200 14 UT': 1,
    'grpc 200 12 NR': 1,
  });
});

describe('what is no gRPC', () => {
  test('has the protocol http, and no status', async () => {
    const { envoy, port } = await startCounting();
    await using _ = envoy;
    await fetch(`http://127.0.0.1:${port}/`, { headers: { 'content-type': 'application/json' } });
    await expectCounts(envoy, 'request_protocol grpc_response_status', { 'http ': 1 });
  });
});
