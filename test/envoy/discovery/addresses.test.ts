// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { expect, test } from 'vitest';
import { ID, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { BY_ADDRESS, CLIENT, filter, listening, OLDEST_AND_NEWEST, SERVER, STRANGER } from '../../support/discovery.ts';
import { DiscoveryStand, namesOf } from '../../support/discovery_stand.ts';

/** Which address is looked up: that of the connection, of a tunnel's end, and never one that somebody claims. */

// biome-ignore lint/suspicious/noExplicitAny: Envoy's configuration is checked by Envoy
type Json = any;

const TYPE = 'type.googleapis.com';

test.each(OLDEST_AND_NEWEST)('nobody is whoever X-Forwarded-For names, on Envoy %s', async (_, version) => {
  await using stand = await DiscoveryStand.start({
    version,
    listeners: [
      listening('main', filter(BY_ADDRESS)),
      listening('remote', filter(BY_ADDRESS), { manager: { use_remote_address: true } }),
    ],
  });
  await stand.untilKnown();
  const forged = ['x-forwarded-for', CLIENT.addresses[0]];
  expect(await stand.names({ from: STRANGER, headers: forged })).toEqual([undefined, SERVER.name]);
  expect(await stand.names({ headers: ['x-forwarded-for', SERVER.addresses[0]] })).toEqual([undefined, SERVER.name]);
  const listener = 'remote';
  expect(await stand.names({ listener, from: STRANGER, headers: forged })).toEqual([undefined, SERVER.name]);
  expect(await stand.names({ listener, headers: ['x-forwarded-for', STRANGER] })).toEqual([CLIENT.name, SERVER.name]);
});

/** A cluster whose host is a listener of the same Envoy, as HBONE's are; the metadata says where that leads. */
function tunnel(name: string, metadata: object): Json {
  const endpoint = { address: { envoy_internal_address: { server_listener_name: 'tunnel', endpoint_id: 'end' } } };
  return {
    port: 0,
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint, metadata: { filter_metadata: metadata } }] }],
    },
  };
}

/** The listener inside: what comes goes to the application. */
const TUNNEL = {
  name: 'tunnel',
  internal_listener: {},
  filter_chains: [
    {
      filters: [
        {
          name: 'tcp',
          typed_config: {
            '@type': `${TYPE}/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy`,
            stat_prefix: 'tunnel',
            cluster: 'app',
          },
        },
      ],
    },
  ],
};

test.each(OLDEST_AND_NEWEST)('behind a tunnel it is the pod at its end, on Envoy %s', async (_, version) => {
  const local = { local: `${SERVER.addresses[0]}:9080` };
  const route = (prefix: string) => ({ match: { prefix: `/${prefix}/` }, route: { cluster: prefix } });
  await using stand = await DiscoveryStand.start({
    version,
    bootstrap: {
      name: 'envoy.bootstrap.internal_listener',
      typed_config: { '@type': `${TYPE}/envoy.extensions.bootstrap.internal_listener.v3.InternalListener` },
    },
    listeners: [
      listening('main', filter(BY_ADDRESS), {
        routes: [
          route('single'),
          route('double'),
          route('bare'),
          { match: { prefix: '/' }, route: { cluster: 'app' } },
        ],
      }),
    ],
    change: (config) => config.static_resources.listeners.push(TUNNEL),
    clusters: {
      single: tunnel('single', { 'envoy.filters.listener.original_dst': local }),
      // A tunnel to a gateway of another network, and another one inside of it: the address is the gateway's.
      double: tunnel('double', { 'envoy.filters.listener.original_dst': local, istio: { double_hbone: true } }),
      bare: tunnel('bare', {}),
    },
  });
  await stand.untilKnown();
  for (const [path, server] of [
    ['/single/1', SERVER.name],
    ['/double/1', undefined],
    ['/bare/1', undefined],
  ] as const) {
    const { answer, log } = await stand.ask({ path });
    expect([answer.status, ...namesOf(log)], path).toEqual([200, CLIENT.name, server]);
  }
});

test('a socket in the file system is nobody, on either side; what it says counts', async () => {
  await using stand = await DiscoveryStand.start({
    change: (config, folder) => {
      config.static_resources.listeners[0].address = { pipe: { path: `${folder}/main.sock` } };
    },
    listeners: [
      listening(
        'main',
        filter({ ...BY_ADDRESS, downstream_discovery: [{ istio_headers: {} }, ...BY_ADDRESS.downstream_discovery] }),
      ),
      listening('tcp', filter(BY_ADDRESS)),
    ],
  });
  await stand.untilKnown('tcp');
  const socket = stand.file('main.sock');
  await send(socket, { path: '/silent' });
  expect(namesOf(await stand.logged('/silent'))).toEqual([undefined, SERVER.name]);
  await send(socket, { path: '/telling', headers: [METADATA, struct.header({ NAME: 'told' }), ID, 'told'] });
  expect(namesOf(await stand.logged('/telling'))).toEqual(['told', SERVER.name]);
});
