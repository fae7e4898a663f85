// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Authority, type Certificate, spiffe } from '../../testkit/envoy/certificates.ts';
import { metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { shipped } from '../../testkit/envoy/shipped.ts';
import { App, send } from '../../testkit/http.ts';
import { transportSocket } from '../support/tls.ts';

/** Two proxies that speak mTLS with each other, and compare what the other one claims with its certificate. */

const VERIFIED = 'wasm.envoy.wasm.metadata_exchange';
const folder = mkdtempSync(join(tmpdir(), 'verify-'));
let authority: Authority;
let server: Certificate;

beforeAll(() => {
  authority = new Authority(folder);
  server = authority.issue('server', { uris: [spiffe('default', 'reviews')] });
});
afterAll(() => rmSync(folder, { recursive: true }));

const logging = (side: string) => ({
  access_log: [
    {
      name: 'verdict',
      typed_config: {
        '@type': 'type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog',
        log_format: {
          json_format: {
            verdict: `%FILTER_STATE(${VERIFIED}.${side}_verified:PLAIN)%`,
            name: `%CEL(filter_state['${VERIFIED}.${side}'].NAME)%`,
          },
        },
      },
    },
  ],
});

interface Sides {
  /** What the client's proxy claims, and the certificate that it shows. */
  claim?: object;
  certificate?: Certificate;
  /** The server's claim. */
  serverClaim?: object;
  mode?: string;
}

const CLAIM = { NAME: 'productpage', NAMESPACE: 'default', SERVICE_ACCOUNT: 'productpage' };
const SERVER_CLAIM = { NAME: 'reviews', NAMESPACE: 'default', SERVICE_ACCOUNT: 'reviews' };

/** What both proxies log of one request: whom they know, and what that is worth. */
async function exchange({ claim = CLAIM, certificate, serverClaim = SERVER_CLAIM, mode = 'mark' }: Sides) {
  await using app = await App.start();
  const filter = metadataExchange({ verify_peer: { mode } });
  const inbound = proxy({
    node: { id: 'server', metadata: { 'istio.io/metadata': serverClaim } },
    listeners: [{ name: 'inbound', direction: 'INBOUND', filters: [filter], manager: logging('downstream') }],
    clusters: { app: { port: app.port } },
  });
  inbound.static_resources.listeners[0].filter_chains[0].transport_socket = transportSocket(
    'Downstream',
    authority,
    server,
  );
  await using reviews = await Envoy.start(inbound, { name: 'server' });
  const outbound = proxy({
    node: { id: 'client', metadata: { 'istio.io/metadata': claim } },
    listeners: [{ name: 'outbound', direction: 'OUTBOUND', filters: [filter], manager: logging('upstream') }],
    clusters: {
      app: {
        port: await reviews.port('inbound'),
        transport_socket: transportSocket('Upstream', authority, certificate),
      },
    },
  });
  await using productpage = await Envoy.start(outbound, { name: 'client' });
  const { status } = await send(await productpage.port('outbound'), {});
  return { status, server: await loggedBy(reviews), client: await loggedBy(productpage) };
}

/** The one line of an access log. */
async function loggedBy(envoy: Envoy) {
  await envoy.until('the request is logged', () => /^\{.*\}$/m.test(envoy.log()));
  return JSON.parse(/^\{.*\}$/m.exec(envoy.log())?.[0] ?? '');
}

describe('envoy/verify-peer as shipped', () => {
  const request = async (forge?: object) => {
    await using app = await App.start();
    await using reviews = await Envoy.start(shipped('envoy/verify-peer/server.yaml', { app: app.port }));
    const config = shipped('envoy/verify-peer/client.yaml', { reviews: await reviews.port('inbound') });
    Object.assign(config.node.metadata['istio.io/metadata'], forge);
    await using productpage = await Envoy.start(config);
    await send(await productpage.port('outbound'), { path: '/reviews' });
    return [await loggedBy(reviews), await loggedBy(productpage)];
  };
  const [client, server] = [spiffe('default', 'bookinfo-productpage'), spiffe('default', 'bookinfo-reviews')];
  const line = { path: '/reviews', status: 200 };

  test('both know whom they speak with, and that it is true', async () => {
    expect(await request()).toEqual([
      { ...line, peer: 'productpage-v1-84975bc778-pxz2w', claims: 'verified', certificate: client },
      { ...line, peer: 'reviews-v1-7b6b8f5d4c-k9xlm', claims: 'verified', certificate: server },
    ]);
  });

  test('who claims to be of another namespace is nobody', async () => {
    const [known] = await request({ NAMESPACE: 'kube-system' });
    expect(known).toEqual({ ...line, peer: null, claims: 'mismatch', certificate: client });
  });
});

const issue = (name: string, ...uris: string[]) => authority.issue(name, { uris });

describe('claims and certificates', () => {
  test('agree: both sides say so', async () => {
    const certificate = issue('productpage', spiffe('default', 'productpage'));
    const { server, client } = await exchange({ certificate });
    expect(server).toEqual({ verdict: 'verified', name: 'productpage' });
    expect(client).toEqual({ verdict: 'verified', name: 'reviews' });
  });

  test('a forged namespace is a mismatch, and still known where it is only marked', async () => {
    const certificate = issue('forger', spiffe('default', 'productpage'));
    const { server } = await exchange({ certificate, claim: { ...CLAIM, NAMESPACE: 'kube-system' } });
    expect(server).toEqual({ verdict: 'mismatch', name: 'productpage' });
  });

  test('where it is enforced, the forged claim is as if it had not been sent; the request goes on', async () => {
    const certificate = issue('forger-2', spiffe('default', 'productpage'));
    const claim = { ...CLAIM, SERVICE_ACCOUNT: 'admin' };
    const { status, server, client } = await exchange({ certificate, claim, mode: 'enforce' });
    expect([status, server]).toEqual([200, { verdict: 'mismatch', name: null }]);
    expect(client).toEqual({ verdict: 'verified', name: 'reviews' });
  });

  test('a server that lies is found out as well', async () => {
    const certificate = issue('productpage-2', spiffe('default', 'productpage'));
    const serverClaim = { ...SERVER_CLAIM, NAMESPACE: 'payments' };
    const { client } = await exchange({ certificate, serverClaim, mode: 'enforce' });
    expect(client).toEqual({ verdict: 'mismatch', name: null });
  });

  test('without a certificate nothing is proven', async () => {
    const { server } = await exchange({});
    expect(server).toEqual({ verdict: 'unverified', name: 'productpage' });
  });

  test('a certificate of another trust domain proves the wrong thing', async () => {
    const certificate = issue('stranger', 'spiffe://elsewhere.example/ns/default/sa/productpage');
    const { server } = await exchange({ certificate });
    expect(server).toEqual({ verdict: 'mismatch', name: 'productpage' });
  });

  test('of several URIs the first one counts, as Envoy shows it', async () => {
    const right = spiffe('default', 'productpage');
    const first = await exchange({ certificate: issue('several', right, 'https://example.com') });
    expect(first.server.verdict).toBe('verified');
    const second = await exchange({ certificate: issue('several-2', 'https://example.com', right) });
    expect(second.server.verdict).toBe('unverified');
  });
});
