// SPDX-License-Identifier: Apache-2.0
import { defineCommand } from 'citty';
import { Host } from '../../testkit/host/host.ts';
import { node } from '../../testkit/host/node.ts';
import { METADATA } from '../../testkit/http.ts';
import { Broken, bytesOfHeader } from '../header/base64.ts';
import { readStruct } from '../header/struct.ts';
import { visible, visibleJson } from '../visible.ts';
import { DONE, needModule, print, REFUSED, readValue, UsageError, warn } from './common.ts';

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
    if (size > USUAL_SIZE) warn(`It has ${size} bytes: more than max_header_size usually allows (${USUAL_SIZE}).`);
    return DONE;
  },
});

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

/** The metadata header that a proxy sends whose node has this metadata, and the module's warnings about it. */
export function headerOf(metadata: object): { header: string; warnings: string[] } {
  const outbound = Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]);
  const host = new Host({
    'xds.node': node({ id: 'node', metadata: { 'istio.io/metadata': metadata } }),
    'xds.listener_direction': outbound,
  });
  const root = host.configure('');
  if (root === undefined) throw new Error(host.complaints().join('\n'));
  const stream = host.stream(root).onRequest();
  const header = stream.request.find(([name]) => name === METADATA)?.[1] ?? '';
  return { header, warnings: host.complaints() };
}
