// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf } from '../memory/ascii';
import { compare, Slice, slice } from '../memory/slice';
import { CLUSTER, KEPT_TEXTS, NAME, NAMESPACE, UID, VERSION, Workload } from './workload';

/**
 * Workloads by address, as they stand in shared data: compact, since a proxy may know a hundred thousand. Several records
 * make a bucket, one behind the other.
 *
 *     | size: u16 | owner: u8 | type: u8 | hash of the uid: u64 | address size: u8 | address | texts |
 *     a text   | size: u8, up to 252 | bytes |
 *              | 253 | 8 bytes |                 sixteen hexadecimal digits, as istiod's versions are
 *              | 254 | size: u16 | bytes |       a text that is longer
 *              | 255 | size: u8 |                the first bytes of the workload's name; of a uid: CLUSTER//Pod/NAMESPACE/NAME
 *
 * Of several records of one address the first counts: that of the workload that was told of last. The others wait behind.
 *
 * `owner` counts up with each VM that writes here, so that it finds what one before it left. Anybody may write into shared
 * data: what is read is checked.
 */

const SIZE: usize = 0;
const OWNER: usize = 2;
const TYPE: usize = 3;
const HASH: usize = 4;
const ADDRESS_SIZE: usize = 12;
const ADDRESS: usize = 13;

const HEX: u8 = 253;
const LONG: u8 = 254;
const SHORT_FORM: u8 = 255;

/** The most bytes of a record. */
export const LARGEST_RECORD: u32 = 4608;

/** Where the text that is being written or read stands. */
const cursor = memory.data(4, 4);

/** In which order texts are written: those that others are made of come first. */
function textAt(place: u32): u32 {
  if (place == 0) return NAME;
  if (place == 1) return NAMESPACE;
  if (place == 2) return CLUSTER;
  return place == 3 ? UID : place;
}

/** Writes a record of a workload to `to`, where LARGEST_RECORD bytes are; `record` is then what was written. */
export function writeRecord(workload: Workload, address: Slice, hash: u64, owner: u8, to: usize, record: Slice): void {
  store<u8>(to, owner, OWNER);
  store<u8>(to, <u8>workload.type, TYPE);
  store<u64>(to, hash, HASH);
  store<u8>(to, <u8>address.size, ADDRESS_SIZE);
  memory.copy(to + ADDRESS, address.at, address.size);
  store<usize>(cursor, to + ADDRESS + address.size);
  for (let i: u32 = 0; i < KEPT_TEXTS; i++) {
    const number = textAt(i);
    if (number == UID && isUsualUid(workload)) putShort(SHORT_FORM, 0);
    else putText(workload.text(number), workload.text(NAME), number);
  }
  const size = <u32>(load<usize>(cursor) - to);
  store<u16>(to, <u16>size, SIZE);
  record.set(to, size);
}

function putText(text: Slice, name: Slice, number: u32): void {
  const isPrefix = number != NAME && number != UID && number != VERSION && text.size > 1 && isPrefixOf(text, name);
  if (isPrefix) {
    putShort(SHORT_FORM, <u8>text.size);
    return;
  }
  const at = load<usize>(cursor);
  if (number == VERSION && packHex(text, at + 1)) {
    store<u8>(at, HEX);
    store<usize>(cursor, at + 9);
  } else if (text.size < HEX) {
    store<u8>(at, <u8>text.size);
    memory.copy(at + 1, text.at, text.size);
    store<usize>(cursor, at + 1 + text.size);
  } else {
    store<u8>(at, LONG);
    store<u16>(at, <u16>text.size, 1);
    memory.copy(at + 3, text.at, text.size);
    store<usize>(cursor, at + 3 + text.size);
  }
}

/** Writes sixteen hexadecimal digits as the number that they are; false if a text is something else. */
function packHex(text: Slice, to: usize): bool {
  if (text.size != 16) return false;
  let number: u64 = 0;
  for (let at = text.at; at < text.end(); at++) {
    const byte: u64 = load<u8>(at);
    if (byte >= 0x30 && byte <= 0x39) number = (number << 4) | (byte - 0x30);
    else if (byte >= 0x61 && byte <= 0x66) number = (number << 4) | (byte - 0x57);
    else return false;
  }
  store<u64>(to, number);
  return true;
}

/** Makes sixteen hexadecimal digits of a number again. */
function unpackHex(from: usize, to: usize): void {
  const number = load<u64>(from);
  for (let i: u64 = 0; i < 16; i++) {
    const digit = (number >> (60 - (i << 2))) & 15;
    store<u8>(to + <usize>i, <u8>(digit < 10 ? 0x30 + digit : 0x57 + digit));
  }
}

function putShort(form: u8, size: u8): void {
  const at = load<usize>(cursor);
  store<u8>(at, form);
  store<u8>(at, size, 1);
  store<usize>(cursor, at + 2);
}

function isPrefixOf(text: Slice, name: Slice): bool {
  return text.size <= name.size && compare(text.at, name.at, text.size) == 0;
}

/** Whether a workload's uid is what istiod makes of a pod: CLUSTER//Pod/NAMESPACE/NAME. */
function isUsualUid(workload: Workload): bool {
  const given = workload.text(UID);
  if (given.size != sizeOfUsualUid(workload) || given.size > LARGEST_USUAL) return false;
  writeUsualUid(workload, usual);
  return compare(given.at, usual, given.size) == 0;
}

const LARGEST_USUAL: u32 = 1024;
const usual = memory.data(1024);
/** The version of the record that was read last, if it is kept as a number. */
const digits = memory.data(16);
const POD: Ascii = '//Pod/';

function sizeOfUsualUid(workload: Workload): u32 {
  return workload.text(CLUSTER).size + 7 + workload.text(NAMESPACE).size + workload.text(NAME).size;
}

function writeUsualUid(workload: Workload, to: usize): void {
  to = append(workload.text(CLUSTER), to);
  memory.copy(to, bytesOf(POD), 6);
  to = append(workload.text(NAMESPACE), to + 6);
  store<u8>(to, 0x2f);
  append(workload.text(NAME), to + 1);
}

function append(text: Slice, to: usize): usize {
  memory.copy(to, text.at, text.size);
  return to + text.size;
}

/** Reads a record that `findRecord` found; false if it is none. Uid and version may be in memory that the next one overwrites. */
export function readRecord(record: Slice, workload: Workload): bool {
  workload.clear();
  const at = record.at;
  workload.type = load<u8>(at, TYPE);
  store<usize>(cursor, at + ADDRESS + load<u8>(at, ADDRESS_SIZE));
  for (let i: u32 = 0; i < KEPT_TEXTS; i++) {
    const number = textAt(i);
    if (!readText(workload.text(number), number == NAME ? null : workload.text(NAME), number, record.end()))
      return false;
    if (number != UID || workload.text(UID).size > 0) continue;
    if (sizeOfUsualUid(workload) > LARGEST_USUAL) return false;
    writeUsualUid(workload, usual);
    workload.text(UID).set(usual, sizeOfUsualUid(workload));
  }
  return true;
}

function readText(text: Slice, name: Slice | null, number: u32, end: usize): bool {
  const at = load<usize>(cursor);
  if (at >= end) return false;
  const form = load<u8>(at);
  let size: u32 = form;
  let begin = at + 1;
  if (form == HEX) {
    if (at + 9 > end) return false;
    unpackHex(begin, digits);
    text.set(digits, 16);
    store<usize>(cursor, at + 9);
    return true;
  }
  if (form >= LONG) {
    if (at + 3 > end && !(form == SHORT_FORM && at + 2 <= end)) return false;
    if (form == SHORT_FORM) {
      if (!name) return false;
      store<usize>(cursor, at + 2);
      if (number == UID) return true;
      size = load<u8>(at, 1);
      text.set(name.at, size);
      return size <= name.size;
    }
    size = load<u16>(at, 1);
    begin = at + 3;
  }
  if (begin + size > end) return false;
  text.set(begin, size);
  store<usize>(cursor, begin + size);
  return true;
}

/** Goes to a bucket's next record, the first if `record` has size 0; false at the end, or where it is malformed. */
function nextRecord(bucket: Slice, record: Slice): bool {
  const at = record.size == 0 ? bucket.at : record.end();
  if (at + ADDRESS > bucket.end()) return false;
  const size: u32 = load<u16>(at, SIZE);
  if (size < <u32>ADDRESS + load<u8>(at, ADDRESS_SIZE) || at + size > bucket.end()) return false;
  record.set(at, size);
  return true;
}

function isOf(record: Slice, address: Slice): bool {
  return (
    load<u8>(record.at, ADDRESS_SIZE) == address.size && compare(record.at + ADDRESS, address.at, address.size) == 0
  );
}

/** Whoever has an address, for `findRecord`. */
export const ANYBODY: u64 = 0;

/**
 * Finds the record of an address in a bucket: that of the workload whose uid has this hash, or of ANYBODY that of the one
 * that was told of last.
 */
export function findRecord(bucket: Slice, address: Slice, hash: u64, record: Slice): bool {
  record.set(bucket.at, 0);
  while (nextRecord(bucket, record)) {
    if (isOf(record, address) && (hash == ANYBODY || hashOfRecord(record) == hash)) return true;
  }
  return false;
}

/** The hash of a record's uid. */
export function hashOfRecord(record: Slice): u64 {
  return load<u64>(record.at, HASH);
}

const each = slice(memory.data(8, 4));

/** The most workloads that share an address and are remembered, beside the one that was told of last. */
const MOST_BEHIND: u32 = 3;

/**
 * Copies the records of a bucket to `to`, without that of a workload at an address. Of others at the address those of this
 * owner stay, for the time when this one is gone, but no more than MOST_BEHIND. The answer is how many bytes these are.
 */
export function copyOthers(bucket: Slice, address: Slice, hash: u64, owner: u8, to: usize): u32 {
  const begin = to;
  let behind: u32 = 0;
  each.set(bucket.at, 0);
  while (nextRecord(bucket, each)) {
    if (isOf(each, address)) {
      if (hashOfRecord(each) == hash || load<u8>(each.at, OWNER) != owner || behind == MOST_BEHIND) continue;
      behind++;
    }
    to = append(each, to);
  }
  return <u32>(to - begin);
}

/** Copies the records of a bucket that this owner wrote to `to`; the answer is how many bytes these are. */
export function copyOwned(bucket: Slice, owner: u8, to: usize): u32 {
  const begin = to;
  each.set(bucket.at, 0);
  while (nextRecord(bucket, each)) {
    if (load<u8>(each.at, OWNER) == owner) to = append(each, to);
  }
  return <u32>(to - begin);
}
