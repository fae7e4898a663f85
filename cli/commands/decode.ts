// SPDX-License-Identifier: Apache-2.0
import { defineCommand } from 'citty';
import { bytesOfHeader } from '../header/base64.ts';
import { Broken } from '../header/broken.ts';
import { readStruct } from '../header/struct.ts';
import { visible, visibleJson } from '../visible.ts';
import { DONE, print, REFUSED, readValue, warn } from './common.ts';

/** What the module takes of a header unless `max_header_size` says another number. */
const USUAL_SIZE = 8192;

/** `metadata-exchange decode`: what a peer's header says. */
export const decode = defineCommand({
  meta: { name: 'decode', description: 'What a metadata header says, as JSON; or where it is broken' },
  args: {
    value: {
      type: 'positional',
      required: true,
      description: 'the value of x-istio-peer-metadata; - reads it from the standard input',
    },
  },
  run({ args }) {
    const value = readValue(args.value);
    try {
      print(visibleJson(readStruct(bytesOfHeader(value))));
    } catch (error) {
      if (!(error instanceof Broken)) throw error;
      const where = error.counter === 'base64' ? 'the header' : 'what the base64 says';
      warn(`refused_${error.counter}: at byte ${error.at} of ${where}: ${visible(error.message)}`);
      return REFUSED;
    }
    const size = Buffer.byteLength(value);
    if (size > USUAL_SIZE)
      warn(`It has ${size} bytes: more than the ${USUAL_SIZE} that max_header_size usually allows.`);
    return DONE;
  },
});
