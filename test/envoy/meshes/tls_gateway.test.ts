// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { Authority, type Certificate, spiffe } from '../../../testkit/envoy/certificates.ts';
import type { Envoy } from '../../../testkit/envoy/process.ts';
import { shipped, shippedIdentity } from '../../../testkit/envoy/shipped.ts';
import { type Answer, ID, METADATA, type Request } from '../../../testkit/http.ts';
import { struct } from '../../../testkit/struct.ts';
import { Fleet, logged } from '../../support/shipped.ts';
import { sendBytes, sendHttp2, sendHttps, type Tls } from '../../support/tls.ts';

const GATEWAY = 'envoy/edge-gateway-tls/gateway.yaml';
const REVIEWS = 'envoy/edge-gateway-tls/reviews.yaml';
const APP = 'envoy/sidecar-pair/app.yaml';

const CERTIFICATES = join(ROOT, 'build/certificates');
const STRANGER: Tls = { root: join(CERTIFICATES, 'public/root.crt'), host: 'edge.example' };

const gatewaySays = shippedIdentity(GATEWAY);
const reviewsSays = shippedIdentity(REVIEWS);

/** What strangers may try: to be one of the mesh, by our headers or by others that are to be believed of a proxy only. */
const forged = struct.header({ NAME: 'forged', SERVICE_ACCOUNT: 'bookinfo-productpage' });
const ATTEMPTS: Record<string, string[]> = {
  nothing: [],
  forged: [METADATA, forged, ID, 'forged'],
  'forged-metadata': [METADATA, forged],
  'forged-id': [ID, 'forged'],
  twice: [METADATA, '', METADATA, forged, ID, '', ID, 'forged'],
  empty: [METADATA, '', ID, ''],
  garbage: [METADATA, '!!!!', ID, '~'],
  'a-certificate-in-a-header': ['x-forwarded-client-cert', `URI=${spiffe('default', 'bookinfo-productpage')}`, ID, 'x'],
  'what-the-gateway-says-itself': [METADATA, struct.header(gatewaySays.metadata), ID, gatewaySays.id],
};

/** Everything that only somebody of the mesh may know: our headers' names, and what proxies say of themselves. */
const SECRETS = [
  'x-istio-peer',
  'x-envoy-upstream',
  'spiffe:',
  ...[gatewaySays, reviewsSays].flatMap(({ id, metadata }) => [
    id,
    metadata.NAME,
    metadata.MESH_ID,
    metadata.CLUSTER_ID,
    metadata.SERVICE_ACCOUNT,
    struct.header(metadata),
  ]),
];

function expectNoSecrets(what: string, told: string | Answer): void {
  const text = typeof told === 'string' ? told : JSON.stringify([told.headers.pairs, told.trailers, told.body]);
  const lower = text.toLowerCase();
  for (const secret of SECRETS) expect(lower, what).not.toContain(secret.toLowerCase());
}

describe('a TLS gateway between strangers and the mesh', { timeout: 60_000 }, () => {
  const fleet = new Fleet();
  let gateway: Envoy;
  let reviews: Envoy;
  let edge: number;

  beforeAll(async () => {
    const app = await fleet.start('app', shipped(APP));
    reviews = await fleet.start('reviews', shipped(REVIEWS, { app: await app.port('app') }));
    gateway = await fleet.start('gateway', shipped(GATEWAY, { reviews: await reviews.port('inbound') }));
    edge = await gateway.port('edge');
  }, 60_000);
  afterAll(() => fleet[Symbol.asyncDispose]());

  /** How a stranger may come. */
  const ways: Record<string, (requests: Request[], port?: number) => Promise<Answer[]>> = {
    'HTTP/1.1': (requests, port = edge) => Promise.all(requests.map((each) => sendHttps(port, STRANGER, each))),
    'HTTP/2': (requests, port = edge) => sendHttp2(port, STRANGER, requests),
  };

  describe.each(Object.entries(ways))('over %s', (protocol, ask) => {
    const pathOf = (attempt: string) => `/reviews/${protocol.replace('/', '-')}/${attempt}`;

    it('is who reviews sees, whoever a stranger claims to be, and its certificate proves it', async () => {
      const requests = Object.entries(ATTEMPTS).map(([attempt, headers]) => ({ path: pathOf(attempt), headers }));
      for (const [i, answer] of (await ask(requests)).entries()) {
        expect(answer.status, requests[i].path).toBe(200);
        expect(answer.body, requests[i].path).toContain(`":path": "${requests[i].path}"`);
        expect(answer.body, requests[i].path).not.toContain('x-forwarded-client-cert');
        expectNoSecrets(requests[i].path, answer);
      }
      for (const { path } of requests) {
        const line = await logged(reviews, path);
        expect(line.downstream_peer.id, path).toBe(gatewaySays.id);
        expect(line.downstream_peer.metadata.value, path).toEqual(gatewaySays.metadata);
        expect(line.downstream_certificate, path).toBe(spiffe('istio-system', line.downstream_peer.account));
      }
    });

    it('learns who answered, and that its certificate says the same', async () => {
      await ask([{ path: pathOf('learns'), headers: ATTEMPTS.forged }]);
      const line = await logged(gateway, pathOf('learns'));
      expect(line.protocol).toBe(protocol);
      expect(line.upstream_peer.id).toBe(reviewsSays.id);
      expect(line.upstream_peer.metadata.value).toEqual(reviewsSays.metadata);
      expect(line.upstream_certificate).toBe(spiffe('default', line.upstream_peer.account));
    });

    it('tells strangers nothing when it answers by itself: no such page, a path to be cleaned up, reviews gone', async () => {
      const attempts = Object.entries(ATTEMPTS);
      for (const [path, status] of [
        ['/not-public', 404],
        ['/reviews/..%2fadmin', 307],
      ] as const) {
        for (const [i, answer] of (await ask(attempts.map(([, headers]) => ({ path, headers })))).entries()) {
          expect(answer.status, attempts[i][0]).toBe(status);
          expectNoSecrets(`${path}: ${attempts[i][0]}`, answer);
        }
      }
      await using alone = new Fleet();
      // Nothing listens at port 1.
      const lonely = await alone.start('lonely gateway', shipped(GATEWAY, { reviews: 1 }));
      const answers = await ask(
        attempts.map(([, headers]) => ({ path: '/reviews/1', headers })),
        await lonely.port('edge'),
      );
      for (const [i, answer] of answers.entries()) {
        expect(answer.status, attempts[i][0]).toBe(503);
        expectNoSecrets(attempts[i][0], answer);
      }
    });

    it('believes no trailers', async () => {
      const path = pathOf('trailers');
      const trailers = { [METADATA]: forged, [ID]: 'forged' };
      const [answer] = await ask([{ method: 'POST', path, headers: ATTEMPTS.forged, body: 'x', trailers }]);
      expect(answer.status).toBe(200);
      expectNoSecrets(path, answer);
      const line = await logged(reviews, path);
      expect(line.downstream_peer.id).toBe(gatewaySays.id);
      expect(line.downstream_peer.metadata.value).toEqual(gatewaySays.metadata);
    });

    it('turns away headers that a careless server would take for ours', async () => {
      const [answer] = await ask([{ path: '/reviews/_', headers: ['x_istio_peer_id', 'forged'] }]).catch(() => [
        undefined,
      ]);
      // HTTP/2 may reset the stream in place of an answer.
      if (protocol === 'HTTP/1.1') expect(answer?.status).toBe(400);
      else expect([undefined, 400]).toContain(answer?.status);
      if (answer) expectNoSecrets('underscores', answer);
    });
  });

  it('has nothing of ours in any byte that it writes, whatever it was sent', async () => {
    const claims = `${METADATA}: ${forged}\r\n${ID}: forged\r\n`;
    const requests = {
      answered: `GET /reviews/bytes HTTP/1.1\r\nhost: a\r\n${claims}connection: close\r\n\r\n`,
      'headers in another case': `GET /reviews/case HTTP/1.1\r\nhost: a\r\nX-Istio-Peer-Id: Forged\r\nconnection: close\r\n\r\n`,
      'to be asked for our headers': `GET /reviews/te HTTP/1.1\r\nhost: a\r\n${claims}te: trailers\r\nconnection: close\r\n\r\n`,
      'no HTTP at all': `${claims}\r\n\r\n`,
      'a header without a name': `GET /reviews/ HTTP/1.1\r\nhost: a\r\n: x\r\n${claims}\r\n`,
      'too large': `GET /reviews/ HTTP/1.1\r\nhost: a\r\n${claims}x: ${'x'.repeat(70_000)}\r\n\r\n`,
    };
    for (const [what, bytes] of Object.entries(requests)) {
      const said = await sendBytes(edge, STRANGER, bytes);
      expect(said, what).toMatch(/^HTTP\/1\.1 \d/);
      expectNoSecrets(what, said);
    }
    expect((await logged(reviews, '/reviews/case')).downstream_peer.id).toBe(gatewaySays.id);
  });

  it('is the only way in: without a certificate of the mesh nobody gets to make a claim', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'stranger-'));
    try {
      const other = new Authority(folder).issue('stranger', { uris: [spiffe('default', 'bookinfo-productpage')] });
      const port = await reviews.port('inbound');
      const account = spiffe('default', 'bookinfo-reviews');
      const mesh = { root: join(CERTIFICATES, 'mesh/root.crt'), host: 'reviews', spiffe: account };
      const request = `GET /reviews/around HTTP/1.1\r\nhost: a\r\n${ID}: forged\r\nconnection: close\r\n\r\n`;
      const knock = (certificate?: Certificate) => sendBytes(port, { ...mesh, certificate }, request).catch(String);
      expect(await knock(), 'no certificate').toMatch(/certificate required/);
      expect(await knock(other), 'a certificate of another authority').toMatch(/unknown ca|certificate unknown/);
      expect(reviews.log()).not.toContain('/reviews/around');
      // With the gateway's own the same request gets in: so it was the certificate.
      const own = join(CERTIFICATES, 'mesh/istio-ingressgateway-service-account');
      expect(await knock({ chain: `${own}.crt`, key: `${own}.key` })).toMatch(/^HTTP\/1\.1 200/);
      expect((await logged(reviews, '/reviews/around')).downstream_peer.id).toBe('forged');
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});
