// SPDX-License-Identifier: Apache-2.0
import { describe, test } from 'vitest';
import { App, ID, METADATA, send } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { expectCounts, OLDEST_AND_NEWEST, startCounting, workload } from '../../support/traffic.ts';

/** Who reports: the direction of the listener says it, and with lists nothing else does. */

const FROM_PRODUCTPAGE = [METADATA, struct.header(workload('productpage')), ID, 'productpage'];
const FROM_RATINGS = [METADATA, struct.header(workload('ratings')), ID, 'ratings'];
const HEADERS = [{ istio_headers: {} }];
const BOTH = {
  downstream_discovery: HEADERS,
  upstream_discovery: HEADERS,
  downstream_propagation: HEADERS,
  upstream_propagation: HEADERS,
};

describe.each(OLDEST_AND_NEWEST)('who reports, Envoy %s', (_, version) => {
  const edge = async (direction: 'INBOUND' | 'OUTBOUND' | undefined, config: object, expected: string) => {
    await using app = await App.start(() => ({ headers: FROM_RATINGS }));
    const { envoy, port } = await startCounting({ version, direction, config, clusters: { app: { port: app.port } } });
    await using _ = envoy;
    for (let i = 0; i < 3; i++) await send(port, { headers: FROM_PRODUCTPAGE });
    await expectCounts(envoy, 'reporter source_workload destination_workload', { [expected]: 3 });
  };

  test('at an inbound listener the server does, whoever stands behind', async () => {
    await edge('INBOUND', {}, 'destination productpage-v1 reviews-v1');
    await edge('INBOUND', BOTH, 'destination productpage-v1 reviews-v1');
  });

  test('at an outbound listener the client does, whoever it got the request from', async () => {
    await edge('OUTBOUND', {}, 'source reviews-v1 ratings-v1');
    await edge('OUTBOUND', BOTH, 'source reviews-v1 ratings-v1');
  });

  test('in the middle it is a waypoint, and both sides are others', async () => {
    await edge(undefined, {}, 'waypoint productpage-v1 ratings-v1');
    await edge(undefined, BOTH, 'waypoint productpage-v1 ratings-v1');
  });
});
