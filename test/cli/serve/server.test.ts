// SPDX-License-Identifier: Apache-2.0
import http from 'node:http';
import { networkInterfaces } from 'node:os';
import getPort from 'get-port';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { App } from '../../../testkit/http.ts';
import { metadataExchange } from '../../support/cli.ts';
import { Serve } from '../../support/serve.ts';

/** `metadata-exchange serve` as a server: who may ask it, and what it gives. */

const PAGE = 'istio_requests_total{reporter="source",source_workload="gateway",destination_workload="shop"} 8\n';

let app: App;
let serve: Serve;
beforeAll(async () => {
  app = await App.start(() => ({ body: PAGE }));
  serve = await Serve.start(`127.0.0.1:${app.port}`);
});
afterAll(async () => {
  await serve[Symbol.asyncDispose]();
  await app[Symbol.asyncDispose]();
});

/** Asks for a path, with any host in the header. */
function ask(path: string, headers: Record<string, string> = {}, method = 'GET'): Promise<http.IncomingMessage> {
  const { port } = new URL(serve.url);
  return new Promise((resolve, reject) => {
    const request = http.request({ host: '127.0.0.1', port, path, method, headers, agent: false }, resolve);
    request.on('error', reject).end();
  });
}

async function textOf(response: http.IncomingMessage): Promise<string> {
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) text += chunk;
  return text;
}

test('the page loads nothing but its own files', async () => {
  const response = await ask('/');
  const page = await textOf(response);
  const policy = String(response.headers['content-security-policy']);
  expect(policy).toContain("default-src 'none'");
  expect(policy).toContain("script-src 'self'");
  expect(policy).not.toContain('unsafe');
  expect(policy).toContain("frame-ancestors 'none'");
  const links = Array.from(page.matchAll(/(?:src|href)="([^"]+)"/g), ([, link]) => link);
  expect(links).toHaveLength(4);
  for (const link of links) {
    expect(link).toMatch(/^\.\//);
    expect((await ask(link.slice(1))).statusCode, link).toBe(200);
  }
});

test('snapshots come as events, without being asked for', async () => {
  const response = await ask('/events');
  expect(response.headers['content-type']).toBe('text/event-stream');
  let text = '';
  for await (const chunk of response.setEncoding('utf8')) {
    text += chunk;
    if (text.split('\n\n').length > 3) break;
  }
  const [first] = text.split('\n\n');
  const { nodes, edges } = JSON.parse(first.replace('data: ', ''));
  expect(nodes.map(({ name }: { name: string }) => name).sort()).toEqual(['gateway', 'shop']);
  expect(edges).toHaveLength(1);
  const [, , third] = text.split('\n\n');
  const snapshot = JSON.parse(third.replace('data: ', ''));
  expect(snapshot.edges).toHaveLength(1);
  expect(snapshot.edges[0].total).toMatchObject({ requests: 8, errors: 0 });
});

describe('nobody else’s page can read it', () => {
  test.each([
    ['a name that leads here', { host: 'rebound.example:80' }, 403],
    ['a name that begins like ours', { host: 'localhost.example' }, 403],
    ['another site’s script', { origin: 'https://example.com' }, 403],
    ['a page without an origin', { origin: 'null' }, 403],
    ['a page at another port of this machine', { host: 'localhost:1', origin: 'http://localhost:2' }, 403],
    ['a picture in another page', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'no-cors' }, 403],
    ['a link in another page', { 'sec-fetch-site': 'cross-site', 'sec-fetch-mode': 'navigate' }, 200],
    ['the page itself', { host: 'localhost:1', origin: 'http://localhost:1', 'sec-fetch-site': 'same-origin' }, 200],
    ['the machine’s own name', { host: 'localhost:1234' }, 200],
    ['its address', { host: '127.0.0.1' }, 200],
  ])('%s', async (_, headers, status) => {
    for (const path of ['/', '/events', '/node?id=x', '/history?id=x']) {
      const response = await ask(path, headers as Record<string, string>);
      response.destroy();
      expect(response.statusCode, path).toBe(status);
    }
  });

  test('nor change anything', async () => {
    expect((await ask('/', {}, 'POST')).statusCode).toBe(405);
  });

  test('it has no files but the page’s', async () => {
    for (const path of ['/../package.json', '/%2e%2e/package.json', '/assets/../../package.json', '/node_modules']) {
      expect((await ask(path)).statusCode, path).toBe(404);
    }
  });

  test('no other address of this machine has it', async () => {
    const others = Object.values(networkInterfaces()).flatMap((each) => each ?? []);
    const { port } = new URL(serve.url);
    for (const { address, family } of others) {
      if (address === '127.0.0.1' || family !== 'IPv4') continue;
      await expect(fetch(`http://${address}:${port}/`), address).rejects.toThrow();
    }
    await expect(fetch(`http://127.0.0.2:${port}/`)).rejects.toThrow();
  });
});

test('a port that is taken, and one that is none', async () => {
  const taken = await metadataExchange(['serve', '--port', String(app.port), `127.0.0.1:${app.port}`]);
  expect(taken.code).toBe(2);
  expect(taken.stderr).toContain('--port=0 takes any free one');
  const wrong = await metadataExchange(['serve', '--port', '70000', `127.0.0.1:${app.port}`]);
  expect(wrong.stderr).toContain('--port must be a number up to 65535');
});

test('Envoys that never answer are named, and Ctrl-C ends it well', async () => {
  const nobody = `127.0.0.1:${await getPort()}`;
  await using other = await Serve.start(nobody);
  const response = await fetch(new URL('events', other.url));
  const reader = response.body?.pipeThrough(new TextDecoderStream()).getReader();
  const { value = '' } = (await reader?.read()) ?? {};
  await reader?.cancel();
  expect(JSON.parse(value.replace('data: ', '')).problems).toEqual([`${nobody} does not answer: ECONNREFUSED`]);
  expect(await other.stop()).toBe(0);
});
