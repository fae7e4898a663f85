// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/**
 * What is known of streams that wait for their response, by the ids of their contexts: a table of fixed size in static
 * memory. The host numbers contexts one after the other, so that rows fill evenly.
 *
 *     row (id mod ROWS)   | id, owner, known | id, owner, known | ... eight places        id 0: free
 *
 * Nobody says when a stream ends: Envoy would call a module that wants to know it for each stream, which costs more than
 * everything that is done here. A response frees its stream's place. Streams that end without one leave theirs behind,
 * to be taken over: in a row that is full the stream goes that began first. Thus a stream is forgotten only when more
 * than 28,672 later ones wait for their responses, or ended without.
 */
@unmanaged
export class Place {
  id: u32;
  owner: usize;
  known: u32;
}

const PLACE_SIZE: u32 = <u32>offsetof<Place>();
const ROWS: u32 = 4096;
const PLACES_IN_ROW: u32 = 8;
const ROW_SIZE: u32 = PLACES_IN_ROW * PLACE_SIZE;
const table = memory.data(393216, 16); // ROWS * ROW_SIZE

function rowOf(id: u32): usize {
  return table + (id & (ROWS - 1)) * ROW_SIZE;
}

/** Where in a row an id stands, or 0. */
function seek(row: usize, id: u32): usize {
  for (let at = row; at < row + ROW_SIZE; at += PLACE_SIZE) {
    if (load<u32>(at) == id) return at;
  }
  return 0;
}

/** The place of the stream of a row that began first. Ids count up, and begin anew one day: it is farthest behind. */
function oldest(row: usize, id: u32): usize {
  let found = row;
  for (let at = row + PLACE_SIZE; at < row + ROW_SIZE; at += PLACE_SIZE) {
    if (id - load<u32>(at) > id - load<u32>(found)) found = at;
  }
  return found;
}

/** The place of a stream, or null. */
export function find(id: u32): Place | null {
  const at = id ? seek(rowOf(id), id) : 0;
  return at ? changetype<Place>(at) : null;
}

/** Takes a place for a stream: its own, a free one, or else that of the row's oldest stream. */
export function claim(id: u32, owner: usize): void {
  const row = rowOf(id);
  const at = seek(row, id) || seek(row, 0) || oldest(row, id);
  const place = changetype<Place>(at);
  place.id = id;
  place.owner = owner;
  place.known = 0;
}

/** Frees a place. */
export function release(place: Place): void {
  place.id = 0;
}

/** Frees the places of all streams of an owner. */
export function releaseAll(owner: usize): void {
  for (let at = table; at < table + ROWS * ROW_SIZE; at += PLACE_SIZE) {
    const place = changetype<Place>(at);
    if (place.owner == owner) place.id = 0;
  }
}
