// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  proxy_call_foreign_function,
  proxy_get_property,
  proxy_set_property,
} from '@solo-io/proxy-runtime/assembly/imports';
import { Slice, slice } from '../memory/slice';
import { OK } from './abi';
import { DECLARE_PROPERTY } from './names';

/** Envoy's attributes, and the filter state that a Wasm filter may write. */

/** Reads an attribute; `value` is then its bytes, in the arena. False if the host has no such attribute. */
export function get(path: Slice, value: Slice): bool {
  const to = changetype<usize>(value);
  if (proxy_get_property(path.at, path.size, to, to + offsetof<Slice>('size')) == OK) return true;
  value.set(0, 0);
  return false;
}

/** Writes the filter state object `wasm.NAME` of the stream that is being served. */
export function set(name: Slice, value: Slice): void {
  proxy_set_property(name.at, name.size, value.at, value.size);
}

/** Types of declared filter state. */
export const STRING_TYPE: u8 = 1;
export const PROTOBUF_TYPE: u8 = 3;

/** How long it lives: as long as a request, through internal redirects too, or as the connection that it came by. */
export const REQUEST_SPAN: u8 = 1;
export const CONNECTION_SPAN: u8 = 2;

const declaration = memory.data(256);
const nothing = slice(memory.data(8, 4));

/**
 * Tells Envoy, once for each configuration and before the first stream, how to read a filter state object, so that
 * CEL can walk it and formatters can print it. `schema` is the type URL of a protobuf message, or empty; together both
 * texts have at most 240 bytes.
 *
 *     DeclarePropertyArguments  1 name  2 readonly  3 type  4 schema  5 span
 */
export function declare(name: Slice, type: u8, schema: Slice, span: u8): void {
  let to = putField(1, name, declaration);
  store<u8>(to, 3 << 3);
  store<u8>(to, type, 1);
  to += 2;
  if (schema.size) to = putField(4, schema, to);
  store<u8>(to, 5 << 3);
  store<u8>(to, span, 1);
  to += 2;
  const unused = changetype<usize>(nothing);
  proxy_call_foreign_function(
    DECLARE_PROPERTY.at,
    DECLARE_PROPERTY.size,
    declaration,
    to - declaration,
    unused,
    unused + offsetof<Slice>('size'),
  );
}

function putField(number: u8, text: Slice, to: usize): usize {
  store<u8>(to++, (number << 3) | 2);
  if (text.size >= 128) store<u8>(to++, <u8>text.size | 128);
  store<u8>(to++, <u8>(text.size >= 128 ? text.size >> 7 : text.size));
  memory.copy(to, text.at, text.size);
  return to + text.size;
}
