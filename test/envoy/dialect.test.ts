// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { App } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { ProxyStand } from '../support/proxy_stand.ts';

const METADATA = 'x-envoy-peer-metadata';
const ID = 'x-envoy-peer-metadata-id';
const FLAT = {
  NAME: 'reviews-v1-7f6d-abcde',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'reviews-v1',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
  LABELS: { app: 'reviews', version: 'v1', 'pod-template-hash': '7f6d' },
  INTERCEPTION_MODE: 'REDIRECT',
};
const NODE = { metadata: FLAT, locality: { region: 'us-east4', zone: 'us-east4-b' } };
const NATIVE = {
  AVAILABILITY_ZONE: 'us-east4-b',
  LABELS: { app: 'reviews', version: 'v1' },
  NAME: FLAT.NAME,
  NAMESPACE: 'default',
  OWNER: FLAT.OWNER,
  REGION: 'us-east4',
  WORKLOAD_NAME: 'reviews-v1',
};

describe("a stock Envoy in Istio's dialect", () => {
  test('answers a sidecar with Istio’s old Wasm plugin, and knows it field by field', async () => {
    const golden = JSON.parse(readFileSync(join(ROOT, 'testkit/golden/istio-wasm-plugin.json'), 'utf8'));
    const header = golden.headers[METADATA];
    await using stand = await ProxyStand.start({ direction: 'INBOUND', config: { dialect: 'istio' }, node: NODE });
    const { answer, seen, learned } = await stand.exchange({ headers: [METADATA, header, ID, golden.headers[ID]] });
    expect(seen?.headers.all(METADATA)).toEqual([]);
    expect(struct.read(Buffer.from(answer.headers.all(METADATA)[0], 'base64'))).toEqual(NATIVE);
    expect(answer.headers.all(ID)).toEqual(['own-node']);
    expect(learned.downstream.struct).toEqual(struct.read(Buffer.from(header, 'base64')));
    expect(learned.downstream.dynamic).toMatchObject({ NAMESPACE: 'default', LABELS: { team: 'storefront-payments' } });
  });

  test('tells a server what Istio’s native filter would', async () => {
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND', config: { dialect: 'istio' }, node: NODE });
    const { seen } = await stand.exchange();
    expect(struct.read(Buffer.from(seen?.headers.all(METADATA)[0] ?? '', 'base64'))).toEqual(NATIVE);
  });
});

describe('clusters that are not of the mesh', () => {
  const config = {
    upstream_discovery: [{ istio_headers: {} }],
    upstream_propagation: [{ istio_headers: { skip_external_clusters: true } }],
  };
  const outside = (istio: object) => ({ metadata: { filter_metadata: { istio } } });

  test.each([
    ['the PassthroughCluster', 'PassthroughCluster', {}],
    ['one that is external', 'elsewhere', outside({ external: true })],
    ['one that wants no exchange', 'elsewhere', outside({ disable_mx: true })],
  ])('%s is told nothing, and gets no forged headers either', async (_, name, more) => {
    await using app = await App.start();
    await using stand = await ProxyStand.start({
      direction: 'OUTBOUND',
      config,
      routes: [
        { match: { prefix: '/out' }, route: { cluster: name } },
        { match: { prefix: '/' }, route: { cluster: 'app' } },
      ],
      clusters: { [name]: { port: app.port, ...more } },
    });
    const forged = ['x-istio-peer-metadata', 'forged', 'x-istio-peer-id', 'forged'];
    await stand.exchange({ path: '/out', headers: forged });
    expect(app.last.headers.peer()).toEqual({});
    const { seen } = await stand.exchange({ path: '/in', headers: forged });
    expect(Object.keys(seen?.headers.peer() ?? {}).length, 'the mesh is told').toBe(2);
  });

  test('in Istio’s dialect `disable_mx` is obeyed without the setting, on requests and on responses; baggage goes', async () => {
    const headers = [{ istio_headers: {} }];
    const istio = {
      dialect: 'istio',
      upstream_propagation: [...headers, { baggage: {} }],
      downstream_propagation: headers,
    };
    for (const [isDisabled, told] of [
      [true, []],
      [false, [METADATA, ID]],
    ] as const) {
      await using app = await App.start();
      await using stand = await ProxyStand.start({
        config: istio,
        node: NODE,
        clusters: { hbone: { port: app.port, ...outside({ disable_mx: isDisabled }) } },
        routes: [{ match: { prefix: '/' }, route: { cluster: 'hbone' } }],
      });
      const { answer } = await stand.exchange({ headers: [METADATA, 'from', ID, 'a peer'] });
      expect([METADATA, ID].filter((name) => app.last.headers.all(name).length)).toEqual(told);
      expect([METADATA, ID].filter((name) => answer.headers.all(name).length)).toEqual(told);
      expect(app.last.headers.all('baggage')[0]).toMatch('k8s.');
    }
  });

  test('without the setting everybody is told', async () => {
    await using stand = await ProxyStand.start({
      direction: 'OUTBOUND',
      config: { ...config, upstream_propagation: [{ istio_headers: { skip_external_clusters: false } }] },
      clusters: {},
      routes: [{ match: { prefix: '/' }, route: { cluster: 'app' } }],
    });
    const { seen } = await stand.exchange();
    expect(Object.keys(seen?.headers.peer() ?? {}).length).toBe(2);
  });
});
