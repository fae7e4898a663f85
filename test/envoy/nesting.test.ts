// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { expect, test } from 'vitest';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

/**
 * Envoy's parser goes a hundred messages deep and refuses the whole Struct beyond: CEL then sees none of its fields,
 * while formatters that do not parse still show them. So a peer could hide from a policy by nesting. What we publish,
 * everybody can read; what not everybody could read, nobody gets.
 */
const field = (number: number, content: Uint8Array) =>
  Buffer.from(
    protobuf.Writer.create()
      .uint32((number << 3) | 2)
      .bytes(content)
      .finish(),
  );
const nestBytes = (times: number, wrap: (inner: Buffer) => Buffer): Buffer =>
  times === 0 ? Buffer.from([0x20, 1]) : wrap(nestBytes(times - 1, wrap));
/** protobufjs does not write what is nested so deep. */
const withField = (value: Buffer) =>
  Buffer.concat([
    struct.write({ NAME: 'peer' }),
    field(1, Buffer.concat([field(1, Buffer.from('deep')), field(2, value)])),
  ]);

const nest = (times: number, wrap: (inner: unknown) => unknown): unknown =>
  times === 0 ? true : wrap(nest(times - 1, wrap));

const inList = (inner: Buffer) => field(6, field(1, inner));
const inObject = (inner: Buffer) =>
  field(5, field(1, Buffer.concat([field(1, Buffer.from('inner')), field(2, inner)])));

test.each([
  ['32 objects in each other', nest(32, (inner) => ({ inner })), nestBytes(32, inObject), true],
  ['33 objects in each other', nest(33, (inner) => ({ inner })), nestBytes(33, inObject), false],
  ['49 lists in each other', nest(49, (inner) => [inner]), nestBytes(49, inList), true],
  ['50 lists in each other', nest(50, (inner) => [inner]), nestBytes(50, inList), false],
])('%s', async (_, deep, bytes, isReadable) => {
  const cel = `%CEL(filter_state['wasm.envoy.wasm.metadata_exchange.downstream'].NAME)%`;
  const routes = [
    { match: { prefix: '/' }, direct_response: { status: 200 }, response_headers_to_add: [asHeader(cel)] },
  ];
  await using stand = await ProxyStand.start({ direction: 'INBOUND', routes });
  const metadata = { NAME: 'peer', deep };
  const { answer, learned } = await stand.exchange({
    headers: [METADATA, withField(bytes).toString('base64'), ID, PEER_ID],
  });
  expect(answer.headers.all('x-cel'), 'CEL').toEqual(isReadable ? ['peer'] : []);
  expect(learned.downstream.struct, 'formatters').toEqual(isReadable ? metadata : undefined);
  expect(learned.downstream.dynamic, 'dynamic metadata').toEqual(isReadable ? metadata : undefined);
  expect(learned.downstream.id).toBe(PEER_ID);
});

function asHeader(value: string) {
  return { header: { key: 'x-cel', value } };
}
