// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Slice } from './memory/slice';
import { decode } from './wire/base64';
import { isSoundStruct } from './wire/struct';
import { isUtf8 } from './wire/utf8';

/** What other proxies say of themselves: what of it may be passed on to other filters. */

/**
 * Decodes a metadata header; `struct` is then the peer's own bytes, a serialized google.protobuf.Struct that any
 * reader in Envoy can take. The header's bytes are overwritten. False if it is not one: then nothing is passed on.
 */
export function readMetadata(header: Slice, struct: Slice): bool {
  return header.size > 0 && decode(header, header.at, struct) && isSoundStruct(struct);
}

/** Whether an id header may be passed on: access logs and CEL want UTF-8, HTTP allows any bytes. */
export function isReadableId(header: Slice): bool {
  return header.size > 0 && isUtf8(header.at, header.end());
}
