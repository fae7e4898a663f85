// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { isText } from '../memory/ascii';
import { slice } from '../memory/slice';
import * as json from '../wire/json';
import * as names from '../wire/names';
import {
  expect,
  isNamed,
  isNew,
  isWellFormed,
  key,
  readText,
  readTexts,
  refuse,
  skipNull,
  step,
  stepBack,
  stepInto,
  Texts,
  UNKNOWN,
} from './reader';

/** The field `verify_peer`: what of a peer's claims is compared with its certificate, and what follows from it. */

/**
 * What follows from the verdict on a peer's claims (peers/verify.ts). OFF: there is none. MARK: it is published beside
 * the peer. ENFORCE: a peer whose claims are wrong is not published. REQUIRE: only one whose claims are proven is.
 */
export const OFF: u32 = 0;
export const MARK: u32 = 1;
export const ENFORCE: u32 = 2;
export const REQUIRE: u32 = 3;

/** Claims that are compared: a set of these. */
export const VERIFIES_NAMESPACE: u32 = 1;
export const VERIFIES_ACCOUNT: u32 = 2;
export const VERIFIES_TRUST_DOMAIN: u32 = 4;
export const VERIFIES_IDENTITY: u32 = 8;
export const ALL_CLAIMS: u32 = 15;

@unmanaged
export class Verification {
  /** OFF, MARK, ENFORCE or REQUIRE. */
  mode: u32;
  /** The claims that are compared. */
  claims: u32;
  /** Trust domains that peers may be of; null: our own certificate's. */
  trustDomains: Texts | null;
}

const text = slice(memory.data(8, 4));

const VERIFY_MODE: u32 = 1;
const VERIFY_TRUST_DOMAINS: u32 = 2;
const VERIFY_FIELDS: u32 = 3;

/** Reads the field `verify_peer`; false: it is refused, and the log says why. */
export function readVerification(to: Verification): bool {
  if (!expect(json.OBJECT)) return false;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    let field = isText(key, 'mode') ? VERIFY_MODE : UNKNOWN;
    if (isNamed('trust_domains')) field = VERIFY_TRUST_DOMAINS;
    if (isText(key, 'fields')) field = VERIFY_FIELDS;
    if (!isNew(field, seen)) return false;
    seen |= 1 << field;
    if (!skipNull()) {
      if (field == VERIFY_MODE) {
        if (!readMode(to)) return false;
      } else if (field == VERIFY_FIELDS) {
        if (!readClaims(to)) return false;
      } else {
        to.trustDomains = readTexts();
        if (!to.trustDomains) return false;
      }
    }
    stepBack(size);
  }
  return isWellFormed();
}

function readMode(to: Verification): bool {
  const offset = json.offset();
  if (!readText(text)) return false;
  if (isText(text, 'off')) to.mode = OFF;
  else if (isText(text, 'mark')) to.mode = MARK;
  else if (isText(text, 'enforce')) to.mode = ENFORCE;
  else if (isText(text, 'require')) to.mode = REQUIRE;
  else return refuse(offset, 'must be "off", "mark", "enforce" or "require"');
  return true;
}

/** The list of the claims that are compared. */
function readClaims(to: Verification): bool {
  if (!expect(json.ARRAY)) return false;
  to.claims = 0;
  let index: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(index++);
    const offset = json.offset();
    if (!readText(text)) return false;
    if (isText(text, names.NAMESPACE)) to.claims |= VERIFIES_NAMESPACE;
    else if (isText(text, names.SERVICE_ACCOUNT)) to.claims |= VERIFIES_ACCOUNT;
    else if (isText(text, names.TRUST_DOMAIN)) to.claims |= VERIFIES_TRUST_DOMAIN;
    else if (isText(text, names.IDENTITY)) to.claims |= VERIFIES_IDENTITY;
    else return refuse(offset, 'is not a claim that certificates prove');
    stepBack(size);
  }
  return isWellFormed();
}
