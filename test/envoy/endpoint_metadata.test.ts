// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { learnedOf, NOBODY } from '../../testkit/access_log.ts';
import { testedVersions } from '../../testkit/envoy/binary.ts';
import { metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy, localPort } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { PEER, PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';

/** Who a server without a filter is, as the control plane says it of the endpoint: `istio.workload`, as istiod writes it. */

const TESTED = testedVersions().map((version) => [version ?? process.env.ENVOY, version] as const);
const LISTS = { upstream_discovery: [{ istio_headers: {} }, { endpoint_metadata: {} }] };
const REVIEWS = {
  WORKLOAD_NAME: 'reviews-v1',
  NAMESPACE: 'default',
  CLUSTER_ID: 'Kubernetes',
  LABELS: { 'service.istio.io/canonical-name': 'reviews', 'service.istio.io/canonical-revision': 'v1' },
};

/** What is learned of a server at an endpoint of this metadata, by each of so many requests. */
async function learned(version: string | undefined, istio: object | undefined, headers: string[] = [], requests = 1) {
  await using app = await App.start(() => ({ headers }));
  const metadata = istio && { filter_metadata: { istio } };
  const endpoints = [{ lb_endpoints: [{ endpoint: { address: localPort(app.port) }, metadata }] }];
  await using envoy = await Envoy.start(
    proxy({
      listeners: [{ name: 'listener', direction: 'OUTBOUND', filters: [metadataExchange(LISTS)] }],
      clusters: { app: { port: app.port, load_assignment: { cluster_name: 'app', endpoints } } },
    }),
    { version, workers: 2 },
  );
  const port = await envoy.port('listener');
  const paths = Array.from({ length: requests }, (_, i) => `/${i}`);
  await Promise.all(paths.map((path) => send(port, { path })));
  return await Promise.all(paths.map(async (path) => (await learnedOf(envoy, path)).upstream));
}

describe.each(TESTED)('endpoint metadata, Envoy %s', (_, version) => {
  test('say who a server is that has no filter, on every worker', async () => {
    const all = await learned(version, { workload: 'reviews-v1;default;reviews;v1;Kubernetes' }, [], 20);
    expect(all.map(({ struct }) => struct)).toEqual(Array(20).fill(REVIEWS));
  });

  test('are asked for after the headers, if the list says so', async () => {
    const istio = { workload: 'reviews-v1;default;reviews;v1;Kubernetes' };
    const [found] = await learned(version, istio, [METADATA, PEER_HEADER, ID, PEER_ID]);
    expect([found.struct, found.id]).toEqual([PEER, PEER_ID]);
  });

  test.each([
    ['no metadata', undefined],
    ['none of a workload', { other: 'x' }],
    ['fewer than five parts', { workload: 'a;b;c;d' }],
    ['nothing in five parts', { workload: ';;;;' }],
    ['no text', { workload: { a: ';;;;b' } }],
    ['a control character', { workload: 'a;b\n;c;d;e' }],
  ])('%s: nobody', async (_what, istio) => {
    expect((await learned(version, istio))[0]).toEqual(NOBODY);
  });

  test('more than five parts, and empty ones', async () => {
    const [found] = await learned(version, { workload: 'a;;;;c;more' });
    expect(found.struct).toEqual({ WORKLOAD_NAME: 'a', CLUSTER_ID: 'c', LABELS: {} });
  });
});
