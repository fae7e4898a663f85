// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Application, DEFAULT_FIELDS, tellsOnlyVerified } from '../config/application';
import { Config } from '../config/config';
import { Message, remove, replace } from '../host/headers';
import { VERIFIED_TEXT } from '../host/names';
import * as properties from '../host/properties';
import { take } from '../memory/arena';
import { sameBytes, slice } from '../memory/slice';
import { addField, roomForField } from '../wire/form';
import { findPublished } from './fields';
import { CLIENT, Peer } from './peer';
import { VERIFIED } from './verify';

/** `tell_application`: the application behind this proxy is told in a header of its request who the client is. */

const client = slice(memory.data(8, 4));
const verdict = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));
const line = slice(memory.data(8, 4));

/**
 * Leaves the header of a request as the application may believe it: what is published of the client, in place of all
 * copies that came with the request, or no copy. `isRead`: whether this stream asks who its client is. `isPublished`:
 * whether an earlier run of the chain, or another filter, may have published a client that this stream did not look for.
 */
export function tellApplication(
  application: Application,
  request: Message,
  peer: Peer,
  config: Config,
  isRead: bool,
  isPublished: bool,
): void {
  const onlyVerified = tellsOnlyVerified(application, config);
  const isKnown = isRead && (peer.method != 0 ? isTold(peer, onlyVerified) : isPublished && isStated(onlyVerified));
  if (isKnown && writeLine(application, config)) replace(request.map, application.header, line);
  else if (request.mayHave(application.header)) remove(request.map, application.header);
}

/** Whether the application is told of a client that this stream has found, which is then `client`. */
function isTold(peer: Peer, onlyVerified: bool): bool {
  client.copy(peer.struct);
  return peer.isPublished && (!onlyVerified || peer.verdict == VERIFIED);
}

/** The same of a client that filter state names. */
function isStated(onlyVerified: bool): bool {
  if (!properties.get(CLIENT.struct, client)) return false;
  return !onlyVerified || (properties.get(CLIENT.verified, verdict) && sameBytes(verdict, VERIFIED_TEXT));
}

/** Writes the fields of `client` as `line`; false if it has none of them, or there is no room. */
function writeLine(application: Application, config: Config): bool {
  const chosen = application.fields;
  const fields = chosen ? chosen : DEFAULT_FIELDS;
  let room: u32 = 0;
  for (let i: u32 = 0; i < fields.count; i++) room += roomForField(fields.get(i));
  const start = take(room);
  if (!start) return false;
  let end = start;
  for (let i: u32 = 0; i < fields.count; i++) {
    const path = fields.get(i);
    findPublished(client, path, config.speaksIstio, value);
    end = addField(start, end, path, value);
  }
  line.set(start, <u32>(end - start));
  return end > start;
}
