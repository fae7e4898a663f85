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
          call.release(at);
        } else {
          const size = random.below(random.pick([10, 100, 5000]));
          const at = call.allocate(size);
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
      const owner = call.allocate(40);
      for (const each of [0, 24, 25, 500, 4000, 70_000]) if (!call.allocateFor(owner, each)) expect.fail('no memory');
      if (old) call.releaseAll(old);
      old = owner;
      owners.add(owner);
      if (update === 1) size = memory.buffer.byteLength;
    }
    expect(memory.buffer.byteLength).toBe(size);
    expect(owners.size).toBeLessThan(10);
  });

  test('merge when they are released: memory that was small blocks of every size can be one large block again', () => {
    always(10, (random) => {
      const { call, memory } = load();
      const taken: number[] = [];
      for (let i = 0; i < 500; i++) taken.push(call.allocate(random.below(random.pick([20, 200, 20_000]))));
      const size = memory.buffer.byteLength;
      for (const at of random.shuffled(taken)) call.release(at);
      // All but headers, and what the module has of its own: static data and the arena.
      expect(call.allocate(size - 400_000)).toBeGreaterThan(0);
      expect(memory.buffer.byteLength).toBe(size);
    });
  });

  test('of growing sizes, one at a time, take little more than the largest', () => {
    const { call, memory } = load();
    let at = 0;
    for (let size = 32; size <= 8 * 2 ** 20; size *= 2) {
      if (at) call.release(at);
      at = call.allocate(size);
      expect(at).toBeGreaterThan(0);
    }
    expect(memory.buffer.byteLength).toBeLessThan(9 * 2 ** 20);
  });

  test('taken for an owner go back with it, each of them once, and those of another owner stay', () => {
    const { call, memory } = load();
    const taken = (owner: number) => [owner, ...Array.from({ length: 10 }, () => call.allocateFor(owner, 50))];
    const first = taken(call.allocate(50));
    const second = taken(call.allocate(50));
    for (const at of second) fill(memory, at, 50, 2);
    call.releaseAll(first[0]);
    const again = Array.from({ length: first.length }, () => call.allocate(50));
    expect(Math.max(...again), 'the same memory serves again').toBeLessThan(Math.max(...second));
    for (const at of again) fill(memory, at, 50, 1);
    expect(second.every((at) => isFilled(memory, at, 50, 2))).toBe(true);
  });

  test('are no more when memory is at its maximum: the answer is 0, and what is given back can be taken again', () => {
    const { call, memory } = load();
    const all = () => {
      const taken: number[] = [];
      for (let at = call.allocate(500_000); at; at = call.allocate(500_000)) taken.push(at);
      return taken;
    };
    const first = all();
    expect(first.length).toBeGreaterThan(50);
    expect(memory.buffer.byteLength).toBeLessThanOrEqual(512 * PAGE);
    expect(call.allocateFor(first[0], 500_000)).toBe(0);
    for (const at of first) call.releaseAll(at);
    expect(all().sort()).toEqual(first.sort());
  });

  test.each([[2 ** 26], [2 ** 31], [2 ** 32 - 9], [2 ** 32 - 8], [2 ** 32 - 1]])(
    'of %i bytes there are none',
    (size) => {
      const { call, memory } = load();
      const before = memory.buffer.byteLength;
      expect(call.allocate(size)).toBe(0);
      expect(call.allocateFor(call.allocate(1), size)).toBe(0);
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

describe('a pool of records', () => {
  const RECORD_SIZE = 16;

  test('finds each record by its id, whatever else comes and goes', () => {
    always(20, (random) => {
      const { call, memory } = load();
      call.openPool(100_000);
      const model = new Map<number, number>();
      const idOf = (at: number) => new Uint32Array(memory.buffer, at, 1)[0];
      const contentOf = (at: number) => new Uint32Array(memory.buffer, at + 12, 1);
      let nextId = random.pick([1, 2 ** 32 - 500]);
      for (let step = 0; step < 2000; step++) {
        if (model.size > 0 && random.oneIn(2)) {
          const id = random.pick([...model.keys()]);
          call.removeRecord(call.findRecord(id));
          model.delete(id);
          if (call.findRecord(id)) expect.fail(`${id} is still there`);
          continue;
        }
        const id = nextId;
        nextId = (nextId + 1) >>> 0 || 1;
        const at = call.addRecord(id);
        if (!at || idOf(at) !== id) expect.fail(`no record for ${id}`);
        contentOf(at)[0] = id ^ 0x5555;
        model.set(id, id ^ 0x5555);
      }
      expect(call.liveRecords()).toBe(model.size);
      for (const [id, content] of model) {
        const at = call.findRecord(id);
        if (!at || contentOf(at)[0] !== content >>> 0)
          expect.fail(`${id} has ${contentOf(at)[0]}, not ${content >>> 0}`);
      }
      expect(call.findRecord(nextId)).toBe(0);
    });
  });

  test('has a bound, and serves again when records are removed', () => {
    const { call } = load();
    call.openPool(1000);
    const records = Array.from({ length: 1000 }, (_, i) => call.addRecord(i + 1));
    expect(records.every((at) => at > 0)).toBe(true);
    expect(new Set(records).size).toBe(1000);
    expect(call.addRecord(1001)).toBe(0);
    call.removeRecord(records[17]);
    expect(call.addRecord(1001)).toBe(records[17]);
    expect(call.findRecord(18)).toBe(0);
  });

  test('takes what its records need, and gives it back but for one chunk', () => {
    const { call, memory } = load();
    call.openPool(100_000);
    const free = () => {
      const taken: number[] = [];
      for (let at = call.allocate(4000); at; at = call.allocate(4000)) taken.push(at);
      for (const at of taken) call.release(at);
      return taken.length;
    };
    const before = free();
    const full = memory.buffer.byteLength;
    const records = Array.from({ length: 50_000 }, (_, i) => call.addRecord(i + 1));
    const taken = before - free();
    expect(taken * 4000).toBeLessThan(50_000 * RECORD_SIZE * 1.05);
    always(1, (random) => {
      for (const at of random.shuffled(records)) call.removeRecord(at);
    });
    expect(before - free()).toBeLessThanOrEqual(1);
    expect(memory.buffer.byteLength).toBe(full);
  });

  test('that cannot have memory has no record, and goes on with those that are there', () => {
    const { call } = load();
    call.openPool(4_000_000);
    let count = 0;
    while (call.addRecord(count + 1)) count++;
    expect(count).toBeGreaterThan(1_000_000);
    expect(call.findRecord(count)).toBeGreaterThan(0);
    call.removeRecord(call.findRecord(1));
    expect(call.addRecord(count + 1)).toBeGreaterThan(0);
  });
});

describe('a room', () => {
  const ORDER = 10;

  test('gives out pieces that do not overlap, and is one piece again when all are released', () => {
    always(30, (random) => {
      const { call, memory } = load();
      call.openRoom(ORDER);
      const taken = new Map<number, { size: number; value: number }>();
      for (let step = 0; step < 300; step++) {
        const size = 1 + random.below(random.pick([200, 2000, 40_000]));
        const at = random.oneIn(3) ? 0 : call.takePiece(call.orderFor(size));
        if (at) {
          taken.set(at, { size, value: step & 0xff });
          fill(memory, at, size, step & 0xff);
        } else if (taken.size > 0) {
          const [old, piece] = random.pick([...taken]);
          if (!isFilled(memory, old, piece.size, piece.value)) expect.fail('a piece was written over');
          taken.delete(old);
          call.releasePiece(old, piece.size);
        }
      }
      for (const [at, { size }] of random.shuffled([...taken])) call.releasePiece(at, size);
      expect(call.takePiece(ORDER), 'halves became whole on every order').toBeGreaterThan(0);
      expect(call.takePiece(0)).toBe(0);
    });
  });
});

describe('a queue', () => {
  test('gives out what is due in the order in which it came, and what left early never', () => {
    always(200, (random) => {
      const { call } = load();
      const PLACE = 16;
      const places = call.allocate(40 * PLACE);
      const waiting: { record: number; due: number; place: number }[] = [];
      const free = Array.from({ length: 40 }, (_, i) => places + i * PLACE);
      let time = 1;
      call.openQueue();
      for (let i = 0; i < 300; i++) {
        time += random.below(2);
        if (free.length > 0 && random.oneIn(2)) {
          const entry = { record: i + 1, due: time + 5, place: free.pop() as number };
          call.addToQueue(entry.place, entry.record, entry.due);
          // Who waits already keeps the place.
          call.addToQueue(entry.place, 999, time + 9);
          waiting.push(entry);
        } else if (waiting.length > 0 && random.oneIn(2)) {
          const [entry] = waiting.splice(random.below(waiting.length), 1);
          call.removeFromQueue(entry.place);
          call.removeFromQueue(entry.place);
          free.push(entry.place);
        } else {
          const isDue = waiting.length > 0 && waiting[0].due <= time;
          expect(call.takeDue(time)).toBe(isDue ? waiting[0].record : 0);
          if (isDue) free.push((waiting.shift() as { place: number }).place);
        }
        expect(call.isQueueEmpty()).toBe(waiting.length === 0 ? 1 : 0);
      }
    });
  });
});

/** What was made of a key. */
const [USE, OTHER_USE] = [0, 1];

describe('a cache', () => {
  test('finds what was kept under exactly these bytes for this use, and nothing under a part of them or more', () => {
    const { call, memory, slices } = load();
    call.openCache(10);
    const put = (index: number, text: string) => {
      const at = call.take(text.length);
      Buffer.from(memory.buffer).write(text, at, 'latin1');
      new Uint32Array(memory.buffer, slices + index * 8, 2).set([at, text.length]);
      return slices + index * 8;
    };
    const text = (index: number) => {
      const [at, size] = new Uint32Array(memory.buffer, slices + index * 8, 2);
      return Buffer.from(memory.buffer, at, size).toString('latin1');
    };
    const key = 'k'.repeat(100);
    call.keepInCache(put(0, key), put(1, 'value'), USE);
    for (const other of [key.slice(0, 99), `${key}k`, `${key.slice(0, 99)}l`, `l${key.slice(1)}`, '']) {
      expect(call.findInCache(put(0, other), put(1, ''), USE), `${other.length} bytes`).toBe(0);
    }
    expect(call.findInCache(put(0, key), put(1, ''), OTHER_USE)).toBe(0);
    call.keepInCache(put(0, key), put(1, 'other'), OTHER_USE);
    for (const [use, value] of [
      [USE, 'value'],
      [OTHER_USE, 'other'],
    ] as const) {
      expect(call.findInCache(put(0, key), put(1, ''), use)).toBe(1);
      expect(text(1)).toBe(value);
    }
  });

  test('of any size of contents never traps, and gives room back for what is new', () => {
    always(10, (random) => {
      const { call, memory, slices } = load();
      call.openCache(1 + random.below(50));
      for (let i = 0; i < 2000; i++) {
        call.startOver();
        const size = 8 + random.below(random.pick([300, 3000, 30_000]));
        const at = call.take(size * 2);
        new Uint32Array(memory.buffer, at, 2).set([random.below(100), size]);
        new Uint32Array(memory.buffer, slices, 4).set([at, size, at + size, size]);
        if (call.findInCache(slices, slices + 8, USE)) continue;
        call.keepInCache(slices, slices + 8, USE);
      }
      expect(call.cacheCount()).toBeGreaterThan(0);
    });
  });
});
