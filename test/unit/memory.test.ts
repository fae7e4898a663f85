// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { always } from '../../testkit/random.ts';
import { load } from './support.ts';

const HOME = 131072;
const PAGE = 65536;

/** Fills what was handed out, to see whether it overlaps with something else. */
function fill(memory: WebAssembly.Memory, at: number, size: number, value: number): void {
  new Uint8Array(memory.buffer, at, size).fill(value);
}

function isFilled(memory: WebAssembly.Memory, at: number, size: number, value: number): boolean {
  return Buffer.alloc(size, value).equals(new Uint8Array(memory.buffer, at, size));
}

describe('blocks', () => {
  test('are aligned to eight bytes and have room for what was asked for, apart from all others', () => {
    always(20, (random) => {
      const { call, memory } = load();
      const taken = new Map<number, { size: number; value: number }>();
      for (let step = 0; step < 200; step++) {
        if (taken.size > 0 && random.oneIn(3)) {
          const at = random.pick([...taken.keys()]);
          const { size, value } = taken.get(at)!;
          expect(isFilled(memory, at, size, value)).toBe(true);
          taken.delete(at);
          call.giveBlock(at);
        } else {
          const size = random.below(random.pick([10, 100, 5000]));
          const at = call.takeBlock(size);
          expect(at).toBeGreaterThan(0);
          expect(at % 8).toBe(0);
          taken.set(at, { size, value: step & 0xff });
          fill(memory, at, size, step & 0xff);
        }
      }
      for (const [at, { size, value }] of taken) expect(isFilled(memory, at, size, value)).toBe(true);
    });
  });

  test('that were given back serve again: 10,000 listener updates take no more memory than the first two', () => {
    const { call, memory } = load();
    const owners = new Set<number>();
    let size = 0;
    let old = 0;
    for (let update = 0; update < 10_000; update++) {
      const owner = call.takeBlock(40);
      for (const each of [0, 24, 25, 500, 4000, 70_000]) if (!call.takeFor(owner, each)) expect.fail('no memory');
      if (old) call.giveAll(old);
      old = owner;
      owners.add(owner);
      if (update === 1) size = memory.buffer.byteLength;
    }
    expect(memory.buffer.byteLength).toBe(size);
    expect(owners.size).toBeLessThan(10);
  });

  test('taken for an owner go back with it, each of them once, and those of another owner stay', () => {
    const { call, memory } = load();
    const taken = (owner: number) => [owner, ...Array.from({ length: 10 }, () => call.takeFor(owner, 50))];
    const first = taken(call.takeBlock(50));
    const second = taken(call.takeBlock(50));
    for (const at of second) fill(memory, at, 50, 2);
    call.giveAll(first[0]);
    const again = Array.from({ length: first.length }, () => call.takeBlock(50));
    expect([...again].sort()).toEqual([...first].sort());
    for (const at of again) fill(memory, at, 50, 1);
    expect(second.every((at) => isFilled(memory, at, 50, 2))).toBe(true);
    expect(first).not.toContain(call.takeBlock(50));
  });

  test('are no more when memory is at its maximum: the answer is 0, and what is given back can be taken again', () => {
    const { call, memory } = load();
    const all = () => {
      const taken: number[] = [];
      for (let at = call.takeBlock(500_000); at; at = call.takeBlock(500_000)) taken.push(at);
      return taken;
    };
    const first = all();
    expect(first.length).toBeGreaterThan(50);
    expect(memory.buffer.byteLength).toBeLessThanOrEqual(512 * PAGE);
    expect(call.takeFor(first[0], 500_000)).toBe(0);
    for (const at of first) call.giveAll(at);
    expect(all().sort()).toEqual(first.sort());
  });

  test.each([[2 ** 24], [2 ** 31], [2 ** 32 - 9], [2 ** 32 - 8], [2 ** 32 - 1]])(
    'of %i bytes there are none',
    (size) => {
      const { call, memory } = load();
      const before = memory.buffer.byteLength;
      expect(call.takeBlock(size)).toBe(0);
      expect(call.takeFor(call.takeBlock(1), size)).toBe(0);
      expect(memory.buffer.byteLength).toBe(before);
    },
  );
});

describe('the arena', () => {
  test('hands out memory in a row, aligned to eight bytes, until it is used up', () => {
    always(20, (random) => {
      const { call } = load();
      const start = call.take(0);
      let end = start;
      for (;;) {
        const size = random.below(5000);
        const at = call.take(size);
        if (at === 0) {
          expect(end + size).toBeGreaterThan(start + HOME);
          expect(call.refused()).toBe(size);
          break;
        }
        expect(at % 8).toBe(0);
        expect(at).toBeGreaterThanOrEqual(end);
        expect(at - end).toBeLessThan(8);
        end = at + size;
      }
    });
  });

  test('has exactly 128 KiB', () => {
    const { call } = load();
    expect(call.take(HOME + 1)).toBe(0);
    expect(call.take(HOME)).toBeGreaterThan(0);
    expect(call.take(1)).toBe(0);
  });

  test('starts over from where it began', () => {
    const { call } = load();
    const first = call.take(100);
    expect(call.take(HOME)).toBe(0);
    expect(call.refused()).toBe(HOME);
    call.startOver();
    expect(call.refused()).toBe(0);
    expect(call.take(HOME)).toBe(first);
  });

  test('refuses what does not fit, and goes on with what does', () => {
    const { call } = load();
    const first = call.take(8);
    for (const size of [HOME, 2 ** 31, 2 ** 32 - 8, 2 ** 32 - 1]) {
      expect(call.take(size)).toBe(0);
      expect(call.refused() >>> 0).toBe(size);
    }
    expect(call.take(8)).toBe(first + 8);
  });

  test('can be made larger until it starts over; what was taken before stays', () => {
    const { call, memory } = load();
    const before = call.take(1000);
    fill(memory, before, 1000, 1);
    for (const size of [200_000, 300_000]) {
      expect(call.reserve(size)).toBe(1);
      const at = call.take(size);
      expect(at).toBeGreaterThan(0);
      fill(memory, at, size, 2);
      expect(call.take(1)).toBe(0);
    }
    expect(isFilled(memory, before, 1000, 1)).toBe(true);
    call.startOver();
    expect(call.take(HOME + 1)).toBe(0);
    expect(call.take(HOME)).toBe(before);
  });

  test('takes no memory for what fits already', () => {
    const { call, memory } = load();
    const before = memory.buffer.byteLength;
    const first = call.take(8);
    expect(call.reserve(HOME - 8)).toBe(1);
    expect(call.take(HOME - 8)).toBe(first + 8);
    expect(memory.buffer.byteLength).toBe(before);
  });

  test('gives back what it was made larger with: 10,000 configurations take no more memory than one', () => {
    const { call, memory } = load();
    let size = 0;
    for (let i = 0; i < 10_000; i++) {
      call.startOver();
      for (const each of [150_000, 200_000, 400_000]) {
        if (!call.reserve(each) || !call.take(each)) expect.fail('no memory');
      }
      if (i === 0) size = memory.buffer.byteLength;
    }
    expect(memory.buffer.byteLength).toBe(size);
  });

  test('stays as it is if there is no memory to make it larger', () => {
    const { call } = load();
    const first = call.take(8);
    expect(call.reserve(2 ** 30)).toBe(0);
    expect(call.take(8)).toBe(first + 8);
  });
});

describe('the table of streams', () => {
  const ROWS = 4096;
  const PLACES_IN_ROW = 8;

  /** The table beside a Map that must say the same, in the order in which streams began. */
  function tables() {
    const { call, memory } = load();
    const model = new Map<number, { owner: number; known: number }>();
    /** The ids in each row, the oldest first. */
    const rows = Array.from({ length: ROWS }, () => [] as number[]);
    const placeAt = (at: number) => new Uint32Array(memory.buffer, at, 3);
    return {
      call,
      model,
      claim(id: number, owner: number, known: number) {
        const row = rows[id % ROWS];
        if (row.length === PLACES_IN_ROW) model.delete(row.shift() as number);
        row.push(id);
        call.claim(id, owner);
        const place = placeAt(call.find(id));
        if (place[0] !== id || place[1] !== owner || place[2] !== 0) expect.fail(`id ${id}: claimed ${place}`);
        place[2] = known;
        model.set(id, { owner, known });
      },
      release(id: number) {
        call.release(call.find(id));
        model.delete(id);
        rows[id % ROWS] = rows[id % ROWS].filter((other) => other !== id);
      },
      check(id: number) {
        const at = call.find(id);
        const [foundId, owner, known] = at ? placeAt(at) : [];
        const place = model.get(id);
        const agrees = place ? foundId === id && owner === place.owner && known === place.known : at === 0;
        if (!agrees) expect.fail(`id ${id}: found ${[foundId, owner, known]}, not ${JSON.stringify(place)}`);
      },
    };
  }

  test('knows streams that wait, and of a row that is full forgets the one that began first', () => {
    always(30, (random) => {
      const table = tables();
      const ids: number[] = [];
      // Ids count up through a few rows, on both sides of the table's end.
      for (let lap = 0; lap < 40; lap++) for (const row of [0, 1, ROWS - 1]) ids.push(1 + row + lap * ROWS);
      for (const [i, id] of ids.entries()) {
        table.claim(id, random.below(2 ** 32), random.below(2 ** 32));
        const waiting = [...table.model.keys()];
        if (random.oneIn(2)) table.release(random.pick(waiting));
        for (const each of ids.slice(0, i + 3)) table.check(each);
      }
    });
  });

  test('counts on when ids begin anew', () => {
    const table = tables();
    const last = 2 ** 32 - ROWS;
    for (let lap = PLACES_IN_ROW - 1; lap >= 0; lap--) table.claim(last - lap * ROWS, 1, lap);
    table.claim(ROWS, 2, 2);
    for (let lap = 0; lap < PLACES_IN_ROW; lap++) table.check(last - lap * ROWS);
    table.check(ROWS);
  });

  test('serves streams that come and go by the thousand, some of them without a response', () => {
    const table = tables();
    always(1, (random) => {
      const open: number[] = [];
      for (let id = 1; id <= 100_000; id++) {
        table.claim(id, id, id);
        if (random.oneIn(20)) continue;
        open.push(id);
        if (open.length < 2000) continue;
        const [answered] = open.splice(random.below(open.length), 1);
        // One that was forgotten would not be found.
        if (!table.model.has(answered)) expect.fail(`stream ${answered} was forgotten`);
        table.check(answered);
        table.release(answered);
        table.check(answered);
      }
    });
  });

  test('has no stream 0, and none of an owner that is gone', () => {
    const { call } = load();
    expect(call.find(0)).toBe(0);
    call.claim(ROWS, 1000);
    call.claim(5, 2000);
    expect(call.find(0)).toBe(0);
    call.releaseAll(1000);
    expect(call.find(ROWS)).toBe(0);
    expect(call.find(5)).not.toBe(0);
  });
});
