// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { VERIFIES_ACCOUNT, VERIFIES_IDENTITY, VERIFIES_NAMESPACE, VERIFIES_TRUST_DOMAIN } from '../config/verification';
import * as properties from '../host/properties';
import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { compare, Slice, sameBytes, slice } from '../memory/slice';
import * as names from '../wire/names';
import { namespaceOf } from '../wire/owner';
import { kindOf, STRING_KIND } from '../wire/struct';
import { findField } from '../wire/struct_fields';
import { Peer, Side } from './peer';

/**
 * What a peer claims, beside what its mTLS certificate proves: the SPIFFE URI that Envoy found in it.
 *
 *     spiffe://TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT                        Istio
 *     spiffe://TRUST_DOMAIN[/ap/PARTITION]/ns/NAMESPACE/dc/DATACENTER/svc/SERVICE  Consul
 *     spiffe://TRUST_DOMAIN/any/path                                               Kuma, SPIRE: the trust domain only
 *
 * Envoy shows the first URI of a certificate; one that follows SPIFFE has no other.
 */

/** A verdict on a peer. */
export const UNVERIFIED: u32 = 0;
export const VERIFIED: u32 = 1;
export const MISMATCH: u32 = 2;

/** What comes of one claim: it is not made, the certificate says nothing of it, it is true, or it is wrong. */
const NOT_MADE: u32 = 0;
const UNPROVEN: u32 = 1;
const TRUE: u32 = 2;
const WRONG: u32 = 4;

const uri = slice(memory.data(8, 4));
const ownUri = slice(memory.data(8, 4));
const trustDomain = slice(memory.data(8, 4));
const ownTrustDomain = slice(memory.data(8, 4));
const namespace = slice(memory.data(8, 4));
const account = slice(memory.data(8, 4));
const claimed = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));
const field = slice(memory.data(8, 4));

/**
 * Compares what a peer claims with its certificate. MISMATCH: a claim is wrong, or the peer is of another trust domain
 * than is expected of it. VERIFIED: it claims something, and all that it claims is proven. UNVERIFIED: there is no
 * certificate with such a URI, or it says nothing of a claim, or nothing is claimed.
 */
export function verify(peer: Peer, side: Side, config: Config): u32 {
  if (!properties.get(side.peerUri, uri) || !readTrustDomain(uri, trustDomain)) return UNVERIFIED;
  readPath();
  let found = outcomeOfTrustDomain(side, config);
  const claims = config.verification.claims;
  if (peer.struct.size > 0) {
    if (claims & VERIFIES_NAMESPACE) {
      found |= outcomeOf(peer.struct, names.NAMESPACE, namespace);
      if (namespaceOf(peer.struct, claimed)) found |= outcome(claimed, namespace);
    }
    if (claims & VERIFIES_ACCOUNT) found |= outcomeOf(peer.struct, names.SERVICE_ACCOUNT, account);
    if (claims & VERIFIES_TRUST_DOMAIN) found |= outcomeOf(peer.struct, names.TRUST_DOMAIN, trustDomain);
    if (claims & VERIFIES_IDENTITY) found |= outcomeOf(peer.struct, names.IDENTITY, uri);
  }
  if (claims & VERIFIES_NAMESPACE && namespaceOfId(peer.id, claimed)) found |= outcome(claimed, namespace);
  if (found & WRONG) return MISMATCH;
  return found == TRUE ? VERIFIED : UNVERIFIED;
}

/** What comes of a field of a Struct. An empty string claims nothing; what is no string cannot be true. */
function outcomeOf(struct: Slice, name: Ascii, proof: Slice): u32 {
  field.set(bytesOf(name), sizeOf(name));
  value.set(0, 0);
  if (!findField(struct, field, value) || value.size == 0) return NOT_MADE;
  if (kindOf(value, claimed) != STRING_KIND) return WRONG;
  return claimed.size == 0 ? NOT_MADE : outcome(claimed, proof);
}

function outcome(claim: Slice, proof: Slice): u32 {
  if (proof.size == 0) return UNPROVEN;
  return sameBytes(claim, proof) ? TRUE : WRONG;
}

/**
 * The namespace in an id of Istio's form, `sidecar~10.1.2.3~POD.NAMESPACE~NAMESPACE.svc.cluster.local`; false for an id
 * of another form.
 */
function namespaceOfId(id: Slice, found: Slice): bool {
  let part: u32 = 0;
  let begin: usize = 0;
  let end: usize = 0;
  for (let at = id.at; at < id.end(); at++) {
    if (load<u8>(at) != 0x7e) continue;
    part++;
    if (part == 2) begin = at + 1;
    else if (part == 3) end = at;
  }
  if (part != 3) return false;
  let at = end;
  while (at > begin && load<u8>(at - 1) != 0x2e) at--;
  found.set(at, <u32>(end - at));
  return at > begin && at < end;
}

/** Whether the peer is of a trust domain that is configured, or else of our own certificate's. */
function outcomeOfTrustDomain(side: Side, config: Config): u32 {
  const expected = config.verification.trustDomains;
  if (expected && expected.count > 0) {
    for (let i: u32 = 0; i < expected.count; i++) {
      if (sameBytes(expected.get(i), trustDomain)) return NOT_MADE;
    }
    return WRONG;
  }
  if (!properties.get(side.localUri, ownUri) || !readTrustDomain(ownUri, ownTrustDomain)) return UNPROVEN;
  return sameBytes(ownTrustDomain, trustDomain) ? NOT_MADE : WRONG;
}

/** Reads the trust domain of a SPIFFE URI; false if it is none. */
function readTrustDomain(from: Slice, domain: Slice): bool {
  if (!startsWith(from.at, from.end(), 'spiffe://')) return false;
  const at = from.at + sizeOf('spiffe://');
  domain.set(at, <u32>(slashFrom(at, from.end()) - at));
  return domain.size > 0;
}

/** Reads namespace and service account of `uri`, which stay empty if its path has another form. */
function readPath(): void {
  namespace.set(0, 0);
  account.set(0, 0);
  const end = uri.end();
  let at = trustDomain.end();
  if (startsWith(at, end, '/ap/')) at = slashFrom(at + sizeOf('/ap/'), end);
  if (!startsWith(at, end, '/ns/')) return;
  const namespaceAt = at + sizeOf('/ns/');
  const namespaceEnd = slashFrom(namespaceAt, end);
  if (isLast(namespaceEnd, end, '/sa/')) {
    account.set(namespaceEnd + sizeOf('/sa/'), <u32>(end - namespaceEnd - sizeOf('/sa/')));
  } else if (
    !startsWith(namespaceEnd, end, '/dc/') ||
    !isLast(slashFrom(namespaceEnd + sizeOf('/dc/'), end), end, '/svc/')
  ) {
    return;
  }
  namespace.set(namespaceAt, <u32>(namespaceEnd - namespaceAt));
}

/** Whether what is left of a path is this part and one name, that is not empty. */
function isLast(at: usize, end: usize, part: Ascii): bool {
  const begin = at + sizeOf(part);
  return startsWith(at, end, part) && begin < end && slashFrom(begin, end) == end;
}

function startsWith(at: usize, end: usize, text: Ascii): bool {
  return end - at >= sizeOf(text) && compare(at, bytesOf(text), sizeOf(text)) == 0;
}

function slashFrom(at: usize, end: usize): usize {
  while (at < end && load<u8>(at) != 0x2f) at++;
  return at;
}
