// SPDX-License-Identifier: Apache-2.0
import { defineCommand } from 'citty';
import { headerOf } from '../header/encode.ts';
import { visible } from '../visible.ts';
import { DONE, needModule, print, readValue, UsageError, warn } from './common.ts';

/** `metadata-exchange encode`: the header that a proxy would send. */
export const encode = defineCommand({
  meta: {
    name: 'encode',
    description: 'The metadata header that a proxy sends whose node has this metadata under istio.io/metadata',
  },
  args: {
    json: {
      type: 'positional',
      required: true,
      description: 'the metadata, a JSON object; - reads it from the standard input',
    },
  },
  run({ args }) {
    needModule();
    const metadata = objectOf(readValue(args.json));
    const { header, warnings } = headerOf(metadata);
    print(header);
    warn(...warnings.map(visible));
    return DONE;
  },
});

function objectOf(text: string): object {
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new UsageError(`not JSON: ${visible((error as Error).message)}`);
  }
  if (json === null || typeof json !== 'object' || Array.isArray(json)) throw new UsageError('not a JSON object');
  return json;
}
