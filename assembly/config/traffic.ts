// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { isText } from '../memory/ascii';
import { Slice, slice } from '../memory/slice';
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
  /** The most series of requests that a VM makes. */
  maxSeries: u32;
  /** The first of the labels that are added; null: none are. */
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
  return isWellFormed() ? traffic : null;
}

function noRoom(): Traffic | null {
  refuse(json.offset(), 'does not fit into memory');
  return null;
}

/** Reads an object: for each label the path of a peer's field. */
function readLabels(traffic: Traffic): bool {
  if (!expect(json.OBJECT)) return false;
  let last: Label | null = null;
  let count: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    if (++count > MOST_LABELS) return refuse(json.keyOffset(), 'is one label too many: there may be 8');
    if (!isName(key)) return refuse(json.keyOffset(), 'must be a name of letters, digits and _, of at most 40 bytes');
    const name = kept(key);
    const at = keepRoom(offsetof<Label>());
    if (!at || !name) return refuse(json.offset(), 'does not fit into memory');
    const label = changetype<Label>(at);
    if (!readShortText(text, LONGEST_PATH)) return false;
    const path = kept(text);
    if (!path) return false;
    label.next = null;
    label.name = name;
    label.path = path;
    if (last) last.next = label;
    else traffic.labels = label;
    last = label;
    stepBack(size);
  }
  return isWellFormed();
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
