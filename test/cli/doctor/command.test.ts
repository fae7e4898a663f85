// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { tcpCluster, tcpListener, tcpProxy } from '../../../testkit/envoy/tcp.ts';
import { App } from '../../../testkit/http.ts';
import { metadataExchange } from '../../support/cli.ts';
import { BRIDGE, exchange, inbound, NODE } from '../../support/doctor/given.ts';

/** `metadata-exchange doctor` as somebody types it: what is printed, and the exit code. */

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'doctor-'));
});
afterAll(() => rmSync(folder, { recursive: true }));

function file(name: string, content: unknown): string {
  const path = join(folder, name);
  writeFileSync(path, typeof content === 'string' ? content : JSON.stringify(content));
  return path;
}

const HEALTHY = inbound([exchange()]);
const BROKEN = inbound([BRIDGE, exchange(undefined, '')]);

describe('a file', () => {
  test('in order: what was looked at, and exit code 0', async () => {
    const path = file('healthy.json', HEALTHY);
    expect(await metadataExchange(['doctor', path])).toEqual({
      code: 0,
      stderr: '',
      stdout: [
        path,
        `  a configuration; node ${NODE.id}; 1 listener (INBOUND), 1 HTTP chain; 1 exchange filter, 1 cluster`,
        '',
        'Nothing is wrong, as far as this shows.',
        '',
      ].join('\n'),
    });
  });

  test('of connections: its chains are counted, and each way that a listener looks', async () => {
    const chains = [{ filters: [tcpProxy({ name: 'main' })] }];
    const listeners = [
      ...inbound([exchange()]).static_resources.listeners,
      tcpListener({ name: 'connections', direction: 'OUTBOUND', chains }),
      tcpListener({ name: 'probes', chains }),
    ];
    const config = { node: NODE, static_resources: { listeners, clusters: [tcpCluster('app', 1)] } };
    const { stdout } = await metadataExchange(['doctor', file('connections.json', config)]);
    const looked = '3 listeners (1 INBOUND, 1 OUTBOUND, 1 no direction), 1 HTTP chain, 2 TCP chains; 1 exchange filter';
    expect(stdout).toContain(looked);
  });

  test('with a note only: exit code 0', async () => {
    const path = file('note.json', inbound([exchange({ shared_with_upstream: true })]));
    const { code, stdout } = await metadataExchange(['doctor', path]);
    expect(code).toBe(0);
    expect(stdout).toContain('note  module-warns  listener main, filter metadata_exchange\n');
    expect(stdout).toMatch(/Nothing is wrong, as far as this shows. 1 note\n$/);
  });

  test('broken: the worst first, what to do, where more is said, and exit code 1', async () => {
    const { code, stdout, stderr } = await metadataExchange(['doctor', file('broken.json', BROKEN)]);
    expect({ code, stderr }).toEqual({ code: 1, stderr: '' });
    expect(stdout.split('\n').slice(3)).toEqual([
      'error  bridge-on-wrong-side  listener main, filter dynamic_metadata',
      '  The bridge is on the wrong side: requests pass it before the exchange has read who the client is.',
      '  Do: Put the bridge after the exchange, or the same file on both sides; without',
      '  metadata_exchange_side, if that names the other side. docs/consume.md has a picture.',
      '  docs/troubleshoot.md#bridge-on-wrong-side',
      '',
      'warning  no-failure-policy  listener main, filter metadata_exchange',
      "  There is no failure_policy: should the module ever fail, Envoy's default answers each request with",
      '  503 from then on.',
      '  Do: Choose on purpose: FAIL_OPEN for logs and metrics, FAIL_CLOSED at the edge.',
      '  docs/failure-policy.md has a table.',
      '  docs/troubleshoot.md#no-failure-policy',
      '',
      '1 error, 1 warning',
      '',
    ]);
  });

  test('as JSON, from the standard input', async () => {
    const { code, stdout } = await metadataExchange(['doctor', '--json', '-'], JSON.stringify(BROKEN));
    expect(code).toBe(1);
    const { proxies } = JSON.parse(stdout);
    expect(proxies).toHaveLength(1);
    expect(proxies[0]).toMatchObject({
      name: '-',
      node: NODE.id,
      envoy: null,
      listeners: [{ name: 'main', direction: 'INBOUND' }],
    });
    expect(proxies[0].findings[0]).toMatchObject({
      rule: 'bridge-on-wrong-side',
      severity: 'error',
      where: 'listener main, filter dynamic_metadata',
      link: 'docs/troubleshoot.md#bridge-on-wrong-side',
    });
  });

  test('in camelCase is the same', async () => {
    const yaml = JSON.stringify(BROKEN).replaceAll(/"([a-z0-9_]+)":/g, (_, key: string) => {
      return `"${key.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase())}":`;
    });
    const { stdout } = await metadataExchange(['doctor', '--json', '-'], yaml);
    const rules = JSON.parse(stdout).proxies[0].findings.map(({ rule }: { rule: string }) => rule);
    expect(rules).toEqual(['bridge-on-wrong-side', 'no-failure-policy']);
  });

  test('two of them are looked at beside each other', async () => {
    const speaksIstio = inbound([exchange({ dialect: 'istio' })]);
    const client = readFileSync(join(ROOT, 'envoy/quick-start/client.yaml'), 'utf8');
    const paths = [file('client.yaml', client), file('server.json', speaksIstio)];
    const { code, stdout } = await metadataExchange(['doctor', ...paths]);
    expect(code).toBe(1);
    expect(stdout).toContain('error  other-headers\n');
    expect(stdout.match(/^\S*(client.yaml|server.json)$/gm)).toEqual(paths);
  });

  test('names of strangers do not change the terminal', async () => {
    const config = structuredClone(BROKEN);
    config.static_resources.listeners[0].name = 'evil\u001b[2J\u202e';
    const { stdout } = await metadataExchange(['doctor', file('evil.json', config)]);
    expect(stdout).toContain('listener evil\\u{1b}[2J\\u{202e}, filter');
    for (const hidden of ['\u001b', '\u202e']) expect(stdout).not.toContain(hidden);
  });

  test.each([
    ['nothing that is Envoy’s', 'a: 1', 'no bootstrap, no /config_dump'],
    ['YAML that nobody can read', 'a: [1\nb: 2', 'Flow sequence'],
  ])('%s: exit code 1, and why', async (_, content, why) => {
    const { code, stdout, stderr } = await metadataExchange(['doctor', file('odd.yaml', content)]);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(why);
  });

  test('without the built module the rest is said, and that nobody asked it', async () => {
    const env = { MODULE: join(folder, 'none.wasm') };
    const { code, stderr } = await metadataExchange(['doctor', file('broken.json', BROKEN)], '', env);
    expect(code).toBe(1);
    expect(stderr).toContain('The module is not built');
  });
});

describe('a running Envoy', () => {
  test('by its admin address, and by a /config_dump that was saved', async () => {
    await using envoy = await Envoy.start(BROKEN);
    const address = envoy.adminAddress();
    const asked = await metadataExchange(['doctor', address]);
    expect({ code: asked.code, stderr: asked.stderr }).toEqual({ code: 1, stderr: '' });
    expect(asked.stdout).toMatch(/^ {2}Envoy 1\.\d+\.\d+, up for \d+ s; node sidecar~/m);
    expect(asked.stdout).toMatch(/^error {2}bridge-on-wrong-side/m);
    expect((await metadataExchange(['doctor', `http://${address}/`])).stdout).toMatch(
      /^error {2}bridge-on-wrong-side/m,
    );

    const saved = await metadataExchange(['doctor', '-'], await envoy.admin('/config_dump'));
    expect(saved.code).toBe(1);
    expect(saved.stdout.split('\n').slice(2)).toEqual(asked.stdout.split('\n').slice(2));
  });

  test('by the socket of its admin page', async () => {
    const socket = join(folder, 'admin.sock');
    await using _envoy = await Envoy.start({ ...HEALTHY, admin: { address: { pipe: { path: socket } } } });
    const { code, stdout, stderr } = await metadataExchange(['doctor', socket]);
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/^ {2}Envoy 1\.\d+\.\d+, up for/m);
  });

  test('one that does not answer is named; the others are looked at', async () => {
    const app = await App.start();
    const address = `127.0.0.1:${app.port}`;
    await app[Symbol.asyncDispose]();
    const { code, stdout, stderr } = await metadataExchange(['doctor', address, file('healthy.json', HEALTHY)]);
    expect(code).toBe(1);
    expect(stderr).toBe(`${address}: ECONNREFUSED\n`);
    expect(stdout).toContain('Nothing is wrong');
  });
});
