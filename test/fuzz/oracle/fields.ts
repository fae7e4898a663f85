// SPDX-License-Identifier: Apache-2.0
import type { Config } from './config.ts';
import { textAt } from './struct.ts';

/** Single fields of a peer: what is published of them, and how the application is told them. */

/** Labels that Istio's native filter reads before others. */
const PREFERRED: Record<string, string[]> = {
  'LABELS.app': ['LABELS.app.kubernetes.io/name'],
  'LABELS.version': ['LABELS.app.kubernetes.io/version'],
};

/** What a field of a Struct says, as a configuration's dialect reads it. */
export function publishedAt(struct: Buffer, path: string, { fields }: Config): Uint8Array | undefined {
  const ways = fields.dialect === 'istio' ? [...(PREFERRED[path] ?? []), path] : [path];
  return ways.map((way) => textAt(struct, Buffer.from(way))).find((found) => found);
}

/** Bytes as a header that every language reads as the query of a URL. */
export function encoded(bytes: Uint8Array): string {
  const letters = Array.from(bytes, (byte) => String.fromCharCode(byte));
  return letters
    .map((letter) =>
      /[\w.~/:-]/.test(letter) ? letter : `%${Buffer.from(letter, 'latin1').toString('hex').toUpperCase()}`,
    )
    .join('');
}

/** The fields that a configuration publishes by themselves. */
export const plainOf = ({ fields }: Config) => (fields.publish_fields ?? []) as string[];
