// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { compare, Slice } from '../memory/slice';
import { Cursor, LENGTH } from '../wire/protobuf';

/**
 * Messages that name a type and carry a message of it: xds.type.v3.TypedStruct, and google.protobuf.Any. Envoy hands on
 * the content of a StringValue and of a BytesValue, and of any other message its bytes alone: what type they are of can
 * be seen of these two only, by the name inside.
 *
 *     1 type_url: string    2 value: google.protobuf.Struct, or bytes
 */

const TYPE_URL: u32 = 1;
const VALUE: u32 = 2;

/** How each type begins; no JSON text does, with the two bytes that stand before it here. */
const PREFIX: Ascii = 'type.googleapis.com/';

const message = changetype<Cursor>(memory.data(40, 8));

/** Whether the bytes are such a message: `type` and `value` are then what it has. */
export function isEnvelope(bytes: Slice, type: Slice, value: Slice): bool {
  type.set(bytes.at, 0);
  value.set(bytes.at, 0);
  message.open(bytes.at, bytes.end(), 0);
  while (message.next()) {
    if (message.type != LENGTH) return false;
    if (message.field == TYPE_URL) type.set(message.at, message.size);
    else if (message.field == VALUE) value.set(message.at, message.size);
    else return false;
  }
  const size = sizeOf(PREFIX);
  return message.sound && type.size > size && compare(type.at, bytesOf(PREFIX), size) == 0;
}
