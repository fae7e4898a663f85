// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { expectPeer, NOBODY } from '../../testkit/access_log.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { OWN_HEADER, OWN_ID, PEER, PEER_HEADER, PEER_ID, ProxyStand } from '../support/proxy_stand.ts';

describe('each header answers for itself', () => {
  test.each([
    ['an id alone by an id alone', [ID, PEER_ID], { [ID]: [OWN_ID] }],
    ['metadata alone by metadata alone', [METADATA, PEER_HEADER], { [METADATA]: [OWN_HEADER] }],
    ['empty headers as any others', [METADATA, '', ID, ''], { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] }],
    ['an empty header alone', [METADATA, ''], { [METADATA]: [OWN_HEADER] }],
    ['what cannot be read', [METADATA, '!!!', ID, 'caf\xe9'], { [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] }],
  ])('%s', async (_, headers, answered) => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    const { answer, seen } = await stand.exchange({ headers });
    expect(answer.headers.peer()).toEqual(answered);
    expect(seen?.headers.peer()).toEqual({});
  });

  test('a proxy without metadata of its own has only its id to say', async () => {
    await using inbound = await ProxyStand.start({ direction: 'INBOUND', metadata: undefined });
    const both = await inbound.exchange({ headers: [METADATA, PEER_HEADER, ID, PEER_ID] });
    expect(both.answer.headers.peer()).toEqual({ [ID]: [OWN_ID] });
    expectPeer(both.learned.downstream, PEER, PEER_ID);
    const warnings = inbound.envoy.log().match(/only its id is sent/g);
    expect(warnings?.length, 'once for each VM: canary, main thread and worker').toBeLessThanOrEqual(3);

    const forged = ['x', 'y', METADATA, PEER_HEADER, METADATA, PEER_HEADER];
    await using outbound = await ProxyStand.start({ direction: 'OUTBOUND', metadata: undefined });
    const { seen } = await outbound.exchange({ headers: forged });
    expect(seen?.headers.peer(), 'the forged metadata is gone all the same').toEqual({ [ID]: [OWN_ID] });
  });
});

describe('several copies of a header', () => {
  const other = struct.header({ NAME: 'other' });

  test.each([
    ['the first one is read', [METADATA, PEER_HEADER, ID, PEER_ID, METADATA, other, ID, 'other']],
    ['empty ones before it are passed over', [METADATA, '', ID, '', METADATA, '', METADATA, PEER_HEADER, ID, PEER_ID]],
    ['empty ones after it change nothing', [METADATA, PEER_HEADER, ID, PEER_ID, METADATA, '', ID, '']],
  ])('of requests: %s, and all are stripped', async (_, headers) => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    const { answer, seen, learned } = await stand.exchange({ headers });
    expectPeer(learned.downstream, PEER, PEER_ID);
    expect(seen?.headers.peer()).toEqual({});
    expect(answer.headers.peer()).toEqual({ [METADATA]: [OWN_HEADER], [ID]: [OWN_ID] });
  });

  test('of responses: the first one that is not empty is read, and all are stripped', async () => {
    const headers = [METADATA, '', METADATA, PEER_HEADER, ID, '', ID, PEER_ID, METADATA, other];
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND', answer: () => ({ headers }) });
    const { answer, learned } = await stand.exchange();
    expectPeer(learned.upstream, PEER, PEER_ID);
    expect(answer.headers.peer()).toEqual({});
  });
});

describe('what cannot be read is as if it had not been sent', () => {
  const bytes = struct.write(PEER);
  const notANumber = Buffer.from('0a100a034e414e120911000000000000f87f', 'hex');
  test.each([
    ['not base64', '!!!!'],
    ['the URL alphabet', Buffer.from([0xfb, 0xff, 0xfe]).toString('base64url')],
    ['one letter too many', `${PEER_HEADER.replaceAll('=', '')}A`.slice(0, 5)],
    ['cut off', bytes.subarray(0, bytes.length - 1).toString('base64')],
    ['not a Struct', Buffer.from('hello, world').toString('base64')],
    ['not UTF-8', Buffer.from('0a070a01ff12021a00', 'hex').toString('base64')],
    ['a Value without a kind', Buffer.from('0a050a01611200', 'hex').toString('base64')],
    ['not a number', notANumber.toString('base64')],
    ['lists without end', Buffer.alloc(4000, '320a').toString('base64')],
  ])('%s', async (_, header) => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    const { answer, seen, learned } = await stand.exchange({ headers: [METADATA, header, ID, PEER_ID] });
    expect(answer.status).toBe(200);
    expect(seen?.headers.peer()).toEqual({});
    expect(learned.downstream).toEqual({ ...NOBODY, id: PEER_ID });
  });

  test('an id that is not UTF-8 is no id', async () => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    const { learned } = await stand.exchange({ headers: [METADATA, PEER_HEADER, ID, 'caf\xe9'] });
    expect(learned.downstream.struct).toEqual(PEER);
    expect(learned.downstream.id).toBeUndefined();
  });

  test('unpadded base64 is as good as padded', async () => {
    await using stand = await ProxyStand.start({ direction: 'INBOUND' });
    const { learned } = await stand.exchange({ headers: [METADATA, PEER_HEADER.replaceAll('=', ''), ID, PEER_ID] });
    expectPeer(learned.downstream, PEER, PEER_ID);
  });
});
