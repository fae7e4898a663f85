// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { type Diagnosis, examine } from '../../../cli/doctor/rules.ts';
import { sourceAt } from '../../../cli/doctor/source.ts';
import { httpListener, metadataExchange, proxy } from '../../../testkit/envoy/config.ts';
import { type Bootstrap, Envoy } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { App, ID, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { WorkloadServer } from '../../../testkit/xds/server.ts';
import { ConfigFiles } from '../../support/config_files.ts';
import { OLDEST_AND_NEWEST } from '../../support/consumers.ts';
import { CLIENT, SERVER } from '../../support/discovery.ts';
import { CASES, linesOf } from '../../support/doctor/examine.ts';
import { exchange, HEADERS, inbound, type Json, NODE, outbound, ROUTE, rbac } from '../../support/doctor/given.ts';
import { asking } from '../../support/doctor/setting_cases.ts';

/** The doctor at the admin pages of real Envoys. */

/** What it says of running Envoys; the first one's findings. */
async function diagnose(...envoys: Envoy[]): Promise<Diagnosis[]> {
  const sources = await Promise.all(envoys.map((each) => sourceAt(each.adminAddress())));
  return examine(sources)[0].diagnoses;
}

const rulesOf = (found: Diagnosis[]) => found.map(({ rule }) => rule);

/** Waits until the module has written its metrics. */
const runs = (envoy: Envoy) =>
  envoy.until('the module runs', async () => (await envoy.stat('wasmcustom.metadata_exchange.configurations')) > 0);

describe('a broken configuration, as a running Envoy shows it', () => {
  const cases = CASES.filter(({ broken, isRefused }) => !broken.stats && !broken.beside && !isRefused);
  const named = cases.map((each, i) => [`${each.rule}, case ${i}`, each] as const);

  test.concurrent.each(named)('%s', { timeout: 120_000 }, async (_, { rule, severity, broken }) => {
    await using envoy = await Envoy.start(broken.config);
    const found = await diagnose(envoy);
    expect(
      found.map((each) => [each.rule, each.severity]),
      linesOf(found).join('\n'),
    ).toContainEqual([rule, severity]);
  });
});

const TO_APP = (port: number) => ({ clusters: { app: { port } } });

/** A server's proxy that answers by itself. */
const answering = (filters: Json[], more: object = {}) =>
  inbound(filters, { routes: [{ match: { prefix: '/' }, direct_response: { status: 200 } }], ...more });

describe('why is the peer unknown?', () => {
  test.each(OLDEST_AND_NEWEST)('it is known: the quick start after a request, Envoy %s', async (_, version) => {
    await using server = await Envoy.start(shipped('envoy/quick-start/server.yaml'), { version });
    const config = shipped('envoy/quick-start/client.yaml', { reviews: await server.port('inbound') });
    await using client = await Envoy.start(config, { version });
    expect((await send(await client.port('outbound'), { path: '/reviews/1' })).status).toBe(200);
    for (const envoy of [client, server]) {
      await runs(envoy);
      expect(linesOf(await diagnose(envoy, envoy === client ? server : client))).toEqual([]);
    }
  });

  test('the client speaks another dialect: both sides say so', async () => {
    // Envoy writes the colon as an underscore in its statistics.
    const manager = { stat_prefix: 'inbound:main' };
    await using server = await Envoy.start(answering([exchange()], { manager }));
    const to = TO_APP(await server.port('main'));
    await using client = await Envoy.start(outbound([exchange({ dialect: 'istio' })], to));
    await send(await client.port('main'), {});
    await Promise.all([runs(client), runs(server)]);
    const [atClient, atServer] = [await diagnose(client, server), await diagnose(server, client)];
    expect(rulesOf(atClient)).toEqual(['other-headers', 'nothing-arrives']);
    expect(rulesOf(atServer)).toEqual(['other-headers', 'nothing-arrives']);
    expect(atClient[0].what).toContain(`; ${server.adminAddress()} reads x-istio-peer-metadata and x-istio-peer-id.`);
    expect(atServer[0].what).toContain(`; ${client.adminAddress()} tells it in x-envoy-peer-metadata and `);
    expect(atServer[1].what).toBe('1 request came, and no client told its metadata.');
    for (const [, { causes, todo }] of [atClient, atServer]) {
      expect(causes).toMatchObject([{ rule: 'other-headers' }]);
      expect(todo).toBe('see other-headers here.');
    }
  });

  test('the client’s filter never runs: a filter before it answers', async () => {
    await using client = await Envoy.start(outbound([fault, exchange()]));
    expect((await send(await client.port('main'), {})).status).toBe(418);
    await runs(client);
    const found = await diagnose(client);
    expect(rulesOf(found)).toContain('nothing-sent');
  });

  test('the headers cannot be read: each cause by its name', async () => {
    await using server = await Envoy.start(answering([exchange({ max_header_size: 300 })]));
    const port = await server.port('main');
    const tell = (metadata: string, id = 'client') => send(port, { headers: [METADATA, metadata, ID, id] });
    await tell('!!!!');
    await tell(Buffer.from([0xff]).toString('base64'));
    await tell(struct.header({ NAME: 'a\nb' }));
    await tell(struct.header({ NAME: 'x'.repeat(400) }));
    await runs(server);
    const found = (await diagnose(server)).filter(({ rule }) => /refused|oversize/.test(rule));
    expect(found.map(({ what }) => what.replace(/:.*/, ''))).toEqual([
      '1 peer header could not be read (refused_base64)',
      '1 peer header could not be read (refused_protobuf)',
      '1 peer header could not be read (refused_control)',
      'Larger than max_header_size of this proxy, and not read',
    ]);
  });

  test('the certificate proves nothing: there is none', async () => {
    await using server = await Envoy.start(answering([exchange({ verify_peer: { mode: 'mark' } })]));
    await send(await server.port('main'), { headers: [METADATA, struct.header({ NAMESPACE: 'default' })] });
    await runs(server);
    const rules = rulesOf(await diagnose(server));
    expect(rules).toEqual(['verify-without-certificates', 'unverified']);
  });

  test('the own metadata was cut, as the running module counts it', async () => {
    const metadata = { 'istio.io/metadata': { NAME: 'a', NOTES: 'x'.repeat(5000) } };
    await using server = await Envoy.start(answering([exchange()], { node: { ...NODE, metadata } }));
    await runs(server);
    expect(await server.stat('wasmcustom.metadata_exchange.own_fields_left_out')).toBeGreaterThan(0);
    const found = await diagnose(server);
    expect(rulesOf(found)).toEqual(['own-metadata-cut']);
    expect(found[0].what).toMatch(/not sent are 1 fields: NOTES\.$/);
  });
});

const fault = {
  name: 'fault',
  typed_config: {
    '@type': 'type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault',
    abort: { http_status: 418, percentage: { numerator: 100 } },
  },
};

describe('what a control plane sends', () => {
  const WASM = 'type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm';
  const RBAC = 'type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC';

  /** A filter whose configuration comes by ECDS. */
  const discovered = (files: ConfigFiles, more: object = {}): Json => ({
    name: 'default.metadata-exchange',
    config_discovery: { config_source: files.source('ecds'), type_urls: [WASM, RBAC], ...more },
  });

  const withDefault = { default_config: rbac().typed_config, apply_default_config_without_warming: true };

  test('a filter that came by ECDS is found, and is in order', async () => {
    using files = new ConfigFiles();
    files.write('ecds', [{ name: 'default.metadata-exchange', typed_config: exchange().typed_config }]);
    await using envoy = await Envoy.start(answering([discovered(files)]));
    await runs(envoy);
    expect(linesOf(await diagnose(envoy))).toEqual([]);
  });

  test('one that has not come, with RBAC in its place', async () => {
    using files = new ConfigFiles();
    files.write('ecds', []);
    await using envoy = await Envoy.start(answering([discovered(files, withDefault)]));
    const found = await diagnose(envoy);
    expect(rulesOf(found)).toEqual(['not-loaded']);
    expect(found[0].what).toContain('the module could not be downloaded');
  });

  test('listeners that Envoy refuses: with its own words', async () => {
    using files = new ConfigFiles();
    const filters = [metadataExchange({ max_header_size: 'many' })];
    files.write('lds', [httpListener({ name: 'main', direction: 'INBOUND', filters })]);
    const config: Bootstrap = proxy({ node: NODE, listeners: [], clusters: { app: { port: 1 } } });
    await using envoy = await Envoy.start({
      ...config,
      dynamic_resources: { lds_config: files.source('lds') },
    });
    await envoy.until('the listener is refused', () => envoy.log().includes('configuration refused'));
    const found = await diagnose(envoy);
    expect(rulesOf(found)).toContain('refused-by-envoy');
    expect(found[0]).toMatchObject({ rule: 'refused-by-envoy', where: 'main' });
    expect(found[0].what).toContain('Unable to create Wasm plugin');
  });
});

describe('workload discovery', () => {
  const by = (port: number) => asking({ port, http2: { connection_keepalive: { interval: '30s', timeout: '5s' } } });
  const stat = (envoy: Envoy, name: string) => envoy.stat(`wasmcustom.metadata_exchange.discovery_${name}`);

  test('nobody is at the control plane’s address', async () => {
    await using envoy = await Envoy.start(by(1));
    await envoy.until('it has tried', async () => (await stat(envoy, 'failures')) > 0);
    expect(rulesOf(await diagnose(envoy))).toEqual(['discovery-disconnected']);
  });

  test('it tells of workloads: all is well', async () => {
    await using server = await WorkloadServer.start({ workloads: [CLIENT, SERVER] });
    await using envoy = await Envoy.start(by(server.port));
    await envoy.until('it knows them', async () => (await stat(envoy, 'workloads')) === 2);
    expect(linesOf(await diagnose(envoy))).toEqual([]);
  });
});

test('routes that come by RDS count as if they stood in the listener', async () => {
  await using app = await App.start();
  const config = outbound([exchange({ upstream_discovery: HEADERS, upstream_propagation: HEADERS })], TO_APP(app.port));
  const manager = config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config;
  const disabled = { '@type': 'type.googleapis.com/envoy.config.route.v3.FilterConfig', disabled: true };
  using files = new ConfigFiles();
  files.write('rds', [
    {
      name: 'routes',
      virtual_hosts: [
        { name: 'all', domains: ['*'], routes: [ROUTE], typed_per_filter_config: { metadata_exchange: disabled } },
      ],
    },
  ]);
  delete manager.route_config;
  manager.rds = { route_config_name: 'routes', config_source: files.source('rds') };
  await using envoy = await Envoy.start(config);
  expect((await send(await envoy.port('main'), {})).status).toBe(200);
  const found = await diagnose(envoy);
  expect(found.find(({ rule }) => rule === 'switched-off')?.what).toContain('switched off for the virtual host all');
});
