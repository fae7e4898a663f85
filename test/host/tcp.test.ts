// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { HostedProxy } from '../../testkit/host/proxy.ts';
import { HEAD, preface, readPreface } from '../../testkit/preface.ts';
import { always, type Random } from '../../testkit/random.ts';
import { struct } from '../../testkit/struct.ts';
import { direction, INBOUND, MIDDLE, OUTBOUND } from '../support/module_stand.ts';

/** The built module on connections whose bytes come in pieces, against prefaces that protobufjs wrote. */

const PEER = { LABELS: { app: 'peer-app', version: 'v1' }, NAME: 'peer' };
const PREFACE = preface({ metadata: PEER, id: 'peer-id' });
const OWN = preface({ metadata: { NAME: 'own' }, id: 'own-id' });
const CASES = 3000;
const ALWAYS = '{"preface":"always"}';

const proxy = (value: number) => new Host({ 'xds.node': NODE, 'xds.listener_direction': direction(value) });
const said = (side: 'downstream' | 'upstream') => `envoy.wasm.metadata_exchange.connection.${side}`;

/** Bytes in random pieces, often cut near the edges of the head and of the preface. */
function pieces(bytes: Buffer, random: Random): Buffer[] {
  const edges = [1, 3, 4, 5, HEAD - 1, HEAD, HEAD + 1, PREFACE.length - 1, PREFACE.length, PREFACE.length + 1];
  const count = random.oneIn(20) ? bytes.length : random.below(6);
  const cuts = Array.from({ length: count }, () => (random.oneIn(2) ? random.pick(edges) : random.below(bytes.length)));
  const places = [...new Set([0, ...cuts.filter((cut) => cut < bytes.length), bytes.length])].sort((a, b) => a - b);
  return places.slice(1).map((end, i) => bytes.subarray(places[i], end));
}

/** What an application sends: often bytes that begin as a preface does. */
function application(random: Random): Buffer {
  const bytes = Buffer.from(random.bytes(1 + random.below(50)));
  return random.oneIn(4) ? Buffer.concat([PREFACE.subarray(0, 1 + random.below(20)), bytes]) : bytes;
}

describe('however bytes are cut into pieces', () => {
  test('a client is known, its server gets what it sent, and it gets what the server sent behind our preface', () => {
    const host = proxy(INBOUND);
    const root = host.configure() as number;
    always(CASES, (random) => {
      const connection = host.connection(root).begin();
      const [asked, answered] = [application(random), application(random)];
      for (const piece of pieces(Buffer.concat([PREFACE, asked]), random)) connection.fromClient(piece);
      expect(connection.toServer.equals(asked)).toBe(true);
      for (const piece of pieces(answered, random)) connection.fromServer(piece);
      connection.fromServer(Buffer.alloc(0), true).fromClient(Buffer.alloc(0), true);
      expect(connection.toClient.equals(Buffer.concat([OWN, answered]))).toBe(true);
      expect(struct.read(connection.filterState[said('downstream')])).toEqual(PEER);
      expect(connection.filterState[`${said('downstream')}_id`].toString()).toBe('peer-id');
      expect([connection.clientEnded, connection.serverEnded]).toEqual([true, true]);
      connection.end();
    });
  });

  test('a server is told and known, and neither application sees anything of it', () => {
    const host = proxy(OUTBOUND);
    const root = host.configure(ALWAYS) as number;
    always(CASES, (random) => {
      const connection = host.connection(root).begin();
      const [asked, answered] = [application(random), application(random)];
      const both = [pieces(asked, random), pieces(Buffer.concat([PREFACE, answered]), random)];
      while (both[0].length + both[1].length > 0) {
        const side = both[0].length === 0 || (both[1].length > 0 && random.oneIn(2)) ? 1 : 0;
        const piece = both[side].shift() as Buffer;
        if (side === 0) connection.fromClient(piece);
        else connection.fromServer(piece);
      }
      expect(connection.toServer.equals(Buffer.concat([OWN, asked]))).toBe(true);
      expect(connection.toClient.equals(answered)).toBe(true);
      expect(struct.read(connection.filterState[said('upstream')])).toEqual(PEER);
      connection.end();
    });
  });

  test('in the middle both sides are known and told, by one filter or by two', () => {
    const host = proxy(MIDDLE);
    const roots = [host.configure(ALWAYS) as number, host.configure(ALWAYS) as number];
    always(CASES, (random) => {
      const connection = host.connection(...(random.oneIn(2) ? roots : roots.slice(0, 1))).begin();
      const [asked, answered] = [application(random), application(random)];
      for (const piece of pieces(Buffer.concat([PREFACE, asked]), random)) connection.fromClient(piece);
      for (const piece of pieces(Buffer.concat([PREFACE, answered]), random)) connection.fromServer(piece);
      expect(connection.toServer.equals(Buffer.concat([OWN, asked]))).toBe(true);
      expect(connection.toClient.equals(Buffer.concat([OWN, answered]))).toBe(true);
      for (const side of ['downstream', 'upstream'] as const) {
        expect(struct.read(connection.filterState[said(side)])).toEqual(PEER);
      }
      connection.end();
    });
  });

  test('bytes without a preface pass as they are, and nothing is added to them', () => {
    const host = proxy(INBOUND);
    const root = host.configure() as number;
    always(CASES, (random) => {
      const connection = host.connection(root).begin();
      const [asked, answered] = [Buffer.from(random.bytes(60)), application(random)];
      if (asked[0] === PREFACE[0]) asked[0]++;
      for (const piece of pieces(asked, random)) connection.fromClient(piece);
      for (const piece of pieces(answered, random)) connection.fromServer(piece);
      expect(connection.toServer.equals(asked)).toBe(true);
      expect(connection.toClient.equals(answered)).toBe(true);
      expect(connection.filterState).toEqual({});
      connection.end();
    });
  });
});

describe('what is sent', () => {
  test('is what protobufjs writes, byte by byte', () => {
    for (const [config, expected] of [
      ['{"preface":"always"}', OWN],
      ['{"preface":"always","node_key":"cluster"}', preface({ metadata: { NAME: 'own' }, id: 'own-cluster' })],
      ['{"preface":"always","metadata_key":"other"}', preface({ id: 'own-id' })],
    ] as const) {
      const host = proxy(OUTBOUND);
      const connection = host.connection(host.configure(config) as number).begin();
      const sent = connection.fromClient(Buffer.from('x')).toServer;
      expect(sent).toEqual(Buffer.concat([expected, Buffer.from('x')]));
      expect(readPreface(sent)?.rest.toString()).toBe('x');
    }
  });

  test('never goes behind bytes of the application', () => {
    const host = proxy(INBOUND);
    const connection = host.connection(host.configure() as number).begin();
    connection.fromServer(Buffer.from('welcome')).fromClient(PREFACE).fromServer(Buffer.from(' again'));
    expect(connection.toClient.toString()).toBe('welcome again');
    expect(struct.read(connection.filterState[said('downstream')])).toEqual(PEER);
  });
});

describe('a preface that stops', () => {
  const load = (value: number) => {
    const properties = { 'xds.node': NODE, 'xds.listener_direction': direction(value) };
    const hosted = new HostedProxy({ workers: 1, properties });
    const [{ host, root }] = hosted.load(ALWAYS).workers;
    return { hosted, connection: host.connection(root).begin(), host, root };
  };

  test('is let go on after five seconds, and not before; the server is told, as with any other client', () => {
    const { hosted, connection } = load(MIDDLE);
    connection.fromClient(PREFACE.subarray(0, 30));
    hosted.pass(4);
    expect(connection.toServer.length).toBe(0);
    hosted.pass(1);
    expect(connection.toServer).toEqual(Buffer.concat([OWN, PREFACE.subarray(0, 30)]));
    connection.fromClient(PREFACE.subarray(30));
    expect(connection.toServer).toEqual(Buffer.concat([OWN, PREFACE]));
    hosted.pass(1);
    expect([hosted.metric('preface_stalled'), hosted.metric('preface_found')]).toEqual([1, 0]);
  });

  test('of a server closes the connection', () => {
    const { hosted, connection } = load(OUTBOUND);
    connection.fromClient(Buffer.from('x')).fromServer(PREFACE.subarray(0, 4));
    hosted.pass(4);
    expect(connection.isClosed).toBe(false);
    hosted.pass(2);
    expect([connection.isClosed, connection.toClient.length]).toEqual([true, 0]);
    expect([hosted.metric('preface_stalled'), hosted.metric('connections')]).toEqual([1, 0]);
  });

  test('and that comes piece by piece is held no longer than one that does not come at all', () => {
    const { hosted, connection } = load(INBOUND);
    for (let i = 0; i < 8; i++) {
      connection.fromClient(PREFACE.subarray(i, i + 1));
      hosted.pass(1);
    }
    expect(connection.toServer).toEqual(PREFACE.subarray(0, 8));
  });

  test('many of them, at different times, each in its own', () => {
    const { hosted, host, root } = load(INBOUND);
    const all = Array.from({ length: 40 }, () => {
      const connection = host.connection(root).begin().fromClient(PREFACE.subarray(0, 9));
      hosted.pass(1);
      return connection;
    });
    expect(all.map(({ toServer }) => toServer.length > 0)).toEqual(all.map((_, i) => i <= 35));
    for (const connection of all) connection.end();
    hosted.pass(1);
    expect(hosted.metric('preface_stalled')).toBe(36);
  });
});

test('what was sent is not what was counted: bytes without prefaces, however they came', () => {
  const properties = { 'xds.node': NODE, 'xds.listener_direction': direction(INBOUND) };
  const hosted = new HostedProxy({ workers: 1, properties });
  const [{ host, root }] = hosted.load({ metrics: {} }).workers;
  let [received, sent] = [0, 0];
  always(300, (random) => {
    const connection = host.connection(root).begin();
    const [asked, answered] = [application(random), application(random)];
    for (const piece of pieces(Buffer.concat([PREFACE, asked]), random)) connection.fromClient(piece);
    for (const piece of pieces(answered, random)) connection.fromServer(piece);
    connection.end();
    received += asked.length;
    sent += answered.length;
  });
  hosted.pass(1);
  const total = (name: string) =>
    Object.entries(hosted.process.metrics).reduce((sum, [each, value]) => sum + (each.endsWith(name) ? value : 0), 0);
  expect(total('istio_tcp_connections_opened_total')).toBe(300);
  expect(total('istio_tcp_connections_closed_total')).toBe(300);
  expect(total('istio_tcp_received_bytes_total')).toBe(received);
  expect(total('istio_tcp_sent_bytes_total')).toBe(sent);
});

test('connections without end take no memory that does not come back', () => {
  const host = proxy(INBOUND);
  const root = host.configure() as number;
  const many = (count: number) => {
    for (let i = 0; i < count; i++)
      host
        .connection(root)
        .begin()
        .fromClient(PREFACE.subarray(0, 1 + (i % 200)))
        .end();
  };
  many(2000);
  const before = host.memorySize();
  many(20_000);
  expect(host.memorySize()).toBe(before);
});

test('more connections than a VM has records for: those beyond pass as they are, and are counted', () => {
  const most = 65_536;
  const hosted = new HostedProxy({
    workers: 1,
    properties: { 'xds.node': NODE, 'xds.listener_direction': direction(INBOUND) },
  });
  const [{ host, root }] = hosted.load('').workers;
  const open = (count: number) => Array.from({ length: count }, () => host.connection(root).begin());
  const all = open(most);
  const [beyond] = open(1);
  beyond.fromClient(PREFACE).fromServer(Buffer.from('answer'));
  expect([beyond.toServer, beyond.toClient.toString()]).toEqual([PREFACE, 'answer']);
  all[most - 1].fromClient(PREFACE);
  expect(struct.read(all[most - 1].filterState[said('downstream')])).toEqual(PEER);
  hosted.pass(1);
  expect([hosted.metric('connections'), hosted.metric('streams_unserved')]).toEqual([most, 1]);
  for (const each of [...all, beyond]) each.end();
  const [again] = open(1);
  expect(again.fromClient(Buffer.concat([PREFACE, Buffer.from('x')])).toServer.toString()).toBe('x');
  again.end();
  hosted.pass(1);
  expect(hosted.metric('connections')).toBe(0);
});
