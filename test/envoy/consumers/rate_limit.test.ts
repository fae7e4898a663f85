// SPDX-License-Identifier: Apache-2.0
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Example, OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/consumers/rate-limit: four requests for each app, two for the namespace `testing`, one for all the unknown. */

const OK = 200;
const TOO_MANY = 429;

describe.each(OLDEST_AND_NEWEST)('rate limits, Envoy %s', (_, version) => {
  let example: Example;

  beforeAll(async () => {
    example = await Example.start('rate-limit', { version });
  });
  afterAll(() => example?.[Symbol.asyncDispose]());

  async function statuses(listener: string, count: number): Promise<number[]> {
    const statuses: number[] = [];
    while (statuses.length < count) statuses.push((await example.send(listener, {})).status);
    return statuses;
  }

  test(row('rate-limit-app'), async () => {
    expect(await statuses('productpage', 6)).toEqual([OK, OK, OK, OK, TOO_MANY, TOO_MANY]);
    expect(await statuses('reviews', 2), 'who says nothing has the default bucket').toEqual([OK, TOO_MANY]);
    expect(await example.envoy.stat('by_app.http_local_rate_limit.enforced')).toBe(3);
  });

  test(row('rate-limit-expression'), async () => {
    expect(await statuses('loadtest', 3), 'its app has a bucket of its own').toEqual([OK, OK, TOO_MANY]);
    expect(await example.envoy.stat('by_namespace.http_local_rate_limit.enforced')).toBe(1);
  });
});
