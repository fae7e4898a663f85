// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import http2 from 'node:http2';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { expectPeer, learnedOf } from '../../testkit/access_log.ts';
import { MODULE, testedVersions } from '../../testkit/envoy/binary.ts';
import { type Listener, metadataExchange, proxy, wasm } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { Updatable } from '../support/lds.ts';
import { OWN, OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';

/** A stream lives as long as its context, and a configuration as long as its root: Envoy says when they end. */

const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);
const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const node = { id: OWN_ID, metadata: { 'istio.io/metadata': OWN } };
const stat = (envoy: Envoy, name: string) => envoy.stat(`wasmcustom.metadata_exchange.${name}`);

/** How many VMs there are. */
const ACTIVE = 'wasm.envoy.wasm.runtime.v8.active';

/** Keeps every request, for a minute: nothing comes back before its client gives up. */
const KEEPING = {
  name: 'envoy.filters.http.fault',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
    delay: { fixed_delay: '60s', percentage: { numerator: 100 } },
  },
};

/** A connection on which more than a thousand streams are given up at once looks like an attack, and is closed. */
const MOST_ON_CONNECTION = 900;

/** Sends requests over HTTP/2, fifty at a time, and gives them up when they are under way. */
async function abort(port: number, count: number): Promise<void> {
  for (let left = count; left > 0; left -= MOST_ON_CONNECTION) {
    const session = http2.connect(`http://127.0.0.1:${port}`);
    for (let sent = 0; sent < MOST_ON_CONNECTION; sent += 50) {
      const streams = Array.from({ length: 50 }, () => session.request({ ':path': '/', 'x-b-id': 'peer' }));
      // What has been answered was received before: the ping goes behind the requests.
      await new Promise((resolve) => session.ping(resolve));
      const closed = streams.map((stream) => once(stream, 'close'));
      for (const stream of streams) stream.close(http2.constants.NGHTTP2_CANCEL);
      await Promise.all(closed);
    }
    session.close();
  }
}

describe.each(TESTED)('streams, Envoy %s', (_, version) => {
  test('34,000 requests that their clients give up cost a stream of another listener nothing', {
    timeout: 120_000,
  }, async () => {
    const waiting: (() => void)[] = [];
    await using app = await App.start(
      () => new Promise((resolve) => waiting.push(() => resolve({ headers: [ID, 'forged'] }))),
    );
    const other = metadataExchange({ headers: { metadata: 'x-b-metadata', id: 'x-b-id' } });
    const config = proxy({
      node,
      listeners: [
        { name: 'a', direction: 'INBOUND', filters: [metadataExchange()] },
        {
          name: 'b',
          direction: 'INBOUND',
          filters: [other, KEEPING],
          manager: { access_log: [] },
        },
      ],
      clusters: { app: { port: app.port } },
    });
    config.static_resources.listeners[1].connection_balance_config = { exact_balance: {} };
    // A client that gives up everything looks like an attack, and Envoy would close its connection.
    const patient = { 'overload.premature_reset_total_stream_count': 1_000_000 };
    config.layered_runtime = { layers: [{ name: 'patient', static_layer: patient }] };
    await using envoy = await Envoy.start(config, { version, workers: 2 });
    const [a, b] = [await envoy.port('a'), await envoy.port('b')];
    const answers = Array.from({ length: 8 }, (_, i) => send(a, { path: `/waiting-${i}`, headers: FROM_PEER }));
    await envoy.until('all wait', () => waiting.length === 8);
    // Connections are shared out evenly: so many for each of the two workers.
    await Promise.all([abort(b, 34_000), abort(b, 34_000)]);
    for (const answer of waiting) answer();
    for (const answer of await Promise.all(answers)) expect(answer.headers.peer()).toEqual(OWN_HEADERS);
    for (const { headers } of app.seen) expect(headers.peer(), 'the application sees no peer header').toEqual({});
    expectPeer((await learnedOf(envoy, '/waiting-0')).downstream, PEER, PEER_ID);
    await envoy.until('the gauge knows that all are gone', async () => (await stat(envoy, 'streams')) === 0);
    expect(await stat(envoy, 'streams_unserved')).toBe(0);
  });

  test('gauges come back through upgrades of the module: a VM that ends leaves nothing in them', {
    timeout: 120_000,
  }, async () => {
    // Another vm_id is another VM, as for another module.
    const generation = (n: number): Listener[] => {
      const filter = wasm('exchange', undefined, MODULE);
      filter.typed_config.config.vm_config.vm_id = `generation-${n}`;
      const other = metadataExchange(undefined, 'stays');
      return [
        { name: 'listener', direction: 'INBOUND', filters: [filter] },
        { name: 'other', direction: 'INBOUND', filters: [other] },
      ];
    };
    const options = { version, node, workers: 2, drainSeconds: 1, drainAtOnce: true };
    await using mesh = await Updatable.start(generation(0), options);
    const { envoy } = mesh;
    const settled = async (what: string) => {
      // Two listeners, each in the VMs of two workers and the main thread.
      await envoy.until(`${what}: 6 configurations`, async () => (await stat(envoy, 'configurations')) === 6);
      expect(await stat(envoy, 'own_header_bytes')).toBe(6 * OWN_HEADER.length);
    };
    const peers = async () => {
      for (let i = 0; i < 4; i++) await send(await envoy.port('listener'), { headers: FROM_PEER });
    };
    await peers();
    await settled('at first');
    const vms = await envoy.stat(ACTIVE);
    for (let n = 1; n <= 3; n++) {
      await mesh.update(generation(n));
      await peers();
      await envoy.until('the old VMs have ended', async () => (await envoy.stat(ACTIVE)) === vms);
      // The new ones count their configurations at their first tick.
      await sleep(1500);
      await settled(`after upgrade ${n}`);
      await envoy.until('peers of ended VMs are gone', async () => (await stat(envoy, 'cache_entries')) <= 2);
    }
  });
});

test.each([1, 2])('an own metadata of %i MB is cut down to its header, and Envoy serves', async (megabytes) => {
  await using app = await App.start();
  const blob = 'x'.repeat(megabytes * 2 ** 20);
  const listeners = [{ name: 'listener', direction: 'OUTBOUND' as const, filters: [metadataExchange()] }];
  await using envoy = await Envoy.start(
    proxy({
      node: { id: OWN_ID, metadata: { 'istio.io/metadata': { ...OWN, blob } } },
      listeners,
      clusters: { app: { port: app.port } },
    }),
    { workers: 2 },
  );
  await send(await envoy.port('listener'), {});
  expect(app.last.headers.peer()).toEqual(OWN_HEADERS);
  expect(envoy.log()).toContain('not sent are 1 fields: blob');
});
