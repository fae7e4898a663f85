// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { preface } from '../../../testkit/preface.ts';
import { PEER, PEER_ID, type TcpProxyOptions, tcpBootstrap } from '../../support/tcp.ts';
import { calls } from '../../support/trace.ts';
import { echo, TcpServer, Wire } from '../../support/wire.ts';

/** Every host call of a connection, in order, as a stock Envoy traces them: after the prefaces there is none. */

const PREFACE = preface({ metadata: PEER, id: PEER_ID });

/** What passes between Envoy and the module for one connection that asks three times. */
async function trace(options: TcpProxyOptions, first: string | Buffer, serve = echo): Promise<string[]> {
  await using server = await TcpServer.start(serve);
  await using envoy = await Envoy.start(tcpBootstrap(server.port, options), { componentLogLevel: 'wasm:trace' });
  const port = await envoy.port('listener');
  const connect = async () => {
    const mark = envoy.log().length;
    using wire = await Wire.open(port);
    await wire.send(first);
    for (const question of ['one ', 'two ', 'three']) {
      await wire.send(question);
      await wire.untilIt((text) => text.endsWith(question));
    }
    wire.end();
    await wire.untilEnd();
    wire[Symbol.dispose]();
    await envoy.until('the connection ended', () => envoy.log().slice(mark).includes('proxy_on_delete return'));
    return calls(envoy.log().slice(mark)).filter((call) => call !== 'proxy_on_tick');
  };
  // The second of two: what is done once for all connections is not what one costs.
  await connect();
  return await connect();
}

/** The calls without what comes of the pieces that data come in: once all is done for a direction, it is called for nothing. */
function withoutIdle(found: string[]): string[] {
  return found.filter((call, i) => !/^proxy_on_(up|down)stream_data$/.test(call) || /^ /.test(found[i + 1] ?? ''));
}

const DIRECTION = ['  proxy_get_property', '    malloc'];
const FIRST_BYTES = ['  proxy_get_buffer_bytes', '    malloc'];
const CUT = ['  proxy_get_property', '  proxy_set_buffer_bytes'];
const PUBLISH = ['  proxy_get_property', '  proxy_get_property', '  proxy_set_property', '  proxy_set_property'];
const TELL = ['  proxy_get_property', '  proxy_set_buffer_bytes', '  proxy_set_property'];
const BEGIN = ['proxy_on_context_create', 'proxy_on_new_connection'];
const END = ['proxy_on_log', 'proxy_on_delete'];

test('at the server’s side, of a client with a preface', async () => {
  const found = withoutIdle(await trace({ direction: 'INBOUND' }, PREFACE));
  expect(found).toEqual([
    ...BEGIN,
    'proxy_on_downstream_data',
    ...DIRECTION,
    ...FIRST_BYTES,
    ...FIRST_BYTES,
    ...CUT,
    ...PUBLISH,
    'proxy_on_upstream_data',
    ...TELL,
    ...END,
  ]);
});

test('at the server’s side, of a client without: its first eight bytes are looked at', async () => {
  const found = withoutIdle(await trace({ direction: 'INBOUND' }, 'zero '));
  expect(found).toEqual([...BEGIN, 'proxy_on_downstream_data', ...DIRECTION, ...FIRST_BYTES, ...END]);
});

test('at the client’s side, to a server of which nobody says that it reads a preface', async () => {
  const config = { preface: 'endpoint_metadata' };
  const found = withoutIdle(await trace({ direction: 'OUTBOUND', config }, 'zero '));
  expect(found).toEqual([...BEGIN, 'proxy_on_downstream_data', ...DIRECTION, '  proxy_get_property', ...END]);
});

test('at the client’s side, to a server that answers', async () => {
  const answering = (wire: Wire) => {
    wire.socket.once('data', () => wire.socket.write(PREFACE));
    echo(wire);
  };
  const config = { preface: 'always' };
  const found = withoutIdle(await trace({ direction: 'OUTBOUND', config }, 'zero ', answering));
  expect(found).toEqual([
    ...BEGIN,
    'proxy_on_downstream_data',
    ...DIRECTION,
    ...TELL,
    'proxy_on_upstream_data',
    ...FIRST_BYTES,
    ...FIRST_BYTES,
    // Now there is a note of the preface that was sent.
    '  proxy_get_property',
    '    malloc',
    '  proxy_set_buffer_bytes',
    ...PUBLISH,
    ...END,
  ]);
});
