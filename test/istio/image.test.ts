// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { createReadStream, readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest';
import { MODULE } from '../../testkit/envoy/binary.ts';
import { sha256 } from '../../testkit/sha256.ts';
import { program, run } from './programs.ts';
import { fetchAsIstio, Registry } from './registry.ts';

/** What Istio's agent must get, whichever way. */
const module = readFileSync(MODULE);
const OTHER = sha256(Buffer.from('other'));

async function expectModule(url: string, options: Parameters<typeof fetchAsIstio>[1] = {}): Promise<void> {
  const { ok, output, errors } = await fetchAsIstio(url, options);
  expect(ok, errors).toBe(true);
  expect(output.equals(module), `${output.length} bytes are the module`).toBe(true);
}

async function expectRefusal(reason: RegExp, url: string, options: Parameters<typeof fetchAsIstio>[1] = {}) {
  const { ok, errors } = await fetchAsIstio(url, options);
  expect(ok).toBe(false);
  expect(errors).toMatch(reason);
}

describe('an open registry', () => {
  let registry: Registry;
  let digest: string;

  beforeAll(async () => {
    registry = await Registry.start();
    const pushed = await registry.push('mesh/metadata-exchange:1');
    expect(pushed.ok, pushed.errors).toBe(true);
    digest = pushed.digest!;
  });
  afterAll(() => registry?.[Symbol.asyncDispose]());

  test("Istio's agent pulls the module that was built, by tag and by digest", async () => {
    const name = `oci://${registry.host}/mesh/metadata-exchange`;
    await expectModule(`${name}:1`);
    await expectModule(`${name}:1`, { sha256: digest.slice('sha256:'.length) });
    await expectModule(`${name}@${digest}`);
  });

  test('and no other image under its name', async () => {
    await expectRefusal(/does not match/, `oci://${registry.host}/mesh/metadata-exchange:1`, { sha256: OTHER });
    await expectRefusal(/MANIFEST_UNKNOWN|404/, `oci://${registry.host}/mesh/metadata-exchange:2`);
  });

  test('a second push, of an image built again, changes nothing', async () => {
    const again = await registry.push('mesh/metadata-exchange:2');
    expect(again.digest).toBe(digest);
    await expectModule(`oci://${registry.host}/mesh/metadata-exchange:2`, { sha256: digest.slice('sha256:'.length) });
  });

  test('other tools read it as a usual image', async () => {
    const image = `${registry.host}/mesh/metadata-exchange:1`;
    const { ok, output, errors } = await run(program('crane'), ['validate', '--remote', image]);
    expect(ok, output + errors).toBe(true);
    const config = await run(program('crane'), ['config', image]);
    expect(JSON.parse(config.output.toString()).config.Labels).toMatchObject({
      'org.opencontainers.image.title': 'proxy-wasm-metadata-exchange',
      'org.opencontainers.image.licenses': 'Apache-2.0',
      'org.opencontainers.image.version': expect.stringMatching(/^\d+\.\d+\.\d+/),
    });
  });
});

describe('a registry that asks for a password', () => {
  let registry: Registry;

  beforeAll(async () => {
    registry = await Registry.start({ realm: 'https://registry.example.com' });
  });
  afterAll(() => registry?.[Symbol.asyncDispose]());

  test('takes and gives the image to those that have it', async () => {
    expect((await registry.push('mesh/metadata-exchange:1')).ok, 'without a password').toBe(false);
    const pushed = await registry.push('mesh/metadata-exchange:1', { login: true });
    expect(pushed.ok, pushed.errors).toBe(true);
    const url = `oci://${registry.host}/mesh/metadata-exchange:1`;
    await expectModule(url, { pullSecret: registry.pullSecret });
    await expectRefusal(/UNAUTHORIZED|401/, url);
  });
});

test("Istio's agent takes no password to a registry whose realm is not a URL", async () => {
  await using registry = await Registry.start({ realm: 'Registry Realm' });
  await registry.push('mesh/metadata-exchange:1', { login: true });
  await expectRefusal(/unsafe bearer realm/, `oci://${registry.host}/mesh/metadata-exchange:1`, {
    pullSecret: registry.pullSecret,
  });
});

test("Istio's agent downloads the module from a web server", async () => {
  const server = createServer((_, response) => createReadStream(MODULE).pipe(response));
  onTestFinished(() => void server.close());
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}/metadata_exchange.wasm`;
  await expectModule(url);
  await expectModule(url, { sha256: sha256(module) });
  await expectRefusal(/does not match/, url, { sha256: OTHER });
});
