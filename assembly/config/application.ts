// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { name } from '../host/names';
import { beginsWith, isText } from '../memory/ascii';
import { allocate, release } from '../memory/blocks';
import { SLICE_SIZE, Slice, sameBytes, slice } from '../memory/slice';
import * as json from '../wire/json';
import { Config } from './config';
import {
  expect,
  isNamed,
  isNew,
  isWellFormed,
  keepRoom,
  kept,
  key,
  REFUSED,
  readBool,
  readHeaderName,
  readTexts,
  refuse,
  skipNull,
  step,
  stepBack,
  Texts,
  UNKNOWN,
} from './reader';
import { OFF } from './verification';

/** The field `tell_application`: the header by which the application behind this proxy is told who its client is. */

@unmanaged
export class Application {
  header: Slice;
  /** The paths of the fields that it is told; null: DEFAULT_FIELDS. */
  fields: Texts | null;
  /** YES, NO, or 0: nothing is said of it. */
  onlyVerified: u32;
  /** Where in the configuration header and onlyVerified stand, for what is wrong with them together with other fields. */
  headerAt: u32;
  onlyVerifiedAt: u32;
}

const NO: u32 = 1;
const YES: u32 = 2;

const DEFAULT_HEADER: Slice = name('x-client-workload');
export const DEFAULT_FIELDS: Texts = defaultFields();

function defaultFields(): Texts {
  const fields = changetype<Texts>(allocate(offsetof<Texts>() + 2 * SLICE_SIZE));
  fields.at = changetype<usize>(fields) + offsetof<Texts>();
  fields.count = 2;
  fields.get(0).copy(name('WORKLOAD_NAME'));
  fields.get(1).copy(name('NAMESPACE'));
  return fields;
}

const MOST_FIELDS: u32 = 16;
const LONGEST_FIELD: u32 = 80;

const HEADER: u32 = 1;
const FIELDS: u32 = 2;
const ONLY_VERIFIED: u32 = 3;

const text = slice(memory.data(8, 4));

/** Reads the field `tell_application`; false: it is refused, and the log says why. */
export function readApplication(config: Config): bool {
  if (!expect(json.OBJECT)) return false;
  const at = keepRoom(offsetof<Application>());
  if (!at) return refuse(json.offset(), 'does not fit into memory');
  memory.fill(at, 0, offsetof<Application>());
  const application = changetype<Application>(at);
  application.header = DEFAULT_HEADER;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    let field = isText(key, 'header') ? HEADER : UNKNOWN;
    if (isText(key, 'fields')) field = FIELDS;
    if (isNamed('only_verified')) field = ONLY_VERIFIED;
    if (!isNew(field, seen)) return false;
    seen |= 1 << field;
    if (!skipNull() && !readField(application, field)) return false;
    stepBack(size);
  }
  config.application = application;
  return isWellFormed();
}

function readField(application: Application, field: u32): bool {
  if (field == HEADER) return readHeader(application);
  if (field == FIELDS) {
    application.fields = readTexts(MOST_FIELDS, LONGEST_FIELD);
    return application.fields != null;
  }
  application.onlyVerifiedAt = json.offset();
  const isTrue = readBool();
  application.onlyVerified = isTrue == 1 ? YES : NO;
  return isTrue != REFUSED;
}

/** Reads the header's name: none that HTTP, Envoy or an exchange of metadata uses for something else. */
function readHeader(application: Application): bool {
  application.headerAt = json.offset();
  if (!readHeaderName(text)) return false;
  if (beginsWith(text, 'x-envoy-') || beginsWith(text, 'x-forwarded-') || beginsWith(text, 'x-istio-peer-')) {
    return refuse(application.headerAt, 'is a header that has another use');
  }
  const copy = kept(text);
  if (!copy) return false;
  application.header = copy;
  return true;
}

/** Whether the field agrees with all others; if not, the log says why. */
export function isConsistent(config: Config): bool {
  const application = config.application;
  if (!application) return true;
  const header = application.header;
  if (sameBytes(header, config.metadataHeader) || sameBytes(header, config.idHeader)) {
    return refuse(application.headerAt, 'tell_application.header must be another header than the two of the exchange');
  }
  return (
    application.onlyVerified != YES ||
    config.verification.mode != OFF ||
    refuse(
      application.onlyVerifiedAt,
      'tell_application.only_verified needs verify_peer, with a mode that is not "off"',
    )
  );
}

/** Whether the application is only told of clients whose claims are proven: where claims are compared, unless told. */
export function tellsOnlyVerified(application: Application, config: Config): bool {
  return application.onlyVerified != NO && config.verification.mode != OFF;
}

/**
 * The headers of all configurations of this VM. A stream that no configuration is known of has none of them: whoever
 * reads such a header believes it.
 */
@unmanaged
export class ToldHeader {
  next: ToldHeader | null;
  configurations: u32;
  name: Slice;
}

/** Where the address of the first one stands. */
const first = memory.data(4, 4);

export function firstTold(): ToldHeader | null {
  const at = load<usize>(first);
  return at ? changetype<ToldHeader>(at) : null;
}

/** Counts one more configuration for its header; false if there is no memory for a new one. */
export function useTold(config: Config): bool {
  const application = config.application;
  if (!application) return true;
  const header = application.header;
  let known = firstTold();
  while (known && !sameBytes(known.name, header)) known = known.next;
  if (!known) {
    const nameAt = offsetof<ToldHeader>();
    const at = allocate(nameAt + SLICE_SIZE + header.size);
    if (!at) return false;
    known = changetype<ToldHeader>(at);
    known.next = firstTold();
    known.configurations = 0;
    known.name = slice(at + nameAt);
    known.name.set(at + nameAt + SLICE_SIZE, header.size);
    memory.copy(known.name.at, header.at, header.size);
    store<usize>(first, at);
  }
  known.configurations++;
  return true;
}

/** A configuration ended: its header goes with the last one. */
export function leaveTold(config: Config): void {
  const application = config.application;
  if (!application) return;
  // `next` is the first field of a header: where its address stands, and where that of the first one stands, are alike.
  let place = first;
  let told = firstTold();
  while (told && !sameBytes(told.name, application.header)) {
    place = changetype<usize>(told);
    told = told.next;
  }
  if (!told || --told.configurations > 0) return;
  store<usize>(place, load<usize>(changetype<usize>(told)));
  release(changetype<usize>(told));
}
