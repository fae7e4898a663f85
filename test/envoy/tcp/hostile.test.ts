// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { NOBODY } from '../../../testkit/connection_log.ts';
import { any, framed, preface } from '../../../testkit/preface.ts';
import { struct } from '../../../testkit/struct.ts';
import { metric, OWN, OWN_ID, PEER, PEER_ID, TcpStand, untilMetric } from '../../support/tcp.ts';

/** Clients that send what no proxy would: every byte arrives, nobody is known who is nobody, and the filter lives. */

const KEY = 'x-envoy-peer-metadata';
const field = (number: number, bytes: Uint8Array) =>
  Buffer.concat([Buffer.from([(number << 3) | 2, bytes.length]), bytes]);

/** Structs in each other, deeper than protobufjs writes them. */
function nested(levels: number): Uint8Array {
  return levels === 0 ? new Uint8Array() : structWith('a', nested(levels - 1));
}

/** A Struct with one field, which is a Struct of these bytes. */
function structWith(key: string, bytes: Uint8Array): Uint8Array {
  const value = protobuf.Writer.create().uint32(0x2a).bytes(bytes);
  const entry = protobuf.Writer.create().uint32(0x0a).string(key).uint32(0x12).bytes(value.finish());
  return protobuf.Writer.create().uint32(0x0a).bytes(entry.finish()).finish();
}

/** What begins like a preface and is none: all of it belongs to the application. */
const REFUSED: Record<string, Buffer> = {
  'no bytes': framed(Buffer.alloc(0)),
  garbage: framed(Buffer.alloc(64, 0xff)),
  zeros: framed(Buffer.alloc(64)),
  'half of an Any': framed(any(struct.write({ [KEY]: PEER })).subarray(0, 60)),
  'a Struct without an Any': framed(struct.write({ [KEY]: PEER })),
  'an Any of another type': framed(any(struct.write({ [KEY]: PEER }), 'type.googleapis.com/google.protobuf.Value')),
  'an Any without a type': framed(field(2, struct.write({ [KEY]: { NAME: 'x' } }))),
  'a Struct that is no message': framed(any(Buffer.alloc(9, 0xff))),
};

/** Prefaces in which nobody is: they are taken out, as any preface. */
const EMPTY: Record<string, Buffer> = {
  'an empty Struct': framed(any(struct.write({}))),
  'a Struct of another kind': framed(any(struct.write({ NAME: 'peer' }))),
  'metadata that is a string': framed(any(struct.write({ [KEY]: 'peer' }))),
  'a Struct with a bad entry': framed(any(Buffer.from('0a05ffffffffff', 'hex'))),
  'an id that is a number': framed(any(struct.write({ [`${KEY}-id`]: 5 }))),
  'structs in each other': framed(any(structWith(KEY, nested(200)))),
  'a number that is none': framed(any(struct.write({ [KEY]: { a: Number.NaN } }))),
};

describe('what a client’s sidecar would never send', () => {
  let stand: TcpStand;
  let vms: number;
  beforeAll(async () => {
    stand = await TcpStand.start({ direction: 'INBOUND', config: { max_header_size: 4096 } });
    vms = await stand.envoy.stat('wasm.envoy.wasm.runtime.v8.active');
  });
  afterAll(() => stand?.[Symbol.asyncDispose]());

  /** What of these bytes the server gets, what the client gets, and what the proxy learned. */
  async function deliver(bytes: Buffer, answer = 'goes on') {
    const { client, server, n } = await stand.open();
    using _ = client;
    await client.send(bytes);
    await client.send('the end');
    client.end();
    const got = await server.untilEnd();
    await server.send(answer);
    server.end();
    const answered = await client.untilEnd();
    return { got, answered, ...(await stand.logged(n)) };
  }

  test.each(Object.entries(REFUSED))('%s: arrives whole, is counted, and nobody is known', async (_, bytes) => {
    const before = await metric(stand.envoy, 'preface_refused');
    const { got, answered, downstream } = await deliver(bytes);
    expect(got).toEqual(Buffer.concat([bytes, Buffer.from('the end')]));
    expect(answered.toString()).toBe('goes on');
    expect(downstream).toEqual(NOBODY);
    await untilMetric(stand.envoy, 'preface_refused', before + 1);
  });

  test.each(Object.entries(EMPTY))('%s: is a preface that says nothing', async (_, bytes) => {
    const before = await metric(stand.envoy, 'preface_found');
    const { got, downstream } = await deliver(bytes);
    expect(got.toString()).toBe('the end');
    expect(downstream).toEqual(NOBODY);
    await untilMetric(stand.envoy, 'preface_found', before + 1);
  });

  test.each([4097, 65536, 2 ** 31, 2 ** 32 - 1])('announces %i bytes: nothing of it is held', async (length) => {
    const bytes = framed(Buffer.from('some'), length);
    const { client, server, n } = await stand.open();
    using _ = client;
    await client.send(bytes);
    // The client does not end: what arrives was let go at once.
    expect(await server.until(bytes)).toEqual(bytes);
    client.end();
    server.end();
    expect((await stand.logged(n)).downstream).toEqual(NOBODY);
  });

  test('a preface that is exactly as long as is allowed is read', async () => {
    const body = 4096;
    const spare = (length: number) => preface({ metadata: { NAME: 'x'.repeat(length) }, id: PEER_ID });
    const whole = spare(body - (spare(3000).length - 3000 - 8));
    expect(whole.length - 8).toBe(body);
    const { got, downstream } = await deliver(whole);
    expect([got.toString(), downstream.id]).toEqual(['the end', PEER_ID]);
  });

  test('an id of control characters or NUL, and a name with NUL: what can be published is, and the rest is not', async () => {
    for (const id of ['a\0b', 'a\nb', '\x7f']) {
      const { got, downstream } = await deliver(preface({ metadata: PEER, id }));
      expect(got.toString(), JSON.stringify(id)).toBe('the end');
      expect(downstream).toMatchObject({ struct: PEER, id: undefined });
    }
  });

  test('an id alone is somebody, metadata alone is, too', async () => {
    expect((await deliver(preface({ id: PEER_ID }))).downstream).toMatchObject({ struct: undefined, id: PEER_ID });
    expect((await deliver(preface({ metadata: PEER }))).downstream).toMatchObject({ struct: PEER, id: undefined });
  });

  test('fields that no preface has are passed over', async () => {
    const whole = framed(any(struct.write({ [KEY]: PEER, [`${KEY}-id`]: PEER_ID, more: [1, { a: null }] })));
    const { got, downstream } = await deliver(whole);
    expect([got.toString(), downstream]).toMatchObject(['the end', { struct: PEER, id: PEER_ID }]);
  });

  test('after all of it the same VM serves the next client', async () => {
    const { got, answered, downstream } = await deliver(preface({ metadata: PEER, id: PEER_ID }));
    expect(got.toString()).toBe('the end');
    expect(answered).toEqual(Buffer.concat([preface({ metadata: OWN, id: OWN_ID }), Buffer.from('goes on')]));
    expect(downstream).toMatchObject({ struct: PEER, id: PEER_ID });
    expect(await stand.envoy.stat('wasm.envoy.wasm.runtime.v8.active')).toBe(vms);
    await untilMetric(stand.envoy, 'connections', 0);
  });
});
