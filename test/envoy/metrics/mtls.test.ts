// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, test } from 'vitest';
import { Authority, type Certificate, spiffe } from '../../../testkit/envoy/certificates.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { App, send } from '../../../testkit/http.ts';
import { sendHttps, transportSocket } from '../../support/tls.ts';
import { counter, counting, EVERY, expectCounts, workload } from '../../support/traffic.ts';

/** Two sidecars that speak mTLS: whom their certificates name, and what is counted of a peer that is not what it says. */

const folder = mkdtempSync(join(tmpdir(), 'mtls-'));
const [PRODUCTPAGE, REVIEWS] = [spiffe('default', 'productpage'), spiffe('default', 'reviews')];
let authority: Authority;
let reviewsOwn: Certificate;
let productpagesOwn: Certificate;
let nameless: Certificate;

beforeAll(() => {
  authority = new Authority(folder);
  reviewsOwn = authority.issue('reviews', { uris: [REVIEWS] });
  productpagesOwn = authority.issue('productpage', { uris: [PRODUCTPAGE] });
  nameless = authority.issue('nameless', { hosts: ['productpage.example'] });
});
afterAll(() => rmSync(folder, { recursive: true }));

interface Sides {
  version?: string;
  config?: object;
  certificate?: Certificate;
  /** What the client's proxy claims. */
  claim?: object;
}

const LABELS = 'source_workload source_principal destination_workload destination_principal connection_security_policy';

/** Two requests through both sidecars: what each of them counts. */
async function expectCounted({ version, config, certificate, claim }: Sides, client: string, server: string) {
  await using app = await App.start();
  const inbound = counting({
    own: workload('reviews', { SERVICE_ACCOUNT: 'reviews' }),
    listeners: [{ name: 'inbound', direction: 'INBOUND', filters: [counter(config)] }],
    clusters: { app: { port: app.port } },
  });
  inbound.static_resources.listeners[0].filter_chains[0].transport_socket = transportSocket(
    'Downstream',
    authority,
    reviewsOwn,
  );
  await using reviews = await Envoy.start(inbound, { version, workers: 2, name: 'reviews' });
  const transport_socket = transportSocket('Upstream', authority, certificate);
  const outbound = counting({
    own: workload('productpage', { SERVICE_ACCOUNT: 'productpage', ...claim }),
    listeners: [{ name: 'outbound', direction: 'OUTBOUND', filters: [counter(config)] }],
    clusters: { app: { port: await reviews.port('inbound'), transport_socket } },
  });
  await using productpage = await Envoy.start(outbound, { version, workers: 2, name: 'productpage' });
  const port = await productpage.port('outbound');
  for (let i = 0; i < 2; i++) await send(port, {});
  await expectCounts(productpage, LABELS, { [client]: 2 });
  await expectCounts(reviews, LABELS, { [server]: 2 });
}

describe.each(EVERY)('sidecars that speak mTLS, Envoy %s', (_, version) => {
  test('both name the principals; only the server says that it was mTLS, as in Istio', async () => {
    const names = `productpage-v1 ${PRODUCTPAGE} reviews-v1 ${REVIEWS}`;
    await expectCounted({ version, certificate: productpagesOwn }, `${names} unknown`, `${names} mutual_tls`);
  });

  test('a client without a certificate has no principal, and the connection is none of mTLS', async () => {
    const client = `productpage-v1 unknown reviews-v1 ${REVIEWS} unknown`;
    await expectCounted({ version }, client, 'productpage-v1 unknown reviews-v1 unknown none');
  });

  test('a certificate without a SPIFFE URI names nobody, and is mTLS all the same', async () => {
    const client = `productpage-v1 unknown reviews-v1 ${REVIEWS} unknown`;
    const server = `productpage-v1 unknown reviews-v1 ${REVIEWS} mutual_tls`;
    await expectCounted({ version, certificate: nameless }, client, server);
  });

  test('with verify_peer a client that claims another namespace is unknown, also where it is only marked', async () => {
    const claim = { NAMESPACE: 'payments' };
    const client = `productpage-v1 ${PRODUCTPAGE} reviews-v1 ${REVIEWS} unknown`;
    const server = `unknown ${PRODUCTPAGE} reviews-v1 ${REVIEWS} mutual_tls`;
    for (const mode of ['mark', 'enforce']) {
      const config = { verify_peer: { mode } };
      await expectCounted({ version, config, certificate: productpagesOwn, claim }, client, server);
    }
  });

  test('and who is what it says is counted by name', async () => {
    const names = `productpage-v1 ${PRODUCTPAGE} reviews-v1 ${REVIEWS}`;
    const config = { verify_peer: { mode: 'require' } };
    await expectCounted({ version, config, certificate: productpagesOwn }, `${names} unknown`, `${names} mutual_tls`);
  });
});

test('past max_series a principal is unknown as well: certificates make no series either', async () => {
  const config = { metrics: { max_series: 2 } };
  const routes = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];
  const inbound = counting({ listeners: [{ name: 'in', direction: 'INBOUND', filters: [counter(config)], routes }] });
  const socket = transportSocket('Downstream', authority, reviewsOwn);
  inbound.static_resources.listeners[0].filter_chains[0].transport_socket = socket;
  await using reviews = await Envoy.start(inbound);
  const port = await reviews.port('in');
  const server = { root: authority.root, host: 'reviews', spiffe: REVIEWS };
  for (const name of ['a', 'b', 'c', 'd', 'c']) {
    const certificate = authority.issue(`client-${name}`, { uris: [spiffe('default', name)] });
    await sendHttps(port, { ...server, certificate }, {});
  }
  await expectCounts(reviews, 'source_principal connection_security_policy', {
    [`${spiffe('default', 'a')} mutual_tls`]: 1,
    [`${spiffe('default', 'b')} mutual_tls`]: 1,
    'unknown mutual_tls': 3,
  });
});
