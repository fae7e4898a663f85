// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { decode } from 'as-base64/assembly';
import { isStruct } from './protobuf';

const MOST_PEERS = 500;

/** What peers said of themselves, decoded once for each content of the header. */
export class Peers {
  private known: Map<string, ArrayBuffer> = new Map();

  /** The serialized Struct in a header; null if there is none. */
  decode(header: string): ArrayBuffer | null {
    if (header == '') return null;
    if (this.known.has(header)) return this.known.get(header);
    const padded = pad(header);
    if (!isBase64(padded)) return null;
    const struct = decode(padded).buffer;
    if (!isStruct(struct)) return null;
    if (this.known.size >= MOST_PEERS) this.known.clear();
    this.known.set(header, struct);
    return struct;
  }
}

/** as-base64 knows padded base64 only; both are legal. */
function pad(header: string): string {
  const rest = header.length % 4;
  if (rest == 2) return `${header}==`;
  return rest == 3 ? `${header}=` : header;
}

/** Whether as-base64 can decode it: anything else ends the VM, or is taken for zeros. */
function isBase64(text: string): bool {
  if (text.length % 4 != 0) return false;
  const padding = text.endsWith('==') ? 2 : text.endsWith('=') ? 1 : 0;
  for (let i = 0; i < text.length - padding; i++) {
    const c = text.charCodeAt(i);
    const isLetter = (c >= 0x41 && c <= 0x5a) || (c >= 0x61 && c <= 0x7a);
    const isDigit = c >= 0x30 && c <= 0x39;
    if (!isLetter && !isDigit && c != 0x2b && c != 0x2f) return false;
  }
  return true;
}
