// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { ENFORCE, OFF, REQUIRE } from '../config/verification';
import { MISMATCH_TEXT, UNVERIFIED_TEXT, VERIFIED_TEXT } from '../host/names';
import * as properties from '../host/properties';
import { Slice, slice } from '../memory/slice';
import { count } from '../metrics/metrics';
import { MISMATCHES, UNVERIFIED } from '../metrics/table';
import { clearFields, clearText, publishFields } from './fields';
import { CLIENT, Peer, SERVER, Side } from './peer';
import * as verdicts from './verify';

/** The one place where a peer is passed on to the other filters, as filter state. */

const earlier = slice(memory.data(8, 4));
const nothing = slice(memory.data(8, 4));

/**
 * Publishes a peer that was found: its Struct, its id, its plain fields and the verdict on all of it change together.
 * Whether both Struct and id were published. A server without an id gets an empty one: by that alone a later run sees
 * that there was one.
 *
 * `replaces`: whether another peer may have been published on this side before. Then what this one does not say is
 * cleared. Filter state cannot be deleted: a cleared string reads as empty, a cleared Struct as `{}`.
 */
export function publish(side: Side, peer: Peer, config: Config, replaces: bool): bool {
  let isStructPublished = peer.struct.size > 0;
  let isIdPublished = peer.id.size > 0;
  const mode = config.verification.mode;
  if (mode != OFF) {
    const verdict = verdicts.verify(peer, side, config);
    peer.verdict = verdict;
    properties.set(side.verified, textOf(verdict));
    if (verdict == verdicts.MISMATCH) count(MISMATCHES);
    else if (verdict == verdicts.UNVERIFIED) count(UNVERIFIED);
    const isWrong = verdict == verdicts.MISMATCH && mode >= ENFORCE;
    const isUnproven = verdict != verdicts.VERIFIED;
    if (isWrong || (isUnproven && mode == REQUIRE)) isStructPublished = false;
    if (isUnproven && mode >= ENFORCE) isIdPublished = false;
  } else if (replaces) {
    clearText(side.verified);
  }
  peer.isPublished = isStructPublished;
  const fields = isStructPublished ? config.plain : null;
  if (fields || replaces) publishFields(peer, fields, side.number, replaces);
  if (isStructPublished) properties.set(side.struct, peer.struct);
  else if (replaces) clearText(side.struct);
  if (isIdPublished) properties.set(side.id, peer.id);
  else if (side == SERVER) properties.set(side.id, nothing);
  else if (replaces) clearText(side.id);
  return isStructPublished && isIdPublished;
}

/** Whether a peer was published on a side. */
export function isPublished(side: Side): bool {
  return (
    (properties.get(side.struct, earlier) && earlier.size > 0) || (properties.get(side.id, earlier) && earlier.size > 0)
  );
}

/** Whether the client was published with its id. */
export function isClientIdPublished(): bool {
  return properties.get(CLIENT.id, earlier) && earlier.size > 0;
}

/** Whether anything was published of a server, which always leaves an id, if an empty one. */
export function isServerPublished(): bool {
  return properties.get(SERVER.id, earlier);
}

/** Clears what an earlier run published on a side. */
export function clearPublished(side: Side): void {
  clearText(side.struct);
  clearText(side.id);
  clearText(side.verified);
  clearFields(side.number);
}

function textOf(verdict: u32): Slice {
  if (verdict == verdicts.VERIFIED) return VERIFIED_TEXT;
  return verdict == verdicts.MISMATCH ? MISMATCH_TEXT : UNVERIFIED_TEXT;
}
