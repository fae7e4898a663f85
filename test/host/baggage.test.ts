// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import golden from '../../testkit/golden/istio-wasm-plugin.json' with { type: 'json' };
import { Host } from '../../testkit/host/host.ts';
import { node } from '../../testkit/host/node.ts';
import { struct } from '../../testkit/struct.ts';

/**
 * W3C baggage as Istio's native filter has it: `WorkloadMetadataObject::baggage` and `convertBaggageToWorkloadMetadata`
 * of envoyproxy/envoy, contrib/istio/filters/common/source/metadata_object.cc (2026), read line by line.
 */

const WORKLOAD = 'k8s.deployment.name=reviews-v1';
const FLAT = {
  NAME: 'reviews-v1-7f6d',
  NAMESPACE: 'default',
  WORKLOAD_NAME: 'reviews-v1',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
};

describe('baggage is written in native’s order and form', () => {
  function written(fields: Parameters<typeof node>[0]): string {
    const host = new Host({ 'xds.node': node({ id: 'own-id', ...fields }) });
    const config = { dialect: 'istio', upstream_propagation: [{ baggage: {} }] };
    const root = host.configure(JSON.stringify(config)) as number;
    return host.stream(root).onRequest().request[0][1];
  }

  test('the sample node of Istio’s own tests', () => {
    expect(written({ metadata: golden.decoded })).toBe(
      'k8s.deployment.name=productpage-v1,service.name=productpage-v1,app.name=productpage,service.version=version-1,' +
        'app.version=v1,k8s.namespace.name=default,k8s.cluster.name=client-cluster,' +
        'k8s.instance.name=productpage-v1-84975bc778-pxz2w',
    );
  });

  test('with the locality behind all else', () => {
    const locality = { region: 'us-east4', zone: 'us-east4-b' };
    expect(written({ metadata: FLAT, locality })).toBe(
      `${WORKLOAD},k8s.namespace.name=default,k8s.instance.name=reviews-v1-7f6d,` +
        'cloud.region=us-east4,cloud.availability_zone=us-east4-b',
    );
  });

  const [NAME, REVISION] = ['service.istio.io/canonical-name', 'service.istio.io/canonical-revision'];
  test.each([
    [{ [NAME]: 'a', app: 'a', [REVISION]: '1', version: '1' }, 'service.name=a,service.version=1'],
    [{ [NAME]: 'a', app: 'b' }, 'service.name=a,app.name=b'],
    [{ app: 'a', version: '1' }, 'app.name=a,app.version=1'],
    [{ [NAME]: 'a', [REVISION]: '1', version: '2' }, 'service.name=a,service.version=1,app.version=2'],
  ])('labels %j', (LABELS, expected) => {
    expect(written({ metadata: { WORKLOAD_NAME: 'w', LABELS } })).toBe(`k8s.pod.name=w,${expected}`);
  });
});

describe('baggage is read with native’s fallbacks', () => {
  function read(baggage: string): Record<string, unknown> {
    const host = new Host({ 'xds.node': node({ id: 'own-id' }) });
    const root = host.configure('{"downstream_discovery": [{"baggage": {}}]}') as number;
    const { filterState } = host.stream(root).onRequest(['baggage', baggage]);
    return struct.read(filterState['envoy.wasm.metadata_exchange.downstream']);
  }
  const labels = (name: string, app: string) => ({ 'service.istio.io/canonical-name': name, app });
  const versions = (revision: string, version: string) => ({
    'service.istio.io/canonical-revision': revision,
    version,
  });

  test.each([
    ['service.name=a', labels('a', 'a')],
    ['app.name=a', labels('a', 'a')],
    ['app.name=a,service.name=b', labels('b', 'a')],
    ['service.version=1', versions('1', '1')],
    ['app.version=1', versions('1', '1')],
    ['service.version=1,app.version=2', versions('1', '2')],
    ['service.name=,app.name=a', labels('a', 'a')],
  ])('%s', (baggage, expected) => {
    expect(read(baggage)).toEqual({ LABELS: expected });
  });

  test('the locality', () => {
    const locality = 'cloud.availability_zone=us-east4-b,cloud.region=us-east4';
    expect(read(locality)).toEqual({ REGION: 'us-east4', AVAILABILITY_ZONE: 'us-east4-b', LABELS: {} });
  });
});

describe('baggage as an answer', () => {
  const ANSWERING = { downstream_propagation: [{ baggage: {} }] };
  function answered(request: [string, string][], response: [string, string][] = [], config: object = ANSWERING) {
    const metadata = { 'istio.io/metadata': { NAME: 'own' } };
    const host = new Host({ 'xds.node': node({ id: 'own-id', metadata }) });
    const root = host.configure(JSON.stringify(config)) as number;
    const stream = host.stream(root).onRequest(...request);
    expect(stream.request, 'the request goes on as it came').toEqual(request);
    return { stream, response: stream.onResponse(...response).response };
  }
  const SAID: [string, string] = ['baggage', 'userId=alice,k8s.namespace.name=default'];
  const OWN: [string, string] = ['baggage', 'k8s.instance.name=own'];

  test('is given to a client whose baggage says who it is, be it by an empty member', () => {
    expect(answered([SAID]).response).toEqual([OWN]);
    expect(answered([['baggage', 'app.name=']]).response).toEqual([OWN]);
    expect(answered([['baggage', 'userId=alice']]).response).toEqual([]);
    expect(answered([]).response).toEqual([]);
  });

  test('goes behind the application’s, in place of what it passed on of another workload', () => {
    const response: [string, string][] = [['baggage', 'mine=1,k8s.instance.name=other']];
    expect(answered([SAID], response).response).toEqual([['baggage', 'mine=1,k8s.instance.name=own']]);
    expect(answered([['baggage', 'a=b']], response).response, 'who did not ask gets the application’s').toEqual(
      response,
    );
  });

  test('is given after a redirect, too, by what the client said the first time', () => {
    const config = { ...ANSWERING, upstream_propagation: [{ baggage: {} }] };
    const metadata = { 'istio.io/metadata': { NAME: 'own' } };
    const host = new Host({ 'xds.node': node({ id: 'own-id', metadata }) });
    const root = host.configure(JSON.stringify(config)) as number;
    for (const [first, expected] of [
      [[SAID], [OWN]],
      [[], []],
    ] as [[string, string][], [string, string][]][]) {
      const stream = host.stream(root).onRequest(...first);
      stream.onResponse();
      expect(stream.redirect().onResponse().response).toEqual(expected);
    }
  });

  test('and the headers are answered each for itself', () => {
    const both = { downstream_propagation: [{ baggage: {} }, { istio_headers: {} }] };
    expect(answered([SAID], [], both).response).toEqual([OWN]);
  });
});
