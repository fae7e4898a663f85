// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { ENDPOINT_METADATA } from '../config/lists';
import { ENDPOINT_WORKLOAD } from '../host/names';
import * as properties from '../host/properties';
import { take } from '../memory/arena';
import { bytesOf, sizeOf } from '../memory/ascii';
import { SLICE_SIZE, Slice, slice } from '../memory/slice';
import * as names from '../wire/names';
import { Writer } from '../wire/protobuf';
import { faultOf, SOUND } from '../wire/struct';
import { closeStruct, putText } from '../wire/struct_fields';
import { Peer } from './peer';

/**
 * The method `endpoint_metadata`: who a server is, as the control plane says it of the endpoint that was chosen. istiod
 * writes it on every endpoint, in the metadata `istio`, as one string:
 *
 *     workload: "WORKLOAD;NAMESPACE;SERVICE;REVISION;CLUSTER"
 *
 * The server needs no filter for it. Which endpoint is chosen is known from the response on.
 */

/** Keys and tags, in bytes. */
const ADDED: u32 = 256;

const WORKLOAD: u32 = 0;
const NAMESPACE: u32 = 1;
const SERVICE: u32 = 2;
const REVISION: u32 = 3;
const CLUSTER: u32 = 4;
const PARTS: u32 = 5;

/** The parts of the text: slices in a row. */
const parts = memory.data(40, 4); // PARTS * SLICE_SIZE
const text = slice(memory.data(8, 4));
const writer = changetype<Writer>(memory.data(16, 8));

function part(number: u32): Slice {
  return slice(parts + number * <u32>SLICE_SIZE);
}

/** Finds the server that the metadata of the chosen endpoint name. */
export function findAtEndpoint(peer: Peer): bool {
  if (!properties.get(ENDPOINT_WORKLOAD, text) || !split()) return false;
  const room = text.size + ADDED;
  const start = take(room);
  if (!start) return false;
  writer.open(start, room);
  putText(writer, names.WORKLOAD_NAME, part(WORKLOAD));
  putText(writer, names.NAMESPACE, part(NAMESPACE));
  putText(writer, names.CLUSTER_ID, part(CLUSTER));
  const labelsEnd = writer.head;
  putText(writer, names.CANONICAL_NAME, part(SERVICE));
  putText(writer, names.CANONICAL_REVISION, part(REVISION));
  closeStruct(writer, bytesOf(names.LABELS), sizeOf(names.LABELS), labelsEnd);
  peer.struct.set(writer.head, <u32>(start + room - writer.head));
  if (writer.full || faultOf(peer.struct) != SOUND) {
    peer.struct.set(0, 0);
    return false;
  }
  peer.method = ENDPOINT_METADATA;
  return true;
}

/** Splits the text into its parts, of which there may be more than we know; false if there are fewer, or all are empty. */
function split(): bool {
  let count: u32 = 0;
  let size: u32 = 0;
  let begin = text.at;
  for (let at = text.at; at <= text.end() && count < PARTS; at++) {
    if (at < text.end() && load<u8>(at) != 0x3b) continue;
    part(count++).set(begin, <u32>(at - begin));
    size += <u32>(at - begin);
    begin = at + 1;
  }
  return count == PARTS && size > 0;
}
