// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { roomForBaggage, writeBaggage } from './baggage';
import { addLeftOut, cutToFit, fieldsLeftOut, roomForCut } from './budget';
import { Config } from './config';
import { nativeStruct, roomForNative } from './dialect';
import * as log from './host/log';
import { NODE, OLD_NODE } from './host/names';
import * as properties from './host/properties';
import { refused, reserve } from './memory/arena';
import { takeFor } from './memory/blocks';
import { SLICE_SIZE, Slice, slice } from './memory/slice';
import { change, count, OWN_FIELDS_LEFT_OUT } from './metrics';
import { encode, encodedSize } from './wire/base64';
import { canonical, leftOut, roomForCanonical } from './wire/canonical';
import { readNode, readSurroundings } from './wire/node';
import { roomForSelect, select } from './wire/select';
import { kindOf, STRUCT_KIND } from './wire/struct';
import { isUtf8 } from './wire/utf8';

/**
 * What this proxy says of itself: the values of the two headers, ready to be sent. Made once for each configuration.
 * A value at address 0 is not sent; an empty one is, and asks the peer for its own.
 */
@unmanaged
export class Identity {
  /** Base64 of the serialized google.protobuf.Struct, padded. */
  metadata: Slice;
  /** The node's id, or its cluster. */
  id: Slice;
  /** The same as a member of a baggage header, where the configuration wants that. */
  baggage: Slice;
}

const nodeBytes = slice(memory.data(8, 4));
const nodeId = slice(memory.data(8, 4));
const nodeCluster = slice(memory.data(8, 4));
const ownValue = slice(memory.data(8, 4));
const ownStruct = slice(memory.data(8, 4));
const ownBytes = slice(memory.data(8, 4));
const allMetadata = slice(memory.data(8, 4));
const region = slice(memory.data(8, 4));
const zone = slice(memory.data(8, 4));

/**
 * The identity of this proxy's node, kept for as long as `owner` lives; null, and a line in the log, if the host
 * does not say what the node is or there is no memory.
 */
export function readIdentity(config: Config, owner: usize): Identity | null {
  const at = takeFor(owner, offsetof<Identity>() + 3 * SLICE_SIZE);
  if (!at) return noMemory();
  const identity = changetype<Identity>(at);
  identity.metadata = slice(at + offsetof<Identity>());
  identity.id = slice(at + offsetof<Identity>() + SLICE_SIZE);
  identity.baggage = slice(at + offsetof<Identity>() + 2 * SLICE_SIZE);
  identity.baggage.set(0, 0);
  identity.metadata.set(0, 0);
  identity.id.set(0, 0);

  if (!fetchNode() || !readNode(nodeBytes, config.metadataKey, nodeId, nodeCluster, ownValue)) {
    log.line().add('the host does not say which node this is');
    log.error();
    return null;
  }
  if (!keepId(config, identity.id, owner)) return noMemory();
  if (!keepMetadata(config, identity.metadata, owner)) return noMemory();
  if (config.writesBaggage && !keepBaggage(identity.baggage, owner)) return noMemory();
  return identity;
}

function noMemory(): Identity | null {
  log.line().add('there is no memory left for another configuration');
  log.error();
  return null;
}

/**
 * The serialized Node: about 60 kB, because it lists every extension of the proxy. What does not fit into the arena
 * is asked for once more when there is room. Older Envoys know it under another name.
 */
function fetchNode(): bool {
  for (let attempt = 0; attempt < 2; attempt++) {
    if (properties.get(NODE, nodeBytes) || properties.get(OLD_NODE, nodeBytes)) return true;
    if (!refused() || !reserve(refused())) return false;
  }
  return false;
}

function keepId(config: Config, id: Slice, owner: usize): bool {
  const chosen = config.usesCluster || nodeId.size == 0 ? nodeCluster : nodeId;
  if (chosen.size == 0) {
    log.line().add('the node has neither id nor cluster: no id is sent');
    log.warn();
    return true;
  }
  if (!isFieldValue(chosen)) {
    const line = log.line();
    line.add('the node is called what no header can carry, no id is sent: ');
    line.addQuoted(chosen);
    log.warn();
    return true;
  }
  const at = takeFor(owner, chosen.size);
  if (!at) return false;
  memory.copy(at, chosen.at, chosen.size);
  id.set(at, chosen.size);
  return true;
}

/** Whether a header can carry the bytes as they are (RFC 9110, 5.5): no control characters, no space at either end. */
function isFieldValue(value: Slice): bool {
  if (load<u8>(value.at) == 0x20 || load<u8>(value.end() - 1) == 0x20) return false;
  for (let at = value.at; at < value.end(); at++) {
    const byte = load<u8>(at);
    if (byte < 0x20 || byte == 0x7f) return false;
  }
  return isUtf8(value.at, value.end());
}

/** How many of the fields that are not sent the log names. */
const MOST_NAMED: u32 = 6;

/** Whether the log says already that there is nothing to send: once for each VM, not for each configuration. */
let warnedOfNothing: bool = false;

/**
 * Finds what this proxy says of itself, as `ownStruct`: the Struct under the configured key, or what Istio's native
 * filter would make of the flat keys beside it. The dialect says which of the two is asked for first.
 */
function findStruct(config: Config): bool {
  const hasKey = ownValue.size > 0 && kindOf(ownValue, ownStruct) == STRUCT_KIND;
  if (hasKey && !config.speaksIstio) return true;
  readSurroundings(nodeBytes, allMetadata, region, zone);
  if (!reserve(roomForNative(allMetadata.size))) return hasKey;
  return nativeStruct(allMetadata, region, zone, config.labels, config.labelCount, ownStruct) || hasKey;
}

function keepMetadata(config: Config, metadata: Slice, owner: usize): bool {
  ownBytes.set(0, 0);
  const isStruct = findStruct(config);
  if (isStruct && !reserve(roomForCanonical(ownStruct.size))) return false;
  if (!isStruct || !canonical(ownStruct, ownBytes)) {
    if (!warnedOfNothing) {
      const line = log.line();
      line.add(ownValue.size == 0 ? 'the node has no metadata "' : 'the node has no Struct as its metadata "');
      line.addQuoted(config.metadataKey);
      line.add('": only its id is sent');
      log.warn();
      warnedOfNothing = true;
    }
    return true;
  }
  if (leftOut() > 0) {
    const line = log.line();
    line.add('values of the own metadata that have no JSON form or are nested too deep are not sent: ');
    line.addNumber(leftOut());
    log.warn();
  }
  if (config.fields) {
    if (!reserve(roomForSelect(ownBytes.size, config.fieldCount))) return false;
    if (!select(ownBytes, config.fields, config.fieldCount, ownBytes)) return false;
  }
  if (encodedSize(ownBytes.size) > config.maxHeaderSize && !cutDown(config)) return true;
  const size = encodedSize(ownBytes.size);
  const at = takeFor(owner, size);
  if (!at) return false;
  encode(ownBytes, at);
  metadata.set(at, size);
  return true;
}

/** What was just made into the metadata header, as baggage. */
function keepBaggage(baggage: Slice, owner: usize): bool {
  if (ownBytes.size == 0) return true;
  const at = takeFor(owner, roomForBaggage(ownBytes.size));
  if (!at) return false;
  baggage.set(at, writeBaggage(ownBytes, at));
  return true;
}

/** Makes the own metadata fit into its header, with a warning that says at what price; false if it cannot be done. */
function cutDown(config: Config): bool {
  const size = encodedSize(ownBytes.size);
  // Padded base64 is four letters for each three bytes begun.
  const isCut =
    reserve(roomForCut(ownBytes.size)) &&
    cutToFit(ownBytes, (config.maxHeaderSize / 4) * 3, ownBytes) &&
    ownBytes.size > 0;
  const line = log.line();
  line.add('the own metadata takes ');
  line.addNumber(size);
  line.add(' bytes as a header, max_header_size is ');
  line.addNumber(config.maxHeaderSize);
  if (isCut) {
    line.add(': not sent are ');
    line.addNumber(fieldsLeftOut());
    line.add(' fields: ');
    for (let i: u32 = 0; i < min<u32>(fieldsLeftOut(), MOST_NAMED); i++) {
      if (i > 0) line.add(', ');
      addLeftOut(i, line);
    }
    if (fieldsLeftOut() > MOST_NAMED) line.add(', ...');
    change(OWN_FIELDS_LEFT_OUT, fieldsLeftOut());
  } else {
    line.add(', and cannot be cut down to it: only the id is sent');
    count(OWN_FIELDS_LEFT_OUT);
  }
  log.warn();
  return isCut;
}
