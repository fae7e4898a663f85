// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config, VERIFIES_ACCOUNT, VERIFIES_IDENTITY, VERIFIES_NAMESPACE, VERIFIES_TRUST_DOMAIN } from './config';
import { content, findText } from './dialect';
import * as fields from './fields';
import {
  DOWNSTREAM_LOCAL_URI,
  DOWNSTREAM_PEER_URI,
  MISMATCH_TEXT,
  UNVERIFIED_TEXT,
  UPSTREAM_LOCAL_URI,
  UPSTREAM_PEER_URI,
  VERIFIED_TEXT,
} from './host/names';
import * as properties from './host/properties';
import { Ascii, bytesOf, sizeOf } from './memory/ascii';
import { compare, SLICE_SIZE, Slice, sameBytes, slice } from './memory/slice';
import { STRING_KIND } from './wire/struct';

/**
 * What a peer claims, beside what its mTLS certificate proves: the SPIFFE URI that Envoy found in it.
 *
 *     spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT
 *
 * Envoy shows the first URI of a certificate; one that follows SPIFFE has no other.
 */

/** What came out. */
export const UNVERIFIED: u32 = 0;
export const VERIFIED: u32 = 1;
export const MISMATCH: u32 = 2;

const uri = slice(memory.data(8, 4));
const own = slice(memory.data(8, 4));
const trustDomain = slice(memory.data(8, 4));
const ownTrustDomain = slice(memory.data(8, 4));
const namespace = slice(memory.data(8, 4));
const account = slice(memory.data(8, 4));

let compared: u32 = 0;

/**
 * Compares a peer's Struct with its certificate. VERIFIED: something of what it claims was compared, and all of that is
 * true. UNVERIFIED: there is no certificate with such a URI, or nothing that can be compared is claimed. MISMATCH: a claim
 * is wrong, or the peer is of another trust domain than is expected of it.
 */
export function verify(struct: Slice, isUpstream: bool, config: Config): u32 {
  if (!properties.get(isUpstream ? UPSTREAM_PEER_URI : DOWNSTREAM_PEER_URI, uri)) return UNVERIFIED;
  if (!readUri(uri, trustDomain)) return UNVERIFIED;
  readPath();
  if (!isExpected(isUpstream, config)) return MISMATCH;
  compared = 0;
  const isTrue =
    (!(config.verifies & VERIFIES_NAMESPACE) || agrees(struct, fields.NAMESPACE, namespace)) &&
    (!(config.verifies & VERIFIES_ACCOUNT) || agrees(struct, fields.SERVICE_ACCOUNT, account)) &&
    (!(config.verifies & VERIFIES_TRUST_DOMAIN) || agrees(struct, fields.TRUST_DOMAIN, trustDomain)) &&
    (!(config.verifies & VERIFIES_IDENTITY) || agrees(struct, fields.IDENTITY, uri));
  if (!isTrue) return MISMATCH;
  return compared > 0 ? VERIFIED : UNVERIFIED;
}

/** What came out, as other filters read it. */
export function textOf(verdict: u32): Slice {
  if (verdict == VERIFIED) return VERIFIED_TEXT;
  return verdict == MISMATCH ? MISMATCH_TEXT : UNVERIFIED_TEXT;
}

/** Whether a claim is true, or not made: an empty one is none. */
function agrees(struct: Slice, field: Ascii, proof: Slice): bool {
  if (!findText(struct, field, STRING_KIND)) return true;
  compared++;
  return sameBytes(content, proof);
}

/** Whether the peer is of a trust domain that is configured, or else of our own certificate's. */
function isExpected(isUpstream: bool, config: Config): bool {
  for (let i: u32 = 0; i < config.trustDomainCount; i++) {
    if (sameBytes(slice(config.trustDomains + i * <u32>SLICE_SIZE), trustDomain)) return true;
  }
  if (config.trustDomainCount > 0) return false;
  return (
    properties.get(isUpstream ? UPSTREAM_LOCAL_URI : DOWNSTREAM_LOCAL_URI, own) &&
    readUri(own, ownTrustDomain) &&
    sameBytes(ownTrustDomain, trustDomain)
  );
}

/** Reads the trust domain of a SPIFFE URI; false if it is none. */
function readUri(from: Slice, domain: Slice): bool {
  if (!startsWith(from.at, from.end(), 'spiffe://')) return false;
  const at = from.at + sizeOf('spiffe://');
  domain.set(at, <u32>(slashFrom(at, from.end()) - at));
  return domain.size > 0;
}

/** Reads namespace and service account, which stay empty if the path has another form. */
function readPath(): void {
  namespace.set(0, 0);
  account.set(0, 0);
  const end = uri.end();
  let at = trustDomain.end();
  if (!startsWith(at, end, '/ns/')) return;
  at += sizeOf('/ns/');
  const namespaceEnd = slashFrom(at, end);
  if (!startsWith(namespaceEnd, end, '/sa/')) return;
  const accountAt = namespaceEnd + sizeOf('/sa/');
  if (slashFrom(accountAt, end) != end) return;
  namespace.set(at, <u32>(namespaceEnd - at));
  account.set(accountAt, <u32>(end - accountAt));
}

function startsWith(at: usize, end: usize, text: Ascii): bool {
  return end - at >= sizeOf(text) && compare(at, bytesOf(text), sizeOf(text)) == 0;
}

function slashFrom(at: usize, end: usize): usize {
  while (at < end && load<u8>(at) != 0x2f) at++;
  return at;
}
