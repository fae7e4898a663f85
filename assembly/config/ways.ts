// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { allocate, release } from '../memory/blocks';
import { SLICE_SIZE, Slice, sameBytes, slice } from '../memory/slice';
import { Config } from './config';
import { BAGGAGE, has, ISTIO_HEADERS } from './lists';

/**
 * The ways in which the configurations of this VM learn about clients: by which two headers, and whether by baggage. Most
 * VMs have one. Where there are several, two of them may stand in one chain, and each must look what the other did.
 */
@unmanaged
export class Way {
  next: Way | null;
  configurations: u32;
  readsBaggage: bool;
  metadataHeader: Slice;
  idHeader: Slice;
}

/** Where the address of the first way stands. */
const first = memory.data(4, 4);

/** How many configurations look at the headers of requests: by lists, and by the direction of their listeners. */
let listReaders: u32 = 0;
let directionReaders: u32 = 0;

/**
 * Whether what a stream writes to its request may be looked at by another configuration of this VM in the same chain,
 * or in a later run of it. Filters of one listener have one direction: those that go by it do what this one does.
 */
export function hasReaders(config: Config): bool {
  return listReaders > 0 || (config.lists != null && directionReaders > 0);
}

function countReader(config: Config, change: i32): void {
  const lists = config.lists;
  if (!lists) directionReaders += change;
  else if (has(lists.downstreamDiscovery, ISTIO_HEADERS) || has(lists.downstreamPropagation, ISTIO_HEADERS)) {
    listReaders += change;
  }
}

export function firstWay(): Way | null {
  const at = load<usize>(first);
  return at ? changetype<Way>(at) : null;
}

/** Whether there is more than one. */
export function hasSeveralWays(): bool {
  const way = firstWay();
  return way ? way.next != null : false;
}

/** Counts one more configuration for its way; false if there is no memory for a new one. */
export function useWay(config: Config): bool {
  if (!findWay(config)) return false;
  countReader(config, 1);
  return true;
}

function findWay(config: Config): bool {
  let known = firstWay();
  while (known) {
    if (isWayOf(known, config)) {
      known.configurations++;
      return true;
    }
    known = known.next;
  }
  const headersAt = offsetof<Way>() + 2 * SLICE_SIZE;
  const at = allocate(headersAt + config.metadataHeader.size + config.idHeader.size);
  if (!at) return false;
  const way = changetype<Way>(at);
  way.next = firstWay();
  way.configurations = 1;
  way.readsBaggage = readsBaggage(config);
  way.metadataHeader = copyTo(at + offsetof<Way>(), config.metadataHeader, at + headersAt);
  way.idHeader = copyTo(at + offsetof<Way>() + SLICE_SIZE, config.idHeader, way.metadataHeader.end());
  store<usize>(first, at);
  return true;
}

/** A configuration ended: its way goes with the last one. */
export function leaveWay(config: Config): void {
  countReader(config, -1);
  // `next` is the first field of a way: where its address stands, and where that of the first one stands, are alike.
  let place = first;
  let way = firstWay();
  while (way && !isWayOf(way, config)) {
    place = changetype<usize>(way);
    way = way.next;
  }
  if (!way || --way.configurations > 0) return;
  store<usize>(place, load<usize>(changetype<usize>(way)));
  release(changetype<usize>(way));
}

function readsBaggage(config: Config): bool {
  const lists = config.lists;
  return lists ? has(lists.downstreamDiscovery, BAGGAGE) : false;
}

function isWayOf(way: Way, config: Config): bool {
  return (
    way.readsBaggage == readsBaggage(config) &&
    sameBytes(way.metadataHeader, config.metadataHeader) &&
    sameBytes(way.idHeader, config.idHeader)
  );
}

/** A slice at an address, that points at a copy of another's bytes. */
function copyTo(at: usize, from: Slice, to: usize): Slice {
  memory.copy(to, from.at, from.size);
  const copy = slice(at);
  copy.set(to, from.size);
  return copy;
}
