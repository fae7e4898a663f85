// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';
import { isText } from '../memory/ascii';
import { Slice, slice } from '../memory/slice';
import { Text } from '../memory/text';
import * as fields from '../wire/names';
import { varintSize, Writer } from '../wire/protobuf';
import { kindOf, STRUCT_FIELDS, STRUCT_KIND } from '../wire/struct';
import { closeStruct, countItems, gather, ITEM_SIZE, Items, readEntry } from '../wire/struct_fields';

/**
 * What is left out of the own metadata where it is larger than a header may be: the largest fields first, but none of
 * those that say who a workload is (the ones that Istio's own receivers read). A field that is a Struct is not left out
 * as a whole: its members are, the largest first like any other field. Of fields of the same size the later one goes.
 */

/** A field that may be left out. */
@unmanaged
class Candidate {
  /** What it takes on the wire, with tag and length. */
  cost: u32;
  /** Its entry. */
  at: usize;
  size: u32;
  /** The key of the Struct that it is a member of; size 0 at the top. */
  aroundAt: usize;
  aroundSize: u32;
}

const CANDIDATE_SIZE: u32 = 20;

let candidates: usize = 0;
let candidateCount: u32 = 0;
let leftOutCount: u32 = 0;

const writer = changetype<Writer>(memory.data(16, 8));
const item = memory.data(16, 4);
/** The fields at the top, and the members of one of them. */
const outer = changetype<Items>(memory.data(8, 4));
const inner = changetype<Items>(memory.data(8, 4));
const key = slice(memory.data(8, 4));
const around = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));
const members = slice(memory.data(8, 4));

/** What `cutToFit` answers where the Struct cannot be cut down. */
export const CANNOT: i32 = -1;

/** Adds to a line the path of the field that the last `cutToFit` left out as number `index`, 0 the largest. */
export function addLeftOut(index: u32, line: Text): void {
  const candidate = candidateAt(index);
  if (candidate.aroundSize) {
    key.set(candidate.aroundAt, candidate.aroundSize);
    line.addQuoted(key);
    line.add('.');
  }
  readField(candidate.at, candidate.size);
  line.addQuoted(key);
}

/** Bytes that the arena must have for `cutToFit` of a Struct. */
export function roomForCut(from: Slice): usize {
  return from.size + countItems(from) * (CANDIDATE_SIZE + 2 * ITEM_SIZE) + 64;
}

/**
 * Leaves out of a canonical Struct what must be, for it to have `most` bytes or less; `out` is then what is left, in the
 * arena, and the answer is how many fields were left out. CANNOT: what says who a workload is does not fit, or there is
 * no room.
 */
export function cutToFit(from: Slice, most: u32, out: Slice): i32 {
  leftOutCount = 0;
  candidateCount = 0;
  candidates = take(countItems(from) * CANDIDATE_SIZE);
  const start = take(from.size);
  if (!candidates || !start) return CANNOT;
  collect(from);
  sortCandidates();
  let size = from.size;
  while (size > most && leftOutCount < candidateCount) size -= candidateAt(leftOutCount++).cost;
  if (size > most) return CANNOT;
  writer.open(start, from.size);
  write(from);
  out.set(writer.head, <u32>(start + from.size - writer.head));
  return leftOutCount;
}

function candidateAt(index: u32): Candidate {
  return changetype<Candidate>(candidates + index * CANDIDATE_SIZE);
}

/** Reads an entry as `key` and `value`. */
function readField(at: usize, size: u32): void {
  store<usize>(item, at);
  store<u32>(item, size, 4);
  readEntry(item, item, 1);
  key.set(load<usize>(item), load<u32>(item, 4));
  value.set(load<usize>(item, 8), load<u32>(item, 12));
}

/** Notes all fields that may be left out. */
function collect(from: Slice): void {
  const count = gather(from.at, from.end(), 0, STRUCT_FIELDS, outer) ? outer.count : 0;
  around.set(0, 0);
  for (let i: u32 = 0; i < count; i++) {
    const at = load<usize>(outer.item(i));
    const size = load<u32>(outer.item(i), 4);
    readField(at, size);
    if (kindOf(value, members) == STRUCT_KIND && members.size > 0) collectMembers();
    else if (!isEssential()) addCandidate(at, size);
  }
}

/** Notes the members of the field that was just read. */
function collectMembers(): void {
  const count = gather(members.at, members.end(), 3, STRUCT_FIELDS, inner) ? inner.count : 0;
  around.copy(key);
  for (let i: u32 = 0; i < count; i++) {
    const at = load<usize>(inner.item(i));
    const size = load<u32>(inner.item(i), 4);
    readField(at, size);
    if (!isEssential()) addCandidate(at, size);
  }
  around.set(0, 0);
}

function addCandidate(at: usize, size: u32): void {
  const candidate = candidateAt(candidateCount++);
  candidate.cost = 1 + varintSize(size) + size;
  candidate.at = at;
  candidate.size = size;
  candidate.aroundAt = around.at;
  candidate.aroundSize = around.size;
}

/** Whether people, and Istio's receivers, know a workload by the field that was just read. */
function isEssential(): bool {
  if (around.size == 0) {
    return (
      isText(key, fields.NAME) ||
      isText(key, fields.NAMESPACE) ||
      isText(key, fields.WORKLOAD_NAME) ||
      isText(key, fields.OWNER) ||
      isText(key, fields.CLUSTER_ID) ||
      isText(key, fields.IDENTITY)
    );
  }
  if (!isText(around, fields.LABELS)) return false;
  return (
    isText(key, fields.APP) ||
    isText(key, fields.VERSION) ||
    isText(key, fields.CANONICAL_NAME) ||
    isText(key, fields.CANONICAL_REVISION)
  );
}

/** Whether a field of this cost at this place is left out: it does not stand behind the last one that is. */
function isLeftOut(cost: u32, at: usize): bool {
  if (leftOutCount == 0) return false;
  const last = candidateAt(leftOutCount - 1);
  return cost > last.cost || (cost == last.cost && at >= last.at);
}

function write(from: Slice): void {
  const count = gather(from.at, from.end(), 0, STRUCT_FIELDS, outer) ? outer.count : 0;
  around.set(0, 0);
  for (let i = count; i-- > 0; ) {
    const at = load<usize>(outer.item(i));
    const size = load<u32>(outer.item(i), 4);
    readField(at, size);
    const entryEnd = writer.head;
    if (kindOf(value, members) == STRUCT_KIND && members.size > 0) {
      const keyAt = key.at;
      const keySize = key.size;
      writeMembers();
      if (writer.head == entryEnd) continue;
      closeStruct(writer, keyAt, keySize, entryEnd);
    } else if (isEssential() || !isLeftOut(1 + varintSize(size) + size, at)) {
      writer.bytes(at, size);
      writer.close(STRUCT_FIELDS, entryEnd);
    }
  }
}

function writeMembers(): void {
  const count = gather(members.at, members.end(), 3, STRUCT_FIELDS, inner) ? inner.count : 0;
  around.copy(key);
  for (let i = count; i-- > 0; ) {
    const at = load<usize>(inner.item(i));
    const size = load<u32>(inner.item(i), 4);
    readField(at, size);
    if (!isEssential() && isLeftOut(1 + varintSize(size) + size, at)) continue;
    const entryEnd = writer.head;
    writer.bytes(at, size);
    writer.close(STRUCT_FIELDS, entryEnd);
  }
  around.set(0, 0);
}

/** Heap sort: the largest first, and of the same size the last first. */
function sortCandidates(): void {
  for (let i = candidateCount >> 1; i-- > 0; ) sink(i, candidateCount);
  for (let last = candidateCount; last > 1; ) {
    last--;
    swap(0, last);
    sink(0, last);
  }
}

/** Lets a candidate sink in the heap of the first `count` until no child of it goes after it. */
function sink(from: u32, count: u32): void {
  let parent = from;
  for (let child = parent * 2 + 1; child < count; child = parent * 2 + 1) {
    if (child + 1 < count && goesBefore(child, child + 1)) child++;
    if (!goesBefore(parent, child)) return;
    swap(parent, child);
    parent = child;
  }
}

function goesBefore(a: u32, b: u32): bool {
  const one = candidateAt(a);
  const other = candidateAt(b);
  return one.cost != other.cost ? one.cost > other.cost : one.at > other.at;
}

function swap(a: u32, b: u32): void {
  const one = candidateAt(a);
  const other = candidateAt(b);
  for (let i: usize = 0; i < CANDIDATE_SIZE; i += 4) {
    const word = load<u32>(changetype<usize>(one) + i);
    store<u32>(changetype<usize>(one) + i, load<u32>(changetype<usize>(other) + i));
    store<u32>(changetype<usize>(other) + i, word);
  }
}
