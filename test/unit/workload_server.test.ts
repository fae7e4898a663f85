// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { Client, type ClientDuplexStream, credentials, Metadata } from '@grpc/grpc-js';
import { describe, expect, test, vi } from 'vitest';
import { readResponse, WORKLOAD, writeRequest } from '../../testkit/xds/messages.ts';
import { Relay } from '../../testkit/xds/relay.ts';
import { type DiscoveryOptions, WorkloadServer } from '../../testkit/xds/server.ts';

/** The control plane that tests play, held against a client of grpc-js: it must be right before a proxy is judged by it. */

const PATH = '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources';
const ratings = { uid: 'ratings', name: 'ratings-v1-0', addresses: ['127.0.0.2'] };
const reviews = { uid: 'reviews', name: 'reviews-v1-0', addresses: ['127.0.0.3'] };

/** A client with one stream. */
class Subscriber implements Disposable {
  readonly heard: ReturnType<typeof readResponse>[] = [];
  ended: string | undefined;
  private readonly client: Client;
  private readonly stream: ClientDuplexStream<Buffer, Buffer>;

  constructor(port: number, initialResourceVersions: Record<string, string> = {}) {
    const limits = { 'grpc.max_receive_message_length': -1, 'grpc.use_local_subchannel_pool': 1 };
    const alive = { 'grpc.keepalive_time_ms': 300, 'grpc.keepalive_timeout_ms': 300 };
    this.client = new Client(`127.0.0.1:${port}`, credentials.createInsecure(), { ...limits, ...alive });
    const metadata = new Metadata();
    metadata.set('authorization', 'Bearer token');
    const asIs = (bytes: Buffer) => bytes;
    this.stream = this.client.makeBidiStreamRequest(PATH, asIs, asIs, metadata);
    this.stream.on('data', (bytes) => this.heard.push(readResponse(bytes)));
    this.stream.on('error', (error) => {
      this.ended = error.message;
    });
    this.stream.on('end', () => {
      this.ended ??= 'ended';
    });
    this.stream.write(writeRequest({ typeUrl: WORKLOAD, initialResourceVersions }));
  }

  /** Takes a response, or refuses it. */
  answer(responseNonce: string, errorDetail?: { code: number; message: string }): void {
    this.stream.write(writeRequest({ typeUrl: WORKLOAD, responseNonce, errorDetail }));
  }

  /** Waits until so many responses came; the last of them, as names. */
  async told(count: number): Promise<{ nonce: string; names: string[]; removed: string[] }> {
    await vi.waitUntil(() => this.heard.length >= count, { timeout: 10_000 });
    const { nonce, resources, removed } = this.heard[count - 1];
    return { nonce, names: resources.map(({ name }) => name), removed };
  }

  [Symbol.dispose](): void {
    this.stream.cancel();
    this.client.close();
  }
}

/** Waits until something holds. */
const until = (holds: () => boolean) => vi.waitUntil(holds, { timeout: 10_000 });

const serving = (options?: DiscoveryOptions) => WorkloadServer.start({ workloads: [ratings], ...options });

describe('the control plane of the tests', () => {
  test('says what there is, then only what changed, and knows who took it', async () => {
    await using server = await serving();
    using proxy = new Subscriber(server.port);
    const { nonce } = await proxy.told(1);
    expect(await proxy.told(1)).toEqual({ nonce, names: ['ratings'], removed: [] });
    expect(server.settled).toBe(false);
    proxy.answer(nonce);
    await until(() => server.settled);

    server.set(reviews);
    expect(await proxy.told(2)).toMatchObject({ names: ['reviews'], removed: [] });
    const last = server.remove('ratings');
    expect(await proxy.told(3)).toEqual({ nonce: last, names: [], removed: ['ratings'] });
    proxy.answer(last, { code: 3, message: 'no' });
    await until(() => server.settled);
    const [stream] = server.streams;
    expect(stream.refusals).toEqual(['no']);
    expect(stream.metadata.get('authorization')).toEqual(['Bearer token']);
  });

  test('tells a client that comes again what it missed: what changed, and what is gone', async () => {
    await using server = await serving({ workloads: [ratings, reviews] });
    using first = new Subscriber(server.port);
    await first.told(1);
    const had = { ratings: '1', reviews: '2' };
    server.remove('ratings');
    using again = new Subscriber(server.port, had);
    expect(await again.told(1)).toMatchObject({ names: [], removed: ['ratings'] });
    expect(server.streams[1].requests[0].initialResourceVersions).toEqual(had);
  });

  test('counts streams: how many there were, how many there are, and for how long more than one', async () => {
    await using server = await serving();
    const first = new Subscriber(server.port);
    await first.told(1);
    first[Symbol.dispose]();
    await until(() => server.open.length === 0);
    expect(server.overlap()).toBe(0);
    using second = new Subscriber(server.port);
    using third = new Subscriber(server.port);
    await Promise.all([second.told(1), third.told(1)]);
    expect([server.streams.length, server.open.length]).toEqual([3, 2]);
    await until(() => server.overlap() > 100);
  });

  test('stops, and serves the same at the same port when it is started again', async () => {
    await using server = await serving();
    using first = new Subscriber(server.port);
    await first.told(1);
    const { port } = server;
    server.stop();
    await until(() => first.ended !== undefined && server.open.length === 0);
    server.set(reviews);
    await server.restart();
    expect(server.port).toBe(port);
    using second = new Subscriber(port);
    expect(await second.told(1)).toMatchObject({ names: ['ratings', 'reviews'] });
  });

  test('asks to leave, ends a stream with a status, and sends any bytes', async () => {
    await using server = await serving();
    using leaving = new Subscriber(server.port);
    await leaving.told(1);
    server.goAway(200);
    await until(() => leaving.ended !== undefined);

    using turnedAway = new Subscriber(server.port);
    await turnedAway.told(1);
    server.open[0].end(16, 'who are you?');
    await until(() => turnedAway.ended !== undefined);
    expect(turnedAway.ended).toContain('UNAUTHENTICATED: who are you?');

    using hearing = new Subscriber(server.port);
    await hearing.told(1);
    server.setRaw('garbage', Buffer.from('ff', 'hex'));
    await hearing.told(2);
    expect(hearing.heard[1].resources[0]).toMatchObject({ name: 'garbage', body: Buffer.from('ff', 'hex') });
    server.sendRaw(Buffer.from('3a03616263', 'hex'));
    await hearing.told(3);
  });

  test('sends messages of more than 4 MiB, and splits them where it is told to', async () => {
    const many = Array.from({ length: 50 }, (_, i) => ({ uid: `uid-${i}`, name: 'x'.repeat(100_000) }));
    await using whole = await serving({ workloads: many });
    using one = new Subscriber(whole.port);
    expect((await one.told(1)).names).toHaveLength(50);
    await using split = await serving({ workloads: many, perResponse: 20 });
    using other = new Subscriber(split.port);
    expect((await other.told(3)).names).toHaveLength(10);
  });

  test('is not heard any more through a relay that hangs; a new connection works', async () => {
    await using server = await serving();
    await using relay = await Relay.start(server.port);
    using first = new Subscriber(relay.port);
    await first.told(1);
    relay.hang();
    server.set(reviews);
    await until(() => first.ended !== undefined);
    expect(first.heard).toHaveLength(1);
    expect(server.open, 'the server does not know').toHaveLength(1);
    using second = new Subscriber(relay.port);
    expect(await second.told(1)).toMatchObject({ names: ['ratings', 'reviews'] });
  });
});
