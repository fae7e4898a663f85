// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { expectPeer, type Learned, learnedOf, NOBODY } from '../../testkit/access_log.ts';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { bridge, metadataExchange, probe, proxy, wasm } from '../../testkit/envoy/config.ts';
import { type Bootstrap, Envoy, validate } from '../../testkit/envoy/process.ts';
import { type Answer, App, send } from '../../testkit/http.ts';

/**
 * The whole exchange once on every Envoy that the filter says it runs on: a client's sidecar, a proxy in the middle and
 * a server's sidecar, all of that version.
 */

const TYPE = 'type.googleapis.com';
const PEERS = 'wasm.envoy.wasm.metadata_exchange';

/** What a proxy says of itself, under a key that it must be told of. */
const says = (name: string) => ({
  NAME: name,
  LABELS: { app: name, version: 'v1' },
  PORTS: [{ port: 9080, ready: true }, null, 'http'],
  unicode: 'Grüße 世界 😀',
});
const CONFIG = { metadata_key: 'told/of' };

/** The same configuration in the two messages that users give it in. */
const CONFIGURED = {
  'as StringValue': metadataExchange(CONFIG),
  'as Struct': wasm('metadata_exchange', { '@type': `${TYPE}/google.protobuf.Struct`, value: CONFIG }),
};

interface Role {
  name: string;
  direction?: 'INBOUND' | 'OUTBOUND';
  configured: keyof typeof CONFIGURED;
  port: number;
}

function sidecar({ name, direction, configured, port }: Role): Bootstrap {
  const filters = [bridge('responses'), probe('probe responses'), CONFIGURED[configured], probe(), bridge()];
  const config = proxy({
    node: { id: `${name}-node`, metadata: { 'told/of': says(name), 'istio.io/metadata': { NAME: 'not this one' } } },
    listeners: [{ name: 'listener', direction, filters }],
    clusters: { app: { port } },
  });
  const [{ typed_config: manager }] = config.static_resources.listeners[0].filter_chains[0].filters;
  const nameOf = (side: string) => `%CEL(filter_state['${PEERS}.${side}'].NAME)%`;
  manager.access_log.push({
    name: 'names that CEL found',
    typed_config: {
      '@type': `${TYPE}/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`,
      log_format: { text_format_source: { inline_string: `CEL: ${nameOf('downstream')} ${nameOf('upstream')}\n` } },
    },
  });
  return config;
}

// Where ENVOY names an Envoy it is that one alone.
const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version]);

describe.each(TESTED)('Envoy %s', (_, version) => {
  let app: App;
  let client: Envoy;
  let middle: Envoy;
  let server: Envoy;
  let answer: Answer;
  let learned: { client: Learned; middle: Learned; server: Learned };

  beforeAll(async () => {
    app = await App.start();
    const start = (role: Role) => Envoy.start(sidecar(role), { name: role.name, version });
    server = await start({ name: 'server', direction: 'INBOUND', configured: 'as Struct', port: app.port });
    middle = await start({ name: 'middle', configured: 'as StringValue', port: await server.port('listener') });
    client = await start({
      name: 'client',
      direction: 'OUTBOUND',
      configured: 'as Struct',
      port: await middle.port('listener'),
    });
    answer = await send(await client.port('listener'), { path: '/through-all' });
    learned = {
      client: await learnedOf(client, '/through-all'),
      middle: await learnedOf(middle, '/through-all'),
      server: await learnedOf(server, '/through-all'),
    };
  });
  afterAll(async () => {
    for (const envoy of [client, middle, server]) await envoy?.stop();
    await app?.[Symbol.asyncDispose]();
  });

  test('is of this version, and runs the module', async () => {
    const { version: running } = JSON.parse(await server.admin('/server_info'));
    if (version) expect(running.split('/')[1]).toBe(version);
    expect(await server.stat('wasm.envoy.wasm.runtime.v8.active')).toBeGreaterThan(0);
  });

  test('tells each proxy who is before and behind it, in filter state and dynamic metadata', () => {
    const expected = [
      [learned.client.downstream, undefined],
      [learned.client.upstream, 'middle'],
      [learned.middle.downstream, 'client'],
      [learned.middle.upstream, 'server'],
      [learned.server.downstream, 'middle'],
      [learned.server.upstream, undefined],
    ] as const;
    for (const [peer, name] of expected) {
      if (name) expectPeer(peer, says(name), `${name}-node`);
      else expect(peer).toEqual(NOBODY);
      expect(peer.dynamic).toEqual(name && says(name));
      expect(peer.raw === undefined).toBe(name === undefined);
    }
  });

  test('lets CEL walk what was learned', async () => {
    for (const [envoy, line] of [
      [client, 'CEL: - middle'],
      [middle, 'CEL: client server'],
      [server, 'CEL: middle -'],
    ] as const) {
      await envoy.until(`the access log has “${line}”`, () => envoy.log().includes(`${line}\n`));
    }
  });

  test('shows neither the application nor the client a peer header', () => {
    expect([answer.status, answer.headers.peer()]).toEqual([200, {}]);
    expect(app.last.headers.peer()).toEqual({});
  });

  test('refuses a configuration with a mistake, and says where it is', async () => {
    const config = proxy({
      listeners: [{ name: 'listener', filters: [metadataExchange({ headers: { metadata: 5 } })] }],
      clusters: { app: { port: app.port } },
    });
    const { valid, log } = await validate(config, version);
    expect(valid).toBe(false);
    expect(log).toContain('configuration refused at byte 23: headers.metadata: expected a string, found a number');
  });
});
