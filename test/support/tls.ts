// SPDX-License-Identifier: Apache-2.0
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import http2 from 'node:http2';
import tls from 'node:tls';
import type { Authority, Certificate } from '../../testkit/envoy/certificates.ts';
import { type Answer, Headers, type Request, send } from '../../testkit/http.ts';

/** Clients that speak TLS: over HTTP/1.1, HTTP/2, and byte by byte; and proxies that do. */

const TLS = 'type.googleapis.com/envoy.extensions.transport_sockets.tls.v3';

/** An Envoy's transport socket: shows a certificate, if there is one, and takes one of the same authority. */
export function transportSocket(
  side: 'Upstream' | 'Downstream',
  authority: Authority,
  certificate?: Certificate,
): object {
  const context = {
    tls_certificates: certificate && [
      { certificate_chain: { filename: certificate.chain }, private_key: { filename: certificate.key } },
    ],
    validation_context: { trusted_ca: { filename: authority.root } },
  };
  return {
    name: 'envoy.transport_sockets.tls',
    typed_config: { '@type': `${TLS}.${side}TlsContext`, common_tls_context: context },
  };
}

export interface Tls {
  /** The root certificate that the client trusts: a PEM file. */
  root: string;
  /** The host name that it asks for. */
  host: string;
  /** The SPIFFE ID that it expects of the server; the host name unless told. */
  spiffe?: string;
  /** What it shows; nothing unless told. */
  certificate?: Certificate;
}

function credentials({ root, host, spiffe, certificate }: Tls): tls.ConnectionOptions {
  const pem = (file?: string) => file && readFileSync(file);
  const checkServerIdentity: typeof tls.checkServerIdentity = (name, shown) => {
    if (!spiffe) return tls.checkServerIdentity(name, shown);
    return shown.subjectaltname === `URI:${spiffe}` ? undefined : new Error(`the server is ${shown.subjectaltname}`);
  };
  const own = { cert: pem(certificate?.chain), key: pem(certificate?.key) };
  return { ca: pem(root), servername: host, checkServerIdentity, ...own };
}

/** Sends one HTTP/1.1 request on a connection of its own. */
export function sendHttps(port: number, by: Tls, request: Request): Promise<Answer> {
  return send(port, request, credentials(by));
}

/** Sends HTTP/2 requests at the same time on one connection: all the answers. */
export async function sendHttp2(port: number, by: Tls, requests: Request[]): Promise<Answer[]> {
  const session = http2.connect(`https://${by.host}:${port}`, {
    createConnection: () => tls.connect({ host: '127.0.0.1', port, ALPNProtocols: ['h2'], ...credentials(by) }),
  });
  try {
    // Without it a failed connection is reported to the process.
    const failed = once(session, 'error').then(([error]) => Promise.reject(error));
    return await Promise.race([failed, Promise.all(requests.map((request) => stream(session, request)))]);
  } finally {
    session.destroy();
  }
}

function stream(session: http2.ClientHttp2Session, request: Request): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const headers: Record<string, string | string[]> = {
      ':method': request.method ?? 'GET',
      ':path': request.path ?? '/',
    };
    const pairs = request.headers ?? [];
    for (let i = 0; i < pairs.length; i += 2) headers[pairs[i]] = [...(headers[pairs[i]] ?? []), pairs[i + 1]];
    const exchange = session.request(headers, { waitForTrailers: request.trailers !== undefined });
    exchange.on('wantTrailers', () => exchange.sendTrailers(request.trailers ?? {}));
    const answer: Answer = { status: 0, headers: new Headers([]), body: '', trailers: {} };
    exchange.on('response', (received) => {
      answer.status = Number(received[':status']);
      answer.headers = new Headers(
        Object.entries(received).flatMap(([name, value]) => [value ?? []].flat().flatMap((each) => [name, each])),
      );
    });
    exchange.on('trailers', (received) => {
      answer.trailers = received as Answer['trailers'];
    });
    exchange.on('data', (chunk) => {
      answer.body += chunk;
    });
    exchange.on('end', () => resolve(answer)).on('error', reject);
    exchange.end(request.body);
  });
}

/** Sends these bytes and reads until the server is done: what it said, whatever it is. */
export async function sendBytes(port: number, by: Tls, bytes: string): Promise<string> {
  const socket = tls.connect({ host: '127.0.0.1', port, ALPNProtocols: ['http/1.1'], ...credentials(by) });
  try {
    await once(socket, 'secureConnect');
    socket.write(bytes);
    let text = '';
    for await (const chunk of socket) text += chunk.toString('latin1');
    return text;
  } finally {
    socket.destroy();
  }
}
