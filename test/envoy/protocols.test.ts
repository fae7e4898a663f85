// SPDX-License-Identifier: Apache-2.0
import http2 from 'node:http2';
import * as grpc from '@grpc/grpc-js';
import { describe, expect, test } from 'vitest';
import { expectPeer, learnedOf } from '../../testkit/access_log.ts';
import { metadataExchange, probe, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };

test('HTTP/1.1 with bodies and trailers both ways', async () => {
  await using stand = await ProxyStand.start({
    direction: 'INBOUND',
    manager: { http_protocol_options: { enable_trailers: true } },
    answer: () => ({ body: 'x'.repeat(100_000), trailers: [['x-sum', '2']] }),
  });
  const body = 'y'.repeat(200_000);
  const { answer, seen, learned } = await stand.exchange({ method: 'POST', headers: FROM_PEER, body });
  expect(seen?.body).toBe(body);
  expect(seen?.headers.peer()).toEqual({});
  expectPeer(learned.downstream, PEER, PEER_ID);
  expect(answer.body.length).toBe(100_000);
  expect(answer.headers.peer()).toEqual(OWN_HEADERS);
  expect(answer.trailers).toEqual({ 'x-sum': '2' });

  const chunked = await stand.exchange({ method: 'POST', headers: FROM_PEER, body: 'z', trailers: { 'x-sum': '1' } });
  expect(chunked.seen?.body).toBe('z');
  expect(chunked.seen?.trailers).toEqual({ 'x-sum': '1' });
  expect(chunked.answer.headers.peer()).toEqual(OWN_HEADERS);
});

test('HTTP/2 with many streams of different peers on one connection', async () => {
  await using stand = await ProxyStand.start({ direction: 'INBOUND' });
  const session = http2.connect(`http://127.0.0.1:${stand.port}`);
  const one = (i: number) =>
    new Promise<Record<string, unknown>>((resolve, reject) => {
      const headers = {
        ':path': `/${i}`,
        ...(i % 3 ? { [ID]: `peer-${i}` } : {}),
        ...(i % 2 ? { [METADATA]: PEER_HEADER } : {}),
      };
      const stream = session.request(headers);
      let got: Record<string, unknown> = {};
      stream.on('response', (response) => {
        got = { ...response };
      });
      stream.on('error', reject);
      stream.on('end', () => resolve(got));
      stream.resume();
    });
  const answers = await Promise.all(Array.from({ length: 100 }, (_, i) => one(i)));
  session.close();
  for (const [i, answer] of answers.entries()) {
    expect(answer[ID], `stream ${i}`).toBe(i % 3 ? OWN_ID : undefined);
    expect(answer[METADATA], `stream ${i}`).toBe(i % 2 ? OWN_HEADER : undefined);
    const { downstream } = await learnedOf(stand.envoy, `/${i}`);
    expect(downstream.id, `stream ${i}`).toBe(i % 3 ? `peer-${i}` : undefined);
    expect(downstream.struct, `stream ${i}`).toEqual(i % 2 ? PEER : undefined);
  }
});

describe('gRPC', () => {
  /** A gRPC service of raw bytes: `Echo` answers, `Fail` answers with an error and nothing else (trailers only). */
  async function start() {
    const raw = {
      requestSerialize: same,
      requestDeserialize: same,
      responseSerialize: same,
      responseDeserialize: same,
    };
    const method = (path: string) => ({ path, requestStream: false, responseStream: false, ...raw });
    const seen: grpc.Metadata[] = [];
    const server = new grpc.Server();
    server.addService(
      { Echo: method('/test.Service/Echo'), Fail: method('/test.Service/Fail') },
      {
        Echo: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
          seen.push(call.metadata);
          done(null, call.request);
        },
        Fail: (call: grpc.ServerUnaryCall<Buffer, Buffer>, done: grpc.sendUnaryData<Buffer>) => {
          seen.push(call.metadata);
          done({ code: grpc.status.PERMISSION_DENIED, details: 'no' });
        },
      },
    );
    const bind = (resolve: (port: number) => void, reject: (error: Error) => void) =>
      server.bindAsync('127.0.0.1:0', grpc.ServerCredentials.createInsecure(), (error, port) =>
        error ? reject(error) : resolve(port),
      );
    const port = await new Promise<number>(bind);
    const node = (name: string) => ({ id: `${name}-node`, metadata: { 'istio.io/metadata': { NAME: name } } });
    const inbound = await Envoy.start(
      proxy({
        node: node('server'),
        listeners: [{ name: 'inbound', direction: 'INBOUND', filters: [metadataExchange(), probe()] }],
        clusters: { app: { port, http2: true } },
      }),
    );
    const outbound = await Envoy.start(
      proxy({
        node: node('client'),
        listeners: [{ name: 'outbound', direction: 'OUTBOUND', filters: [probe(), metadataExchange()] }],
        clusters: { app: { port: await inbound.port('inbound'), http2: true } },
      }),
    );
    const client = new grpc.Client(`127.0.0.1:${await outbound.port('outbound')}`, grpc.credentials.createInsecure());
    const stop = async () => {
      client.close();
      await outbound.stop();
      await inbound.stop();
      server.forceShutdown();
    };
    return { client, inbound, outbound, seen, [Symbol.asyncDispose]: stop };
  }

  /** One call: what came back, with all metadata that the client got, in headers or trailers. */
  function call(client: grpc.Client, path: string) {
    return new Promise<{ error: grpc.ServiceError | null; value?: Buffer; metadata: grpc.Metadata[] }>((resolve) => {
      const metadata: grpc.Metadata[] = [];
      const unary = client.makeUnaryRequest(path, same, same, Buffer.from('hello'), (error, value) =>
        setImmediate(() => resolve({ error, value, metadata })),
      );
      unary.on('metadata', (each) => metadata.push(each));
      unary.on('status', (status) => metadata.push(status.metadata));
    });
  }

  test('a call and its answer', async () => {
    await using mesh = await start();
    const { error, value, metadata } = await call(mesh.client, '/test.Service/Echo');
    expect([error, String(value)]).toEqual([null, 'hello']);
    expectPeer((await learnedOf(mesh.inbound, '/test.Service/Echo')).downstream, { NAME: 'client' }, 'client-node');
    expectPeer((await learnedOf(mesh.outbound, '/test.Service/Echo')).upstream, { NAME: 'server' }, 'server-node');
    for (const each of [...metadata, ...mesh.seen]) expect([each.get(METADATA), each.get(ID)]).toEqual([[], []]);
  });

  test('an answer of trailers only', async () => {
    await using mesh = await start();
    const { error, metadata } = await call(mesh.client, '/test.Service/Fail');
    expect(error?.code).toBe(grpc.status.PERMISSION_DENIED);
    expectPeer((await learnedOf(mesh.inbound, '/test.Service/Fail')).downstream, { NAME: 'client' }, 'client-node');
    expectPeer((await learnedOf(mesh.outbound, '/test.Service/Fail')).upstream, { NAME: 'server' }, 'server-node');
    for (const each of [...metadata, ...mesh.seen]) expect([each.get(METADATA), each.get(ID)]).toEqual([[], []]);
  });
});

function same(bytes: Buffer): Buffer {
  return bytes;
}
