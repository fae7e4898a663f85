// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Envoy } from '../../testkit/envoy/process.ts';
import { shipped, shippedIdentity } from '../../testkit/envoy/shipped.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { PEER_HEADER, PEER_ID } from '../support/proxy_stand.ts';

describe.each(['envoy/upstream-filter/sidecar.yaml', 'envoy/upstream-filter/router.yaml'])('%s', (file) => {
  test('it tells the cluster reviews who we are, and nobody else; the log of the listener has who answered', async () => {
    await using reviews = await App.start(() => ({ headers: [METADATA, PEER_HEADER, ID, PEER_ID] }));
    await using outside = await App.start();
    await using envoy = await Envoy.start(shipped(file, { reviews: reviews.port, outside: outside.port }));
    const port = await envoy.port('outbound');
    const forged = [METADATA, 'forged', ID, 'forged'];
    const answer = await send(port, { path: '/reviews', headers: forged });
    await send(port, { path: '/outside', headers: forged });
    const { id, metadata } = shippedIdentity(file);
    expect(struct.read(Buffer.from(reviews.last.headers.all(METADATA)[0], 'base64'))).toEqual(metadata);
    expect(reviews.last.headers.all(ID)).toEqual([id]);
    expect(outside.last.headers.peer()).toEqual({});
    expect(answer.headers.peer()).toEqual({});
    await envoy.until('both are logged', () => envoy.log().includes('"path":"/outside"'));
    expect(envoy.log()).toMatch(/\{"path":"\/reviews","server":"peer","status":200\}/);
  });
});
