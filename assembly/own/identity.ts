// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { BAGGAGE, has } from '../config/lists';
import * as log from '../host/log';
import { NODE, NODE_CLUSTER, NODE_ID, OLD_NODE } from '../host/names';
import * as properties from '../host/properties';
import { refused, reserve } from '../memory/arena';
import { Ascii } from '../memory/ascii';
import { allocateFor } from '../memory/blocks';
import { SLICE_SIZE, Slice, slice } from '../memory/slice';
import { change, count } from '../metrics/metrics';
import { OWN_FIELDS_LEFT_OUT } from '../metrics/table';
import { roomForBaggage, writeBaggage } from '../wire/baggage';
import { encode, encodedSize } from '../wire/base64';
import { canonical, FAILED, roomForCanonical } from '../wire/canonical';
import { readNode, readSurroundings } from '../wire/node';
import { roomForPreface, writePreface } from '../wire/preface';
import { roomForSelect, select } from '../wire/select';
import { faultOfText, kindOf, SOUND, STRUCT_KIND } from '../wire/struct';
import { addLeftOut, CANNOT, cutToFit, roomForCut } from './budget';
import { warnOfSecrets } from './disclosure';
import { nativeStruct, roomForNative } from './istio';
import { VALUE_SIZE, Value } from './values';

/**
 * What this proxy says of itself: the values of the two headers, ready to be sent. Made once for each configuration.
 * A value at address 0 is not sent; an empty one is, and asks the peer for its own. What cannot be sent, for want of
 * memory or because it is too large, is left out, and the log says why: the proxy serves in any case.
 */
@unmanaged
export class Identity {
  /** Base64 of the serialized google.protobuf.Struct, padded. */
  metadata: Slice;
  /** The node's id, or its cluster. */
  id: Slice;
  /** The same as a member of a baggage header, where the configuration wants that. */
  baggage: Slice;
  /** The same as a preface of connections; of size 0: there is nothing to say. */
  preface: Slice;
  /** The Struct itself, where requests are counted; whatever of it is sent. */
  struct: Slice;
  /** By which both are found (values.ts). */
  metadataValue: Value;
  idValue: Value;
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
 * does not say what the node is or there is no memory even for its id.
 */
export function readIdentity(config: Config, owner: usize): Identity | null {
  const slicesAt = (offsetof<Identity>() + 7) & ~7;
  const valuesAt = slicesAt + 5 * SLICE_SIZE;
  const at = allocateFor(owner, valuesAt + 2 * VALUE_SIZE);
  if (!at) return noIdentity();
  memory.fill(at, 0, valuesAt + 2 * VALUE_SIZE);
  const identity = changetype<Identity>(at);
  identity.metadata = slice(at + slicesAt);
  identity.id = slice(at + slicesAt + SLICE_SIZE);
  identity.baggage = slice(at + slicesAt + 2 * SLICE_SIZE);
  identity.struct = slice(at + slicesAt + 3 * SLICE_SIZE);
  identity.preface = slice(at + slicesAt + 4 * SLICE_SIZE);
  identity.metadataValue = changetype<Value>(at + valuesAt);
  identity.idValue = changetype<Value>(at + valuesAt + VALUE_SIZE);

  if (!fetchNode()) {
    const size = refused();
    if (!size) return noNode();
    warnOfMemory('the node', <u32>size);
    properties.get(NODE_ID, nodeId);
    properties.get(NODE_CLUSTER, nodeCluster);
    return keepId(config, identity.id, owner) ? identity : noIdentity();
  }
  if (!readNode(nodeBytes, config.metadataKey, nodeId, nodeCluster, ownValue)) return noNode();
  if (!keepId(config, identity.id, owner)) return noIdentity();
  ownBytes.set(0, 0);
  keepMetadata(config, identity, owner);
  keepPreface(config, identity, owner);
  const lists = config.lists;
  if (lists && (has(lists.upstreamPropagation, BAGGAGE) || has(lists.downstreamPropagation, BAGGAGE))) {
    keepBaggage(config, identity.baggage, owner);
  }
  return identity;
}

/** Keeps all that the proxy could say of itself. */
function keepStruct(struct: Slice, owner: usize): void {
  const at = allocateFor(owner, ownBytes.size);
  if (!at) return;
  memory.copy(at, ownBytes.at, ownBytes.size);
  struct.set(at, ownBytes.size);
}

function noIdentity(): Identity | null {
  log.noMemory();
  return null;
}

function noNode(): Identity | null {
  log.line().add('the host does not say which node this is');
  log.error();
  return null;
}

/** `there is no memory for the own metadata (2000000 bytes): only the id is sent` */
function warnOfMemory(what: Ascii, size: u32, then: Ascii = 'only the id is sent'): void {
  const line = log.line();
  line.add('there is no memory for ');
  line.add(what);
  line.add(' (');
  line.addNumber(size);
  line.add(' bytes): ');
  line.add(then);
  log.warn();
  count(OWN_FIELDS_LEFT_OUT);
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

/** Keeps what the node calls itself, if a header can carry it; false if there is no memory. */
function keepId(config: Config, id: Slice, owner: usize): bool {
  const chosen = config.usesCluster || nodeId.size == 0 ? nodeCluster : nodeId;
  if (chosen.size == 0) {
    log.line().add('the node has neither id nor cluster: no id is sent');
    log.warn();
    return true;
  }
  if (chosen.size > config.maxHeaderSize) return noId('it is larger than max_header_size', chosen);
  if (!isFieldValue(chosen)) return noId('no header can carry it as it is', chosen);
  const at = allocateFor(owner, chosen.size);
  if (!at) return false;
  memory.copy(at, chosen.at, chosen.size);
  id.set(at, chosen.size);
  return true;
}

function noId(why: Ascii, chosen: Slice): bool {
  const line = log.line();
  line.add('the id of the node is not sent, since ');
  line.add(why);
  line.add(': ');
  line.addQuoted(chosen);
  log.warn();
  return true;
}

/**
 * Whether a header can carry the bytes as they are (RFC 9110, 5.5): no control characters, no space at either end, and
 * no comma, at which proxies join and split copies.
 */
function isFieldValue(value: Slice): bool {
  if (load<u8>(value.at) == 0x20 || load<u8>(value.end() - 1) == 0x20) return false;
  for (let at = value.at; at < value.end(); at++) {
    if (load<u8>(at) == 0x2c) return false;
  }
  return faultOfText(value.at, value.end()) == SOUND;
}

/** How many of the fields that are not sent the log names. */
const MOST_NAMED: u32 = 6;

/** Whether the log says already that there is nothing to send: once for each VM, not for each configuration. */
let warnedOfNothing: bool = false;

/**
 * Finds what this proxy says of itself, as `ownStruct`: the Struct under the configured key, or all metadata, or what
 * Istio's native filter would make of the flat keys beside it. The dialect says which of them is asked for first;
 * Istio's has one in any case.
 */
function findOwnStruct(config: Config): bool {
  readSurroundings(nodeBytes, allMetadata, region, zone);
  const isWhole = config.metadataKey.size == 0;
  if (isWhole) ownStruct.copy(allMetadata);
  const hasKey = isWhole ? allMetadata.size > 0 : ownValue.size > 0 && kindOf(ownValue, ownStruct) == STRUCT_KIND;
  if (hasKey && !config.speaksIstio) return true;
  const labels = config.labels;
  const count = labels ? labels.count : 0;
  if (!reserve(roomForNative(allMetadata.size, count))) {
    warnOfMemory('the own metadata', allMetadata.size);
    return false;
  }
  const isSentEmpty = config.speaksIstio && !hasKey;
  return nativeStruct(allMetadata, region, zone, labels ? labels.at : 0, count, isSentEmpty, ownStruct) || hasKey;
}

/** Makes the metadata header of this node, and `ownBytes`, the Struct in it. */
function keepMetadata(config: Config, identity: Identity, owner: usize): void {
  const metadata = identity.metadata;
  if (!findOwnStruct(config)) {
    warnOfNothing(config);
    return;
  }
  if (!reserve(roomForCanonical(ownStruct))) {
    warnOfMemory('the own metadata', ownStruct.size);
    return;
  }
  const leftOut = canonical(ownStruct, ownBytes);
  if (leftOut == FAILED) {
    warnOfNothing(config);
    return;
  }
  if (leftOut > 0) {
    const line = log.line();
    line.add(
      'values of the own metadata that no peer would take are not sent (control characters, no JSON form, nested too deep): ',
    );
    line.addNumber(leftOut);
    log.warn();
  }
  if (config.traffic) keepStruct(identity.struct, owner);
  const fields = config.fields;
  if (fields) {
    const hasRoom = reserve(roomForSelect(ownBytes, fields.count));
    if (!hasRoom || !select(ownBytes, fields.at, fields.count, ownBytes)) {
      warnOfMemory('the own metadata', ownBytes.size);
      ownBytes.set(0, 0);
      return;
    }
  }
  if (encodedSize(ownBytes.size) > config.maxOwnSize && !cutDown(config)) {
    ownBytes.set(0, 0);
    return;
  }
  if (!fields) warnOfSecrets(ownBytes);
  const size = encodedSize(ownBytes.size);
  const at = allocateFor(owner, size);
  if (!at) {
    warnOfMemory('the own metadata', size);
    ownBytes.set(0, 0);
    return;
  }
  encode(ownBytes, at);
  metadata.set(at, size);
}

function warnOfNothing(config: Config): void {
  if (warnedOfNothing) return;
  warnedOfNothing = true;
  const line = log.line();
  line.add(ownValue.size == 0 ? 'the node has no metadata' : 'the node has no Struct as its metadata');
  if (config.metadataKey.size > 0) {
    line.add(' "');
    line.addQuoted(config.metadataKey);
    line.add('"');
  }
  line.add(': only its id is sent');
  log.warn();
}

const UNTOLD: Ascii = 'connections are not told who this is';

/** What was just made into the metadata header, and the id, as a preface. */
function keepPreface(config: Config, identity: Identity, owner: usize): void {
  if (ownBytes.size == 0 && identity.id.size == 0) return;
  const room = roomForPreface(ownBytes, identity.id);
  const at = allocateFor(owner, room);
  if (!at) {
    warnOfMemory('the own preface', room, UNTOLD);
    return;
  }
  writePreface(ownBytes, identity.id, at, room, identity.preface);
  if (identity.preface.size <= config.maxHeaderSize) return;
  const line = log.line();
  line.add('the own preface takes ');
  line.addNumber(identity.preface.size);
  line.add(' bytes, which is more than max_header_size: ');
  line.add(UNTOLD);
  log.warn();
  identity.preface.set(0, 0);
}

/** What was just made into the metadata header, as baggage. */
function keepBaggage(config: Config, baggage: Slice, owner: usize): void {
  if (ownBytes.size == 0) return;
  const at = allocateFor(owner, roomForBaggage(ownBytes.size));
  if (!at) {
    warnOfMemory('the own baggage', ownBytes.size);
    return;
  }
  const size = writeBaggage(ownBytes, at);
  if (size <= config.maxHeaderSize) {
    baggage.set(at, size);
    return;
  }
  const line = log.line();
  line.add('the own baggage takes ');
  line.addNumber(size);
  line.add(' bytes, which is more than max_header_size: none is sent');
  log.warn();
}

/** Makes the own metadata fit into its header, with a warning that says at what price; false if it cannot be done. */
function cutDown(config: Config): bool {
  const size = encodedSize(ownBytes.size);
  const hasRoom = reserve(roomForCut(ownBytes));
  if (!hasRoom) {
    warnOfMemory('the own metadata', size);
    return false;
  }
  // Padded base64 is four letters for each three bytes begun.
  const leftOut = cutToFit(ownBytes, (config.maxOwnSize / 4) * 3, ownBytes);
  const line = log.line();
  line.add('the own metadata takes ');
  line.addNumber(size);
  line.add(' bytes as a header, ');
  line.add(config.maxOwnSize < config.maxHeaderSize ? 'without max_header_size the most is ' : 'max_header_size is ');
  line.addNumber(config.maxOwnSize);
  if (leftOut == CANNOT || ownBytes.size == 0) {
    line.add(', and cannot be cut down to it: only the id is sent');
    count(OWN_FIELDS_LEFT_OUT);
    log.warn();
    return false;
  }
  line.add(': not sent are ');
  line.addNumber(leftOut);
  line.add(' fields: ');
  for (let i: u32 = 0; i < min<u32>(leftOut, MOST_NAMED); i++) {
    if (i > 0) line.add(', ');
    addLeftOut(i, line);
  }
  if (<u32>leftOut > MOST_NAMED) line.add(', ...');
  change(OWN_FIELDS_LEFT_OUT, leftOut);
  log.warn();
  return true;
}
