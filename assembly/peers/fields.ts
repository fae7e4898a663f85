// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { firstPlain, PlainFields } from '../config/plain';
import { name } from '../host/names';
import * as properties from '../host/properties';
import { isText } from '../memory/ascii';
import { Slice, slice } from '../memory/slice';
import { findText } from '../wire/path';
import { Peer } from './peer';

/**
 * The fields of a peer that are published as strings of their own. Where they are in its Struct is found once: the table
 * of positions stands right behind the Struct, in the cache too, which keeps a peer once for each list of fields that
 * was asked of it.
 *
 *     offset from the Struct's first byte: u32, size: u32; for each field of the list, size 0 for one that is not there
 */

const POSITION_SIZE: u32 = 8;

const KUBERNETES_NAME: Slice = name('LABELS.app.kubernetes.io/name');
const KUBERNETES_VERSION: Slice = name('LABELS.app.kubernetes.io/version');

const earlier = slice(memory.data(8, 4));
const text = slice(memory.data(8, 4));
const nothing = slice(memory.data(8, 4));
/** Positions in a Struct that has no room behind it: 16 * POSITION_SIZE. */
const ownTable = memory.data(128, 4);

/** Bytes of the table of a list. */
export function tableSize(fields: PlainFields | null): u32 {
  return fields ? fields.count * POSITION_SIZE : 0;
}

/** Writes the table of a Struct. */
export function locate(struct: Slice, fields: PlainFields, to: usize): void {
  for (let i: u32 = 0; i < fields.count; i++, to += POSITION_SIZE) {
    findPublished(struct, fields.path(i), fields.speaksIstio, text);
    store<u32>(to, <u32>(text.at - struct.at));
    store<u32>(to, text.size, 4);
  }
}

/** Finds what a field of a Struct says, as `found`, which is empty if it is none. */
export function findPublished(struct: Slice, path: Slice, speaksIstio: bool, found: Slice): void {
  if (!speaksIstio || !findPreferred(struct, path, found)) findText(struct, path, found);
}

/**
 * Finds the label that Istio's native filter reads before an app or version: that which Kubernetes recommends
 * (convertStructToWorkloadMetadata in Envoy's contrib/istio). The Struct stays what the peer said.
 */
function findPreferred(struct: Slice, path: Slice, found: Slice): bool {
  if (isText(path, 'LABELS.app')) return findText(struct, KUBERNETES_NAME, found);
  return isText(path, 'LABELS.version') && findText(struct, KUBERNETES_VERSION, found);
}

/**
 * Publishes the fields of a peer. `replaces`: what was published before of another one is cleared, by whichever list of
 * the VM that was.
 */
export function publishFields(peer: Peer, fields: PlainFields | null, side: u32, replaces: bool): void {
  if (replaces) clearFields(side);
  if (!fields) return;
  let table = peer.positions;
  if (!table) {
    table = ownTable;
    locate(peer.struct, fields, table);
  }
  for (let i: u32 = 0; i < fields.count; i++, table += POSITION_SIZE) {
    text.set(peer.struct.at + load<u32>(table), load<u32>(table, 4));
    if (text.size > 0) properties.set(fields.name(i, side), text);
  }
}

/** Clears on one side every field that any list of the VM may have published. */
export function clearFields(side: u32): void {
  let fields = firstPlain();
  while (fields) {
    for (let i: u32 = 0; i < fields.count; i++) clearText(fields.name(i, side));
    fields = fields.next;
  }
}

/** Makes a string or Struct of filter state empty, if it is there: it cannot be deleted. */
export function clearText(name: Slice): void {
  if (properties.get(name, earlier) && earlier.size > 0) properties.set(name, nothing);
}
