// SPDX-License-Identifier: Apache-2.0
import { expect, test } from 'vitest';
import { Sidecar } from '../../../cli/serve/sidecar.ts';
import { App } from '../../../testkit/http.ts';

/** One Envoy that the live map asks again and again: pages as it would write them. */

const ENDS = 'reporter="source",source_workload="shop",destination_workload="cart"';

test('what it counted before it was asked, or while it was silent, is not of the last seconds', async () => {
  let answer = { status: 200, count: 1000 };
  await using app = await App.start(() => ({
    status: answer.status,
    body: `istio_requests_total{${ENDS}} ${answer.count}\n`,
  }));
  const sidecar = new Sidecar(`127.0.0.1:${app.port}`);
  const counted = async (status: number, count: number) => {
    answer = { status, count };
    await sidecar.ask(10);
    return sidecar.grown(10).map(({ value }) => value);
  };
  // That there is an edge is known at once.
  expect(await counted(200, 1000)).toEqual([0]);
  const [grown] = await counted(200, 1010);
  expect(grown).toBeGreaterThanOrEqual(10);
  expect(sidecar.grownOf(['istio_requests_total']).map(({ value }) => value)).toEqual([10]);

  expect(await counted(503, 1500)).toEqual([]);
  expect(sidecar.silent?.reason).toContain('answered 503');
  const { since } = sidecar.silent ?? {};
  await counted(503, 1600);
  expect(sidecar.silent?.since).toBe(since);
  // Its edges are still known.
  expect(sidecar.standing.map(({ value }) => value)).toEqual([1010]);

  expect(await counted(200, 2000)).toEqual([]);
  expect(sidecar.silent).toBeUndefined();
  await counted(200, 2005);
  expect(sidecar.grownOf(['istio_requests_total']).map(({ value }) => value)).toEqual([5]);
  // It has started anew.
  await counted(200, 3);
  expect(sidecar.grownOf(['istio_requests_total']).map(({ value }) => value)).toEqual([3]);
});
