// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { shipped } from '../../../testkit/envoy/shipped.ts';
import { App, send } from '../../../testkit/http.ts';
import { OLDEST_AND_NEWEST, row } from '../../support/consumers.ts';

/** envoy/verify-peer: a rule that asks for a claim, and for its proof. */

/** What a client with a certificate of bookinfo-productpage in the namespace default is answered, for each path. */
async function statuses(version: string | undefined, says: object): Promise<number[]> {
  await using app = await App.start();
  const server = shipped('envoy/verify-peer/server.yaml', { app: app.port });
  await using reviews = await Envoy.start(server, { version });
  const client = shipped('envoy/verify-peer/client.yaml', { reviews: await reviews.port('inbound') });
  Object.assign(client.node.metadata['istio.io/metadata'], says);
  await using productpage = await Envoy.start(client, { version });
  const port = await productpage.port('outbound');
  const answers = await Promise.all(['/admin', '/reviews'].map((path) => send(port, { path })));
  return answers.map(({ status }) => status);
}

describe.each(OLDEST_AND_NEWEST)('RBAC by the verdict, Envoy %s', (_, version) => {
  test(row('rbac-verdict'), async () => {
    expect(await statuses(version, {})).toEqual([200, 200]);
    expect(await statuses(version, { NAMESPACE: 'kube-system' }), 'a lie').toEqual([403, 200]);
    expect(await statuses(version, { NAMESPACE: ['default'] }), 'a claim of another type').toEqual([403, 200]);
    expect(await statuses(version, { NAMESPACE: '', SERVICE_ACCOUNT: '' }), 'nothing claimed').toEqual([403, 200]);
  });
});
