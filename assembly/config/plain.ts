// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { CONNECTION_DOWNSTREAM, CONNECTION_UPSTREAM, DOWNSTREAM, UPSTREAM } from '../host/names';
import { allocate, release } from '../memory/blocks';
import { SLICE_SIZE, Slice, sameBytes, slice } from '../memory/slice';
import { Config } from './config';
import { Texts } from './reader';

/** The sides of streams and connections whose peers have fields (peers/peer.ts). */
export const CLIENT_FIELDS: u32 = 0;
export const SERVER_FIELDS: u32 = 1;
export const CONNECTION_CLIENT_FIELDS: u32 = 2;
export const CONNECTION_SERVER_FIELDS: u32 = 3;
export const SIDES: u32 = 4;

/**
 * The lists of fields that configurations of this VM publish as strings of their own (`publish_fields`). Configurations
 * with the same list and dialect share one. All lists are known here, because who replaces a peer must clear what another
 * configuration published of the one before.
 */
@unmanaged
export class PlainFields {
  next: PlainFields | null;
  configurations: u32;
  /** Whether the fields are read as Istio's native filter reads them (peers/fields.ts). */
  speaksIstio: bool;
  /** What the cache knows the list by: no two lists of a VM ever have the same, and none has 0. */
  number: u32;
  count: u32;
  /** Slices for each field: its path, and what filter state calls it on each side. */
  private slicesAt: usize;

  /** Where in a Struct a field is. */
  path(index: u32): Slice {
    return slice(this.slicesAt + index * (1 + SIDES) * <u32>SLICE_SIZE);
  }

  /** What filter state calls a field of the peer on a side. */
  name(index: u32, side: u32): Slice {
    return slice(this.slicesAt + (index * (1 + SIDES) + 1 + side) * <u32>SLICE_SIZE);
  }
}

/** Where the address of the first list stands. */
const first = memory.data(4, 4);
let lastNumber: u32 = 0;

/** The first of all lists of the VM. */
export function firstPlain(): PlainFields | null {
  const at = load<usize>(first);
  return at ? changetype<PlainFields>(at) : null;
}

/** Gives a configuration its list, if it publishes fields; false if there is no memory for a new one. */
export function usePlain(config: Config): bool {
  const wanted = config.publishFields;
  if (!wanted || wanted.count == 0) return true;
  let known = firstPlain();
  while (known && !isListOf(known, wanted, config.speaksIstio)) known = known.next;
  if (!known) known = newList(wanted, config.speaksIstio);
  if (!known) return false;
  known.configurations++;
  config.plain = known;
  return true;
}

/** A configuration and its streams ended: its list goes with the last one. */
export function leavePlain(config: Config): void {
  const list = config.plain;
  if (!list || --list.configurations > 0) return;
  // `next` is the first field of a list: where its address stands, and where that of the first one stands, are alike.
  let place = first;
  while (load<usize>(place) != changetype<usize>(list)) place = load<usize>(place);
  store<usize>(place, load<usize>(changetype<usize>(list)));
  release(changetype<usize>(list));
}

function isListOf(list: PlainFields, wanted: Texts, speaksIstio: bool): bool {
  if (list.count != wanted.count || list.speaksIstio != speaksIstio) return false;
  for (let i: u32 = 0; i < wanted.count; i++) {
    if (!sameBytes(list.path(i), wanted.get(i))) return false;
  }
  return true;
}

function newList(wanted: Texts, speaksIstio: bool): PlainFields | null {
  const slicesAt = offsetof<PlainFields>();
  const textsAt = slicesAt + wanted.count * (1 + SIDES) * <u32>SLICE_SIZE;
  let room: usize = 0;
  for (let i: u32 = 0; i < wanted.count; i++) {
    for (let side: u32 = 0; side < SIDES; side++) room += prefixOf(side).size + 1 + wanted.get(i).size;
  }
  const at = allocate(textsAt + room);
  if (!at) return null;
  const list = changetype<PlainFields>(at);
  list.next = firstPlain();
  list.configurations = 0;
  list.speaksIstio = speaksIstio;
  list.number = ++lastNumber;
  list.count = wanted.count;
  list.slicesAt = at + slicesAt;
  let to = at + textsAt;
  for (let i: u32 = 0; i < wanted.count; i++) {
    for (let side: u32 = 0; side < SIDES; side++) {
      to = putName(prefixOf(side), wanted.get(i), to, list.name(i, side));
    }
    list.path(i).set(to - wanted.get(i).size, wanted.get(i).size);
  }
  store<usize>(first, at);
  return list;
}

function prefixOf(side: u32): Slice {
  if (side == CLIENT_FIELDS) return DOWNSTREAM;
  if (side == SERVER_FIELDS) return UPSTREAM;
  return side == CONNECTION_CLIENT_FIELDS ? CONNECTION_DOWNSTREAM : CONNECTION_UPSTREAM;
}

/** Writes the name of a field of one side, `SIDE.PATH`; the answer is where it ends. */
function putName(side: Slice, path: Slice, to: usize, name: Slice): usize {
  memory.copy(to, side.at, side.size);
  store<u8>(to + side.size, 0x2e);
  memory.copy(to + side.size + 1, path.at, path.size);
  name.set(to, side.size + 1 + path.size);
  return name.end();
}
