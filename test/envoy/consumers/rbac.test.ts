// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Example, OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/consumers/rbac: who may call, by what the peer says of itself. */

describe.each(OLDEST_AND_NEWEST)('RBAC, Envoy %s', (_, version) => {
  let example: Example;

  beforeAll(async () => {
    example = await Example.start('rbac', { version });
  });
  afterAll(() => example?.[Symbol.asyncDispose]());

  /** What loadtest, productpage and then somebody who says nothing are answered. */
  async function answers(path: string): Promise<number[]> {
    const statuses: number[] = [];
    for (const listener of ['loadtest', 'productpage', 'reviews']) {
      statuses.push((await example.send(listener, { path: `${path}${listener}` })).status);
    }
    return statuses;
  }

  test(row('rbac-namespace'), async () => {
    expect(await answers('/namespace/')).toEqual([403, 200, 403]);
  });

  test(row('rbac-app'), async () => {
    expect(await answers('/app/')).toEqual([403, 200, 403]);
  });

  test(row('rbac-id'), async () => {
    expect(await answers('/id/')).toEqual([200, 200, 403]);
    const headers = ['x-istio-peer-id', 'another-node'];
    expect((await example.send('reviews', { path: '/id/another', headers })).status).toBe(403);
  });

  test(row('rbac-condition'), async () => {
    expect(await answers('/expression/')).toEqual([403, 200, 403]);
  });

  test(row('rbac-shadow'), async () => {
    const shadow = (result: string) => example.envoy.stat(`http.reviews.rbac.peer_.shadow_${result}`);
    const before = [await shadow('allowed'), await shadow('denied')];
    expect(await answers('/noted/')).toEqual([200, 200, 200]);
    const results = ['loadtest', 'productpage', 'reviews'].map(async (listener) => {
      return (await example.logged('reviews', `/noted/${listener}`)).shadow_result;
    });
    expect(await Promise.all(results)).toEqual(['denied', 'allowed', 'denied']);
    expect([await shadow('allowed'), await shadow('denied')]).toEqual([before[0] + 1, before[1] + 2]);
  });

  test('who was refused is in the log', async () => {
    await example.send('loadtest', { path: '/app/refused' });
    const { caller, status, details } = await example.logged('reviews', '/app/refused');
    expect([caller, status, details]).toEqual(['loadtest-v1', 403, 'rbac_access_denied_matched_policy[none]']);
  });
});
