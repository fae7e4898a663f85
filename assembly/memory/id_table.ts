// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * A table from context ids to what belongs to them, in static memory: it never grows. Open addressing with linear
 * probing; the host numbers contexts one after the other, so that nearly every id finds a place of its own. Emptied
 * places are filled again by moving back what was pushed behind them, so that no search ever crosses a grave.
 *
 *     | id: u32 | owner: usize | known: u32 |     id 0: free
 */
@unmanaged
export class Entry {
  id: u32;
  owner: usize;
  known: u32;
}

const ENTRY_SIZE: u32 = <u32>offsetof<Entry>();
const PLACES: u32 = 32768;
const MASK: u32 = PLACES - 1;
const table = memory.data(393216, 16); // PLACES * ENTRY_SIZE

/** The most entries: searches stay short. */
export const MOST_ENTRIES: u32 = 30000;
let count: u32 = 0;

/** How many entries there are. */
export function entries(): u32 {
  return count;
}

function place(index: u32): Entry {
  return changetype<Entry>(table + index * ENTRY_SIZE);
}

/** The entry of an id, or null. */
export function find(id: u32): Entry | null {
  for (let i = id & MASK; place(i).id != 0; i = (i + 1) & MASK) {
    if (place(i).id == id) return place(i);
  }
  return null;
}

/** Makes an entry for an id that has none; null if there are MOST_ENTRIES. */
export function insert(id: u32, owner: usize): Entry | null {
  if (count >= MOST_ENTRIES) return null;
  let i = id & MASK;
  while (place(i).id != 0) i = (i + 1) & MASK;
  const entry = place(i);
  entry.id = id;
  entry.owner = owner;
  entry.known = 0;
  count++;
  return entry;
}

/** Removes an entry. Other entries may move. */
export function remove(entry: Entry): void {
  let hole = <u32>((changetype<usize>(entry) - table) / ENTRY_SIZE);
  for (let i = (hole + 1) & MASK; place(i).id != 0; i = (i + 1) & MASK) {
    // An entry may move back to the hole if its search, which begins at its own place, comes by there.
    const own = place(i).id & MASK;
    if (((i - own) & MASK) < ((i - hole) & MASK)) continue;
    memory.copy(changetype<usize>(place(hole)), changetype<usize>(place(i)), ENTRY_SIZE);
    hole = i;
  }
  place(hole).id = 0;
  count--;
}
