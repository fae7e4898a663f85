// SPDX-License-Identifier: Apache-2.0
import { status } from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { Call, Greeter } from '../../../envoy/grpc-gateway/greeter.ts';
import { bridge, metadataExchange } from '../../../testkit/envoy/config.ts';
import { anyPort, type Bootstrap, type Envoy } from '../../../testkit/envoy/process.ts';
import { shipped, shippedIdentity } from '../../../testkit/envoy/shipped.ts';
import { ID, METADATA } from '../../../testkit/http.ts';
import { Fleet } from '../../support/shipped.ts';

const CLIENTS = 'envoy/grpc-gateway/clients.yaml';
const GATEWAY = 'envoy/grpc-gateway/gateway.yaml';
const GREETER = 'envoy/grpc-gateway/greeter.yaml';

/** As many streams as the server allows on one connection. */
const CALLS = 100;
const numbers = Array.from({ length: CALLS }, (_, i) => i);

/** Every fifth client has no sidecar, and comes to the gateway as it is. */
const hasSidecar = (n: number) => n % 5 !== 0;

/** What client number n says of itself. */
const says = (n: number) => ({ NAME: `client-${n}`, LABELS: { number: n }, PADDING: 'x'.repeat(n) });

const greeterSays = shippedIdentity(GREETER);
/** All sidecars of clients are one Envoy, which has one id. */
const id = 'sidecars-of-the-clients';
const GATEWAY_SAYS = { id: 'the-gateway', metadata: { NAME: 'the-gateway-itself' } };

/** The shipped sidecars of clients, as many as there are calls. */
function sidecars(gateway: number): Bootstrap {
  const config = shipped(CLIENTS, { gateway });
  const [pattern] = config.static_resources.listeners;
  const clients = numbers.filter(hasSidecar);
  config.node.metadata = Object.fromEntries(clients.map((n) => [`client-${n}`, says(n)]));
  config.static_resources.listeners = clients.map((n) => {
    const listener = structuredClone(pattern);
    listener.name = `client-${n}`;
    listener.address = anyPort();
    const { config } = listener.filter_chains[0].filters[0].typed_config.http_filters[0].typed_config;
    config.configuration.value = JSON.stringify({ metadata_key: `client-${n}` });
    return listener;
  });
  return config;
}

/** The shipped gateway with the exchange, and no direction: it is told who is who, and speaks for itself. */
function exchangingGateway(greeter: number): Bootstrap {
  const config = shipped(GATEWAY, { greeter });
  config.node = { ...config.node, id: GATEWAY_SAYS.id, metadata: { 'istio.io/metadata': GATEWAY_SAYS.metadata } };
  const manager = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
  manager.http_filters.unshift(bridge('responses'), metadataExchange(), bridge('requests'));
  const side = (name: string) => ({
    id: `%FILTER_STATE(wasm.envoy.wasm.metadata_exchange.${name}_id:PLAIN)%`,
    metadata: `%FILTER_STATE(wasm.envoy.wasm.metadata_exchange.${name}:TYPED)%`,
  });
  const fields = { call: '%REQ(X-CALL)%', downstream_peer: side('downstream'), upstream_peer: side('upstream') };
  const type = 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog';
  manager.access_log = [{ name: 'log', typed_config: { '@type': type, log_format: { json_format: fields } } }];
  return config;
}

/** The access log by call, when each of these is in it: once. */
// biome-ignore lint/suspicious/noExplicitAny: any JSON object
async function logOf(envoy: Envoy, calls: number[]): Promise<any[]> {
  const lines = () => envoy.log().match(/^\{.*"call":.*\}$/gm) ?? [];
  await envoy.until(`${calls.length} calls are logged`, () => lines().length >= calls.length);
  const all = lines().map((line) => JSON.parse(line));
  expect(all.map(({ call }) => call).sort()).toEqual(calls.map((n) => `call-${n}`).sort());
  return calls.map((n) => all.find(({ call }) => call === `call-${n}`));
}

interface Says {
  id: string;
  metadata: object;
}

/** Expects the log of a call to have learned nothing, or exactly this. */
function expectToBe(peer: { id: unknown; metadata: { value: unknown } | null }, expected?: Says) {
  expect(peer.id).toBe(expected ? expected.id : null);
  expect(peer.metadata?.value).toEqual(expected?.metadata);
}

describe(`${CALLS} gRPC calls of different clients, open at the same time on one connection`, {
  timeout: 60_000,
}, () => {
  let fleet: Fleet;
  let app: Greeter;
  let greeter: Envoy;

  beforeEach(async () => {
    fleet = new Fleet();
    app = await Greeter.start();
    greeter = await fleet.start('greeter', shipped(GREETER, { app: app.port }));
  });
  afterEach(async () => {
    await fleet[Symbol.asyncDispose]();
    app.stop();
  });

  /** Opens all calls, has them speak in turn, back and forth, and ends them. */
  async function callAll(clients: Envoy, gateway: Envoy): Promise<Call[]> {
    const page = JSON.parse(await clients.admin('/listeners?format=json'));
    const ports = new Map<string, number>(
      page.listener_statuses.map(
        (each: { name: string; local_address: { socket_address: { port_value: number } } }) => [
          each.name,
          each.local_address.socket_address.port_value,
        ],
      ),
    );
    const main = await gateway.port('main');
    const calls = await Promise.all(numbers.map((n) => Call.open(ports.get(`client-${n}`) ?? main, `call-${n}`)));
    expect(await gateway.stat('cluster.greeter.upstream_rq_active')).toBe(CALLS);
    expect(await gateway.stat('cluster.greeter.upstream_cx_total')).toBe(1);
    expect(await greeter.stat('http.inbound.downstream_cx_total')).toBe(1);
    for (const said of ['hello', 'how are you', 'goodbye']) {
      const answers = await Promise.all(calls.map((call) => call.say(said)));
      expect(answers).toEqual(numbers.map((n) => `call-${n}: ${said}`));
    }
    // The last to come are the first to go.
    for (const call of calls.toReversed()) expect(await call.end()).toBe(status.OK);
    for (const metadata of [...app.seen, ...calls.flatMap((call) => call.got)]) {
      expect([metadata.get(METADATA), metadata.get(ID)]).toEqual([[], []]);
    }
    return calls;
  }

  it('are not mixed up by the server behind a gateway that knows nothing of peers', async () => {
    const gateway = await fleet.start('gateway', shipped(GATEWAY, { greeter: await greeter.port('inbound') }));
    const clients = await fleet.start('clients', sidecars(await gateway.port('main')));
    await callAll(clients, gateway);

    const atServer = await logOf(greeter, numbers);
    for (const n of numbers) {
      const peer = hasSidecar(n) ? { id, metadata: says(n) } : undefined;
      expectToBe(atServer[n].downstream_peer, peer);
      expect(atServer[n].downstream_peer.name).toBe(hasSidecar(n) ? `client-${n}` : null);
    }
    expect(new Set(atServer.map(({ connection }) => connection)).size, 'connections').toBe(1);
    const sidecarLines = await logOf(clients, numbers.filter(hasSidecar));
    for (const line of sidecarLines) expectToBe(line.upstream_peer, greeterSays);
  });

  it('are not mixed up by a gateway that exchanges metadata itself', async () => {
    const gateway = await fleet.start('gateway', exchangingGateway(await greeter.port('inbound')));
    const clients = await fleet.start('clients', sidecars(await gateway.port('main')));
    await callAll(clients, gateway);

    const inBetween = await logOf(gateway, numbers);
    for (const n of numbers) {
      const peer = hasSidecar(n) ? { id, metadata: says(n) } : undefined;
      expectToBe(inBetween[n].downstream_peer, peer);
      expectToBe(inBetween[n].upstream_peer, greeterSays);
    }
    for (const line of await logOf(greeter, numbers)) expectToBe(line.downstream_peer, GATEWAY_SAYS);
    const sidecarLines = await logOf(clients, numbers.filter(hasSidecar));
    for (const line of sidecarLines) expectToBe(line.upstream_peer, GATEWAY_SAYS);
  });
});
