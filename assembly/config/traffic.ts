// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, beginsWith, bytesOf, isText, sizeOf } from '../memory/ascii';
import { hashOf } from '../memory/hash';
import { compare, Slice, sameBytes, slice } from '../memory/slice';
import * as json from '../wire/json';
import {
  expect,
  isNamed,
  isNew,
  isWellFormed,
  keepRoom,
  kept,
  key,
  REFUSED,
  readNumber,
  readShortText,
  refuse,
  skipNull,
  step,
  stepBack,
  UNKNOWN,
} from './reader';

/** The settings of Istio's standard metrics (traffic/): whether requests are counted by peer, and how far. */
@unmanaged
export class Traffic {
  /** A hash of the labels that are added: configurations with the same share series. */
  seed: u64;
  /** The most series of requests that a VM makes. */
  maxSeries: u32;
  /** The first of the labels that are added, those with the shortest names first; null: none are. */
  labels: Label | null;
}

/** A label that is made of a peer's field. */
@unmanaged
export class Label {
  next: Label | null;
  name: Slice;
  /** Where in the peer's Struct it is. */
  path: Slice;
}

const DEFAULT_SERIES: u32 = 1000;
const MOST_SERIES: u32 = 10000;
const MOST_LABELS: u32 = 8;
const LONGEST_PATH: u32 = 80;
const LONGEST_NAME: u32 = 40;

/**
 * Istio's labels, each with a space behind it. The rule that finds one of them in a metric's name finds it at the end of
 * another label's name as well: no label of ours may end so.
 */
const OF_REQUESTS: Ascii =
  'reporter request_protocol response_code grpc_response_status response_flags connection_security_policy ';
const OF_SOURCES: Ascii =
  'source_workload source_workload_namespace source_app source_version source_cluster source_principal ';
const OF_DESTINATIONS: Ascii =
  'destination_workload destination_workload_namespace destination_app destination_version destination_cluster ';
const OF_SERVICES: Ascii =
  'destination_principal destination_service destination_service_name destination_service_namespace ';
const CANONICAL: Ascii =
  'source_canonical_service source_canonical_revision destination_canonical_service destination_canonical_revision ';

const MAX_SERIES: u32 = 1;
const LABELS: u32 = 2;

const text = slice(memory.data(8, 4));

/** Reads the settings; null: refused. */
export function readTraffic(): Traffic | null {
  if (!expect(json.OBJECT)) return null;
  const at = keepRoom(offsetof<Traffic>());
  if (!at) return noRoom();
  const traffic = changetype<Traffic>(at);
  traffic.maxSeries = DEFAULT_SERIES;
  traffic.labels = null;
  traffic.seed = 0;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    const field = isNamed('max_series') ? MAX_SERIES : isText(key, 'labels') ? LABELS : UNKNOWN;
    if (!isNew(field, seen)) return null;
    seen |= 1 << field;
    if (!skipNull()) {
      if (field == LABELS) {
        if (!readLabels(traffic)) return null;
      } else {
        const number = readNumber(1, MOST_SERIES);
        if (number == REFUSED) return null;
        traffic.maxSeries = number;
      }
    }
    stepBack(size);
  }
  traffic.seed = seedOf(traffic);
  return isWellFormed() ? traffic : null;
}

function seedOf(traffic: Traffic): u64 {
  let hash: u64 = 0;
  let label: Label | null = traffic.labels;
  while (label) {
    hash = hashOf(label.path, hashOf(label.name, hash + 1));
    label = label.next;
  }
  return hash;
}

function noRoom(): Traffic | null {
  refuse(json.offset(), 'does not fit into memory');
  return null;
}

/** Reads an object: for each label the path of a peer's field. */
function readLabels(traffic: Traffic): bool {
  if (!expect(json.OBJECT)) return false;
  let count: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    if (++count > MOST_LABELS) return refuse(json.keyOffset(), 'is one label too many: there may be 8');
    if (!isName(key)) return refuse(json.keyOffset(), 'must be a name of letters, digits and _, of at most 40 bytes');
    if (endsAsIstios(key)) return refuse(json.keyOffset(), "is the name of one of Istio's labels, or ends with it");
    if (beginsWith(key, '__') || isText(key, 'le')) {
      return refuse(json.keyOffset(), 'is a name that Prometheus keeps for itself');
    }
    if (isTaken(key, traffic)) return refuse(json.keyOffset(), 'is given twice');
    const name = kept(key);
    const at = keepRoom(offsetof<Label>());
    if (!at || !name) return refuse(json.offset(), 'does not fit into memory');
    const label = changetype<Label>(at);
    if (!readShortText(text, LONGEST_PATH)) return false;
    const path = kept(text);
    if (!path) return false;
    label.name = name;
    label.path = path;
    insert(label, traffic);
    stepBack(size);
  }
  return isWellFormed();
}

/**
 * Puts a label behind those with shorter names: a name that another one ends with is then the first to be found.
 */
function insert(label: Label, traffic: Traffic): void {
  let before: Label | null = null;
  let next = traffic.labels;
  while (next && next.name.size < label.name.size) {
    before = next;
    next = next.next;
  }
  label.next = next;
  if (before) before.next = label;
  else traffic.labels = label;
}

function isTaken(name: Slice, traffic: Traffic): bool {
  let label = traffic.labels;
  while (label) {
    if (sameBytes(label.name, name)) return true;
    label = label.next;
  }
  return false;
}

/** Whether a name is that of one of Istio's labels, or ends with it. */
function endsAsIstios(name: Slice): bool {
  if (endsAsOneOf(OF_REQUESTS, name) || endsAsOneOf(OF_SOURCES, name) || endsAsOneOf(CANONICAL, name)) return true;
  return endsAsOneOf(OF_DESTINATIONS, name) || endsAsOneOf(OF_SERVICES, name);
}

function endsAsOneOf(labels: Ascii, name: Slice): bool {
  const end = bytesOf(labels) + sizeOf(labels);
  for (let begin = bytesOf(labels), at = begin; at < end; at++) {
    if (load<u8>(at) != 0x20) continue;
    const size = <u32>(at - begin);
    if (name.size >= size && compare(name.end() - size, begin, size) == 0) return true;
    begin = at + 1;
  }
  return false;
}

/** Whether Prometheus takes a name as that of a label. */
function isName(name: Slice): bool {
  if (name.size == 0 || name.size > LONGEST_NAME) return false;
  for (let at = name.at; at < name.end(); at++) {
    const byte: u32 = load<u8>(at);
    const lower = byte | 0x20;
    const isLetter = (lower >= 0x61 && lower <= 0x7a) || byte == 0x5f;
    const isDigit = byte >= 0x30 && byte <= 0x39;
    if (!isLetter && !(isDigit && at > name.at)) return false;
  }
  return true;
}
