// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as log from '../host/log';
import { reserve } from '../memory/arena';
import { Ascii, bytesOf, isText, sizeOf } from '../memory/ascii';
import { Slice, slice } from '../memory/slice';
import { STRUCT_FIELDS } from '../wire/struct';
import { countItems, gather, ITEM_SIZE, Items, readEntry } from '../wire/struct_fields';

/**
 * Everybody who asks is told the own metadata. A field that is there for the proxy alone, or that may be a secret, is
 * named in a warning: whoever wants it to be told lists it in metadata_fields.
 */

const items = changetype<Items>(memory.data(8, 4));
const key = slice(memory.data(8, 4));

/** How many fields the warning names. */
const MOST_NAMED: u32 = 6;

/** Warns of fields of a canonical Struct that nobody chose, and that look like configuration or secrets. */
export function warnOfSecrets(struct: Slice): void {
  if (!reserve((countItems(struct) + 1) * ITEM_SIZE)) return;
  if (!gather(struct.at, struct.end(), 0, STRUCT_FIELDS, items)) return;
  const line = log.line();
  line.add('every peer that asks is told fields that look like configuration or secrets: ');
  let found: u32 = 0;
  for (let i: u32 = 0; i < items.count; i++) {
    const item = items.item(i);
    if (!readEntry(item, item, 1)) continue;
    key.set(load<usize>(item), load<u32>(item, 4));
    if (!looksSecret(key) || ++found > MOST_NAMED) continue;
    if (found > 1) line.add(', ');
    line.addQuoted(key);
  }
  if (found == 0) return;
  if (found > MOST_NAMED) line.add(', ...');
  line.add('. Choose with metadata_fields what is sent');
  log.warn();
}

/** Whether a name is one of Istio's for what only the proxy needs, or has a word in it that secrets have. */
function looksSecret(name: Slice): bool {
  return (
    isText(name, 'PROXY_CONFIG') ||
    isText(name, 'ANNOTATIONS') ||
    hasWord(name, 'secret') ||
    hasWord(name, 'token') ||
    hasWord(name, 'password') ||
    hasWord(name, 'credential') ||
    hasWord(name, 'key')
  );
}

/** Whether a word of small letters is in a name, in small or in large ones. */
function hasWord(name: Slice, word: Ascii): bool {
  const size = sizeOf(word);
  for (let at = name.at; at + size <= name.end(); at++) {
    let i: u32 = 0;
    while (i < size && (load<u8>(at + i) | 0x20) == load<u8>(bytesOf(word) + i)) i++;
    if (i == size) return true;
  }
  return false;
}
