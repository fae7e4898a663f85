// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { createReadStream, readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { MODULE, ROOT } from '../../testkit/envoy/binary.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { sha256 } from '../../testkit/sha256.ts';
import type { Resource, Sidecar } from './mesh.ts';
import { HEADERS, MeshStand, shippedResource } from './mesh_stand.ts';
import { Registry } from './registry.ts';

const WASM = 'type.googleapis.com/envoy.extensions.filters.http.wasm.v3.Wasm';
const STRUCT = 'type.googleapis.com/google.protobuf.Struct';
const module = readFileSync(MODULE);

let open: Registry;
let closed: Registry;
let web: Server;
/** The image's digest, without `sha256:`. */
let digest: string;

beforeAll(async () => {
  open = await Registry.start();
  closed = await Registry.start({ realm: 'https://registry.example.com' });
  const pushed = await open.push('mesh/metadata-exchange:1');
  digest = pushed.digest!.slice('sha256:'.length);
  await closed.push('mesh/metadata-exchange:1', { login: true });
  web = createServer((_, response) => createReadStream(MODULE).pipe(response));
  await new Promise<void>((resolve) => web.listen(0, '127.0.0.1', resolve));
});
afterAll(async () => {
  web?.close();
  for (const each of [open, closed]) await each?.[Symbol.asyncDispose]();
});

/** A shipped resource, with another module. */
function plugin(file: string, spec: object): Resource {
  const resource = shippedResource(file);
  Object.assign(resource.spec, spec);
  return resource;
}

/** The access log as shipped, which also says what is in dynamic metadata. */
function accessLog(): Resource {
  const resource = shippedResource('access-log.yaml');
  const [log] = resource.spec.configPatches[0].patch.value.typed_config.access_log;
  for (const side of ['downstream', 'upstream']) {
    log.typed_config.log_format.json_format[`dynamic_${side}`] =
      `%DYNAMIC_METADATA(envoy.wasm.metadata_exchange.${side})%`;
  }
  return resource;
}

/** Where istiod reads the mesh configuration. */
function meshConfig(mesh: string): Resource {
  return {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    metadata: { name: 'istio', namespace: 'istio-system' },
    data: { mesh },
  };
}

/** What Istio's agent knows of productpage and reviews, and what Istio calls them. */
function identity(app: string): { id: RegExp; metadata: object } {
  return {
    id: new RegExp(`^sidecar~127\\.[0-9.]+~${app}-v1-0\\.default~default\\.svc\\.cluster\\.local$`),
    metadata: expect.objectContaining({
      NAMESPACE: 'default',
      WORKLOAD_NAME: `${app}-v1`,
      LABELS: expect.objectContaining({ app, version: 'v1' }),
    }),
  };
}

function expectPeer(peer: Resource, app: string): void {
  const { id, metadata } = identity(app);
  expect(peer).toEqual({
    id: expect.stringMatching(id),
    workload: `${app}-v1`,
    app,
    metadata: { '@type': STRUCT, value: metadata },
  });
}

/** Requests go through, both sides learn who the other is, and no application sees or forges anything. */
async function expectExchange(stand: MeshStand, names = HEADERS): Promise<void> {
  const forged = { [names.id]: 'forged', [names.metadata]: 'forged' };
  for (const [path, headers] of Object.entries({ '/reviews/1': {}, '/reviews/2': forged })) {
    const { status, clientSaw, serverSaw } = await stand.exchange(path, headers);
    expect(status).toBe(200);
    for (const name of Object.values(names)) {
      expect([clientSaw.all(name), serverSaw?.all(name)], name).toEqual([[], []]);
    }
    expectPeer((await stand.reviews.logged(path)).downstream_peer, 'productpage');
    expectPeer((await stand.productpage.logged(path)).upstream_peer, 'reviews');
  }
}

/** The Wasm filter's configuration that Envoy has, in both sidecars: where an agent could not get it there is another. */
async function expectWasm(stand: MeshStand): Promise<Resource> {
  let config: Resource;
  for (const sidecar of [stand.productpage, stand.reviews]) {
    const [extension, ...others] = await sidecar.extensions();
    expect(others).toEqual([]);
    expect(extension.typed_config['@type']).toBe(WASM);
    config = extension.typed_config.config;
    const { filename } = config.vm_config.code.local;
    expect(sha256(sidecar.file(filename)), filename).toBe(sha256(module));
  }
  return config;
}

async function filterNames(sidecar: Sidecar, port: number): Promise<string[]> {
  return (await sidecar.httpFilters(port)).map((each) => each.name);
}

describe('the resources as shipped, with an image from a registry', () => {
  let stand: MeshStand;

  beforeAll(async () => {
    const url = `oci://${open.host}/mesh/metadata-exchange:1`;
    const wasm = plugin('wasmplugin.yaml', { url, sha256: digest });
    stand = await MeshStand.start([wasm, shippedResource('bridge.yaml'), accessLog()]);
  });
  afterAll(() => stand?.[Symbol.asyncDispose]());

  test('istiod makes a Wasm filter of the WasmPlugin, and the agent downloads the module', async () => {
    const { root_id, failure_policy, configuration } = await expectWasm(stand);
    expect([root_id, failure_policy]).toEqual(['metadata_exchange', 'FAIL_OPEN']);
    expect(JSON.parse(configuration.value)).toEqual(shippedResource('wasmplugin.yaml').spec.pluginConfig);
  });

  test('it stands before all filters of Istio, and between those of the bridge', async () => {
    for (const names of [await filterNames(stand.productpage, 9080), await filterNames(stand.reviews, 8080)]) {
      const [responses, wasm, ...others] = names;
      expect(responses).toBe('metadata-exchange-bridge-responses');
      expect(wasm).toMatch(/metadata-exchange/);
      expect(others.slice(-2)).toEqual(['metadata-exchange-bridge-requests', 'envoy.filters.http.router']);
    }
  });

  test('stock Envoys exchange metadata', () => expectExchange(stand));

  test('the bridge has it in dynamic metadata', async () => {
    await stand.exchange('/reviews/dynamic');
    const { dynamic_downstream } = await stand.reviews.logged('/reviews/dynamic');
    expect(dynamic_downstream).toEqual(identity('productpage').metadata);
    const { dynamic_upstream } = await stand.productpage.logged('/reviews/dynamic');
    expect(dynamic_upstream).toEqual(identity('reviews').metadata);
  });
});

describe('other ways to get the module into a proxy', () => {
  const ways: Record<string, () => Resource[]> = {
    'an image pinned in the URL': () => [
      plugin('wasmplugin.yaml', { url: `oci://${open.host}/mesh/metadata-exchange@sha256:${digest}` }),
    ],
    'http.yaml: a web server': () => [
      plugin('other-ways/http.yaml', {
        url: `http://127.0.0.1:${(web.address() as AddressInfo).port}/metadata_exchange.wasm`,
        sha256: sha256(module),
      }),
    ],
    'private-registry.yaml: a registry that asks for a password': () => [
      plugin('other-ways/private-registry.yaml', {
        url: `oci://${closed.host}/mesh/metadata-exchange:1`,
        sha256: digest,
      }),
      pullSecret(),
    ],
    'ecds.yaml: an EnvoyFilter': () => {
      const filter = shippedResource('other-ways/ecds.yaml');
      const { code } = filter.spec.configPatches[0].patch.value.typed_config.config.vm_config;
      code.remote.http_uri.uri = `oci://${open.host}/mesh/metadata-exchange:1`;
      return [filter];
    },
  };

  function pullSecret(): Resource {
    const { spec } = shippedResource('other-ways/private-registry.yaml');
    return {
      apiVersion: 'v1',
      kind: 'Secret',
      type: 'kubernetes.io/dockerconfigjson',
      metadata: { name: spec.imagePullSecret, namespace: 'default' },
      data: { '.dockerconfigjson': readFileSync(closed.pullSecret).toString('base64') },
    };
  }

  test.each(Object.entries(ways))('%s', async (_, resources) => {
    await using stand = await MeshStand.start([...resources(), accessLog()]);
    await expectWasm(stand);
    await expectExchange(stand);
  });

  test('file.yaml: a file in the container', async () => {
    const filter = shippedResource('other-ways/file.yaml');
    filter.spec.configPatches[0].patch.value.typed_config.config.vm_config.code.local.filename = MODULE;
    await using stand = await MeshStand.start([filter, accessLog()]);
    expect(await stand.reviews.extensions(), 'nothing is downloaded').toEqual([]);
    await expectExchange(stand);
  });
});

test('names of our own, for proxies that have the native exchange too', async () => {
  const url = `oci://${open.host}/mesh/metadata-exchange:1`;
  const wasm = plugin('wasmplugin.yaml', { url });
  delete wasm.spec.pluginConfig;
  await using stand = await MeshStand.start([wasm, accessLog()]);
  await expectExchange(stand, { metadata: METADATA, id: ID });
});

test("Istio's Telemetry writes the same access log", async () => {
  const mesh = meshConfig(readFileSync(join(ROOT, 'envoy/istio/telemetry/mesh-config.yaml'), 'utf8'));
  const url = `oci://${open.host}/mesh/metadata-exchange:1`;
  const resources = [plugin('wasmplugin.yaml', { url }), shippedResource('telemetry/telemetry.yaml'), mesh];
  await using stand = await MeshStand.start(resources);
  await expectExchange(stand);
});

test("with Istio's own statistics, which istiod-values.yaml switches off, a stock Envoy takes no listener", async () => {
  const standard = meshConfig('defaultProviders: { metrics: [prometheus] }');
  await using stand = await MeshStand.start([standard], { ready: false });
  const refusal = /config rejected: Didn't find a registered implementation for 'istio.stats'/;
  await stand.reviews.until('the listener is refused', () => refusal.test(stand.reviews.log()));
});

describe('a module that cannot be had', () => {
  test('FAIL_OPEN: requests go through, and nobody learns anything', async () => {
    const url = `oci://${open.host}/mesh/metadata-exchange:gone`;
    await using stand = await MeshStand.start([plugin('wasmplugin.yaml', { url }), accessLog()]);
    const [extension] = await stand.reviews.extensions();
    expect(extension.typed_config['@type'], 'what the agent puts in its place').toMatch(/RBAC$/);
    expect((await stand.exchange('/reviews/1')).status).toBe(200);
    expect((await stand.reviews.logged('/reviews/1')).downstream_peer.id).toBeNull();
  });

  test('an image that is not the one of the digest is none', async () => {
    const spec = { url: `oci://${open.host}/mesh/metadata-exchange:1`, sha256: sha256(Buffer.from('other')) };
    await using stand = await MeshStand.start([plugin('wasmplugin.yaml', spec), accessLog()]);
    const [extension] = await stand.reviews.extensions();
    expect(extension.typed_config['@type']).toMatch(/RBAC$/);
    expect(stand.reviews.log()).toMatch(/does not match/);
  });
});
