// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Exchange } from '../../../cli/serve/exchange.ts';
import { History, MINUTES } from '../../../cli/serve/history.ts';
import type { Numbers } from '../../../cli/serve/snapshot.ts';

/** How the live map finds out that an exchange has ended: by what both sides have counted, second by second. */

type Counted = [reporter: 'source' | 'destination', source: string, destination: string, requests: number];

const counted = ([reporter, source_workload, destination_workload, value]: Counted) => ({
  name: 'istio_requests_total',
  labels: { reporter, source_workload, destination_workload, request_protocol: 'http' },
  value,
});

/** Who lost whom after some seconds, in each of which this was counted. */
function lostAfter(seconds: Counted[][], silent: string[] = []): string[] {
  const exchange = new Exchange();
  const start = 1_700_000_000_000;
  for (const [i, each] of seconds.entries()) {
    exchange.observe(
      start + i * 1000,
      each.map(counted),
      [],
      new Set(silent.map((name) => `workload/unknown/${name}/`)),
    );
  }
  const found = exchange.lost(start + (seconds.length - 1) * 1000);
  return found.map(({ observer, peer }) => [observer, peer].map((id) => id.split('/').at(-2)).join(' lost '));
}

const times = (n: number, each: Counted[]) => Array.from({ length: n }, () => each);

const WELL: Counted[] = [
  ['source', 'productpage', 'reviews', 5],
  ['destination', 'productpage', 'reviews', 5],
];

describe('nobody is lost', () => {
  test('while both sides count', () => {
    expect(lostAfter(times(10, WELL))).toEqual([]);
  });

  test('when there are no requests any more', () => {
    expect(lostAfter([...times(5, WELL), ...times(10, [])])).toEqual([]);
  });

  test('when only one side has a sidecar', () => {
    expect(lostAfter(times(10, [['source', 'productpage', 'reviews', 5]]))).toEqual([]);
  });

  test('when a stranger calls beside those who are known', () => {
    expect(lostAfter(times(10, [...WELL, ['destination', 'unknown', 'reviews', 9]]))).toEqual([]);
  });

  test('when a workload goes quiet that a stranger calls, too', () => {
    const stranger: Counted = ['destination', 'unknown', 'reviews', 9];
    expect(lostAfter([...times(10, [...WELL, stranger]), ...times(10, [stranger])])).toEqual([]);
  });

  test('for one request that one side has counted and the other one not yet', () => {
    expect(lostAfter([...times(5, WELL), [['source', 'productpage', 'reviews', 1]], [], [], []])).toEqual([]);
  });

  test('while the other side cannot be asked', () => {
    const half: Counted[] = [['source', 'productpage', 'reviews', 5]];
    expect(lostAfter([...times(5, WELL), ...times(5, half)], ['reviews'])).toEqual([]);
  });
});

describe('a peer is lost', () => {
  test('where the client counts it, and the server counts somebody unknown', () => {
    const broken: Counted[] = [
      ['source', 'productpage', 'reviews', 5],
      ['destination', 'unknown', 'reviews', 5],
    ];
    expect(lostAfter([...times(5, WELL), ...times(3, broken)])).toEqual(['reviews lost productpage']);
  });

  test('where neither side knows the other one any more', () => {
    const broken: Counted[] = [
      ['source', 'productpage', 'unknown', 5],
      ['destination', 'unknown', 'reviews', 5],
    ];
    expect(lostAfter([...times(5, WELL), ...times(3, broken)])).toEqual([
      'productpage lost reviews',
      'reviews lost productpage',
    ]);
  });

  test('until it is known again', () => {
    const broken: Counted[] = [['source', 'productpage', 'unknown', 5]];
    expect(lostAfter([...times(5, WELL), ...times(5, broken)])).not.toEqual([]);
    expect(lostAfter([...times(5, WELL), ...times(5, broken), ...times(1, WELL)])).toEqual([]);
  });
});

describe('the last minutes', () => {
  const numbers = (at: number): Numbers => ({ at, rate: 1, errors: 0, p50: 1, p99: 2, connections: null });

  test('are all that is kept of an edge', () => {
    const history = new History();
    for (let second = 0; second < 2000; second++) history.add('edge', numbers(second * 1000));
    expect(history.of('edge')).toHaveLength(MINUTES * 60 + 1);
    expect(history.of('edge').at(-1)?.at).toBe(1_999_000);
  });

  test('end for an edge that nobody tells of', () => {
    const history = new History();
    history.add('edge', numbers(0));
    history.forget(MINUTES * 60_000);
    expect(history.has('edge')).toBe(true);
    history.forget(MINUTES * 60_000 + 1);
    expect(history.has('edge')).toBe(false);
  });

  test('of any number of edges have a bound: fewer moments each, and no more edges than there is room for', () => {
    const history = new History();
    for (let second = 0; second < 400; second++) {
      for (let edge = 0; edge < 3000; edge++) {
        if (history.hasRoomFor(`${edge}`)) history.add(`${edge}`, numbers(second * 1000));
      }
    }
    const kept = Array.from({ length: 3000 }, (_, edge) => history.of(`${edge}`).length);
    expect(kept.filter((moments) => moments > 0)).toHaveLength(2000);
    expect(kept.reduce((sum, each) => sum + each, 0)).toBeLessThan(2000 * 110);
    expect(history.of('0').at(-1)?.at).toBe(399_000);
  });
});
