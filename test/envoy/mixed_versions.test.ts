// SPDX-License-Identifier: Apache-2.0
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { expectPeer, learnedOf } from '../../testkit/access_log.ts';
import { MODULE, ROOT, testedVersions } from '../../testkit/envoy/binary.ts';
import { httpListener, proxy, wasm } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { OWN, OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';

/** The module of before and that of today: as each other's peers, and side by side in one proxy, as during an upgrade. */

const OLD = join(ROOT, 'test/versions/metadata_exchange-fea7d0b.wasm');
const FROM_PEER = [METADATA, PEER_HEADER, ID, PEER_ID];
const OWN_HEADERS = { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] };
const exchange = (module: string, name = 'exchange') => wasm(name, undefined, module);
const MODULES = { old: OLD, new: MODULE };
const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);
const node = { id: OWN_ID, metadata: { 'istio.io/metadata': OWN } };

describe.each(TESTED)('mixed versions, Envoy %s', (_, version) => {
  test.each([
    ['old', 'new'],
    ['new', 'old'],
  ] as const)('a client with the %s module and a server with the %s one know each other', async (client, server) => {
    await using app = await App.start();
    const options = { version, workers: 2 };
    await using inbound = await Envoy.start(
      proxy({
        node: { id: PEER_ID, metadata: { 'istio.io/metadata': PEER } },
        listeners: [{ name: 'listener', direction: 'INBOUND', filters: [exchange(MODULES[server])] }],
        clusters: { app: { port: app.port } },
      }),
      options,
    );
    await using outbound = await Envoy.start(
      proxy({
        node,
        listeners: [{ name: 'listener', direction: 'OUTBOUND', filters: [exchange(MODULES[client])] }],
        clusters: { app: { port: await inbound.port('listener') } },
      }),
      options,
    );
    const answer = await send(await outbound.port('listener'), { path: '/mixed', headers: [ID, 'forged'] });
    expect([answer.status, answer.headers.peer(), app.last.headers.peer()]).toEqual([200, {}, {}]);
    expectPeer((await learnedOf(inbound, '/mixed')).downstream, OWN, OWN_ID);
    expectPeer((await learnedOf(outbound, '/mixed')).upstream, PEER, PEER_ID);
  });

  test('side by side in one proxy each serves its own listener', async () => {
    await using app = await App.start(() => ({ headers: FROM_PEER }));
    const listener = (name: keyof typeof MODULES) =>
      httpListener({ name, direction: 'INBOUND', filters: [exchange(MODULES[name])] });
    const config = proxy({ node, listeners: [], clusters: { app: { port: app.port } } });
    config.static_resources.listeners = [listener('old'), listener('new')];
    await using envoy = await Envoy.start(config, { version, workers: 2 });
    const ports = [await envoy.port('old'), await envoy.port('new')];
    const ask = async (i: number) => {
      const headers = i % 4 < 2 ? FROM_PEER : [];
      const answer = await send(ports[i % 2], { path: `/${i}`, headers });
      expect(answer.headers.peer()).toEqual(i % 4 < 2 ? OWN_HEADERS : {});
    };
    await Promise.all(Array.from({ length: 60 }, (_, i) => ask(i)));
    for (const i of [0, 1]) expectPeer((await learnedOf(envoy, `/${i}`)).downstream, PEER, PEER_ID);
  });

  test.each([
    ['old', 'new'],
    ['new', 'old'],
  ] as const)('in one chain, %s before %s, act as one', async (first, second) => {
    await using app = await App.start();
    const filters = [exchange(MODULES[first], 'first'), exchange(MODULES[second], 'second')];
    const listeners = [{ name: 'listener', direction: 'INBOUND' as const, filters }];
    const config = proxy({ node, listeners, clusters: { app: { port: app.port } } });
    await using envoy = await Envoy.start(config, { version, workers: 2 });
    const answer = await send(await envoy.port('listener'), { path: '/chain', headers: FROM_PEER });
    expect(answer.headers.peer()).toEqual(OWN_HEADERS);
    expect(app.last.headers.peer()).toEqual({});
    expectPeer((await learnedOf(envoy, '/chain')).downstream, PEER, PEER_ID);
    const stranger = await send(await envoy.port('listener'), { path: '/stranger' });
    expect(stranger.headers.peer()).toEqual({});
  });
});
