// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { WORKLOAD_DISCOVERY } from '../config/lists';
import { find } from '../discovery/store';
import { lastSecond } from '../discovery/upkeep';
import { RESPONSE_HEADERS } from '../host/abi';
import { now } from '../host/clock';
import { ABSENT, Message } from '../host/headers';
import { DOUBLE_HBONE, FORWARDED_NETWORK, ORIGINAL_DESTINATION, SOURCE_ADDRESS, UPSTREAM_ADDRESS } from '../host/names';
import * as properties from '../host/properties';
import { refused } from '../memory/arena';
import { Cache } from '../memory/cache';
import { sameBytes, slice } from '../memory/slice';
import { count } from '../metrics/metrics';
import { DISCOVERY_FOUND, DISCOVERY_UNKNOWN } from '../metrics/table';
import { readAddress } from '../wire/address';
import { readRecord } from '../wire/record';
import { newWorkload, writeStruct } from '../wire/workload';
import { tableSize } from './fields';
import { keepPeer, splitTable } from './metadata';
import { Peer } from './peer';

/**
 * The method `workload_discovery`: a peer is known by its address, by what the control plane says of the workload there
 * (discovery/). The peer needs no filter, and no proxy. What was found, and that nobody was, is kept for a second:
 *
 *     key of an answer  | second: u32 | scope: u64 | address |
 */

const answers = changetype<Cache>(memory.data(80, 8));
const MOST_ANSWERS: u32 = 512;

const text = slice(memory.data(8, 4));
const address = slice(memory.data(8, 4));
const network = slice(memory.data(8, 4));
const record = slice(memory.data(8, 4));
const key = slice(memory.data(8, 4));
const keyBytes = memory.data(32, 8);
const workload = newWorkload();

/** Makes room for answers; without it each lookup asks the store. */
export function openAnswers(): void {
  if (!answers.capacity) answers.open(MOST_ANSWERS, now() * 0x9e3779b97f4a7c15);
}

/** Releases it: no configuration looks anybody up. */
export function closeAnswers(): void {
  answers.close();
}

/** Finds the workload at the address of the client, or, on a response, of the server. */
export function findByAddress(message: Message, config: Config, peer: Peer): bool {
  if (message.map == RESPONSE_HEADERS) return findAtAddress(true, config, peer);
  // A request that came through another network's gateway has that one's address.
  const isFromHere = message.peek(FORWARDED_NETWORK, network) == ABSENT || sameBytes(network, config.network);
  return isFromHere && findAtAddress(false, config, peer);
}

/** Finds the workload at the address of the server, or of the client, of a connection. */
export function findAtAddress(isServer: bool, config: Config, peer: Peer): bool {
  if (isServer ? !isServerAddress() : !isClientAddress()) return false;
  const fields = config.plain;
  const use = fields ? fields.number : 0;
  store<u32>(keyBytes, <u32>lastSecond());
  store<u64>(keyBytes, config.discoveryScope, 4);
  memory.copy(keyBytes + 12, address.at, address.size);
  key.set(keyBytes, 12 + address.size);
  const struct = peer.struct;
  const hash = answers.capacity ? answers.hash(key) : 0;
  if (answers.find(key, hash, use, struct)) {
    if (struct.size == 0) return false;
    splitTable(peer, fields);
  } else {
    const isKnown =
      find(config.discoveryScope, address, record) &&
      readRecord(record, workload) &&
      writeStruct(workload, struct, tableSize(fields));
    if (!isKnown) struct.set(0, 0);
    count(isKnown ? DISCOVERY_FOUND : DISCOVERY_UNKNOWN);
    if (isKnown) keepPeer(answers, key, hash, fields, peer);
    // Nobody found for want of memory is not kept: the next one is asked for again.
    else if (!refused()) answers.keep(key, hash, use, struct);
    if (!isKnown) return false;
  }
  peer.method = WORKLOAD_DISCOVERY;
  return true;
}

/** Reads the client's address. */
function isClientAddress(): bool {
  return properties.get(SOURCE_ADDRESS, text) && readAddress(text, address);
}

/**
 * Reads the server's address. Behind an internal listener, which ztunnel's protocol HBONE needs, it is what the endpoint's
 * metadata say; with two layers of it the server is in another network.
 */
function isServerAddress(): bool {
  if (!properties.get(UPSTREAM_ADDRESS, text)) return false;
  if (readAddress(text, address)) return true;
  const isInternal = text.size > 8 && load<u64>(text.at) == 0x2f2f3a796f766e65;
  return (
    isInternal &&
    !properties.get(DOUBLE_HBONE, network) &&
    properties.get(ORIGINAL_DESTINATION, text) &&
    readAddress(text, address)
  );
}
