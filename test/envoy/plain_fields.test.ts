// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';

/** Fields of a peer as strings of their own, and who reads them. */

const TYPE = 'type.googleapis.com';
const SIDE = 'wasm.envoy.wasm.metadata_exchange';
const [NAMESPACE, APP] = [`${SIDE}.downstream.NAMESPACE`, `${SIDE}.downstream.LABELS.app.kubernetes.io/name`];
const SERVER = `${SIDE}.upstream.NAMESPACE`;
const CONFIG = { publish_fields: ['NAMESPACE', 'LABELS.app.kubernetes.io/name'] };

/** Lets in who says that it is of this namespace. */
const rbac = {
  name: 'rbac',
  typed_config: {
    '@type': `${TYPE}/envoy.extensions.filters.http.rbac.v3.RBAC`,
    rules: {
      policies: {
        peer: {
          permissions: [{ any: true }],
          principals: [{ filter_state: { key: NAMESPACE, string_match: { exact: 'default' } } }],
        },
      },
    },
  },
};

const log = {
  name: 'plain',
  typed_config: {
    '@type': `${TYPE}/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog`,
    log_format: {
      text_format_source: {
        inline_string: `%REQ(:PATH)% ${[
          `%RESPONSE_CODE% %FILTER_STATE(${NAMESPACE}:PLAIN)%`,
          `%FILTER_STATE(${APP}:PLAIN)%`,
          `%CEL(filter_state['${NAMESPACE}'])%`,
          `%CEL(filter_state['${APP}'] == 'shop')%`,
          `%FILTER_STATE(${SERVER}:PLAIN)%`,
          `%CEL(filter_state['${SERVER}'])%`,
        ].join(' | ')}\n`,
      },
    },
  },
};

const peer = (claim: object) => [METADATA, struct.header(claim), ID, 'peer'];

test.each(testedVersions().map((version) => [version ?? process.env.ENVOY, version]))(
  'access logs, CEL and RBAC read them: Envoy %s',
  async (_, version) => {
    await using app = await App.start(() => ({ headers: peer({ NAMESPACE: 'backend', LABELS: {} }) }));
    const config = proxy({
      node: { id: 'own', metadata: { 'istio.io/metadata': { NAME: 'own' } } },
      listeners: [{ name: 'listener', filters: [metadataExchange(CONFIG), rbac] }],
      clusters: { app: { port: app.port } },
    });
    config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.access_log.push(log);
    await using envoy = await Envoy.start(config, { version, workers: 2 });
    const port = await envoy.port('listener');
    const cases: [string, string[], string][] = [
      [
        '/known',
        peer({ NAMESPACE: 'default', LABELS: { 'app.kubernetes.io/name': 'shop' } }),
        '200 default | shop | default | true | backend | backend',
      ],
      ['/other', peer({ NAMESPACE: 'other' }), '403 other | - | other | - | - | -'],
      ['/number', peer({ NAMESPACE: 5 }), '403 - | - | - | - | - | -'],
      ['/nobody', [], '403 - | - | - | - | - | -'],
    ];
    for (const [path, headers, line] of cases) {
      const { status } = await send(port, { path, headers });
      expect(`${status}`, path).toBe(line.slice(0, 3));
      await envoy.until(`the log has “${line}”`, () => envoy.log().includes(`${path} ${line}\n`));
    }
  },
);

test('in Istio’s dialect a recommended label is read before app, as the native filter does; the Struct stays', async () => {
  await using app = await App.start();
  const config = proxy({
    node: { id: 'own', metadata: { 'istio.io/metadata': { NAME: 'own' } } },
    listeners: [
      {
        name: 'listener',
        filters: [metadataExchange({ dialect: 'istio', publish_fields: ['LABELS.app', 'LABELS.version'] })],
      },
    ],
    clusters: { app: { port: app.port } },
  });
  const plain = (path: string) => `%FILTER_STATE(${SIDE}.downstream.${path}:PLAIN)%`;
  const inline = `%REQ(:PATH)% ${plain('LABELS.app')} ${plain('LABELS.version')} %CEL(filter_state['${SIDE}.downstream'].LABELS.app)%\n`;
  const own = {
    ...log,
    typed_config: { ...log.typed_config, log_format: { text_format_source: { inline_string: inline } } },
  };
  config.static_resources.listeners[0].filter_chains[0].filters[0].typed_config.access_log.push(own);
  await using envoy = await Envoy.start(config);
  const LABELS = { app: 'a', version: 'v1', 'app.kubernetes.io/name': 'shop' };
  const headers = ['x-envoy-peer-metadata', struct.header({ LABELS }), 'x-envoy-peer-metadata-id', 'peer'];
  await send(await envoy.port('listener'), { path: '/known', headers });
  await envoy.until('the log names the peer', () => envoy.log().includes('/known shop v1 a\n'));
});
