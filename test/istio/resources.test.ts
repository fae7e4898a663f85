// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { parse, parseAllDocuments, stringify } from 'yaml';
import { MODULE, ROOT } from '../../testkit/envoy/binary.ts';
import { anyPort, type Bootstrap, validate as envoyValidate, localPort } from '../../testkit/envoy/process.ts';
import { writeResources } from '../../tools/istio/resources.ts';
import type { Resource } from './mesh.ts';
import { shippedResource, shippedResources } from './mesh_stand.ts';
import { program, type Result, run } from './programs.ts';

const files = readdirSync(join(ROOT, 'envoy/istio'), { recursive: true, encoding: 'utf8' })
  // Values of a chart are no resources.
  .filter((file) => file.endsWith('.yaml') && !file.endsWith('istiod-values.yaml'))
  .sort();

function validate(text: string): Promise<Result> {
  return run(program('validate'), [], { input: text });
}

/** A mistake in each of the files: what stands there, what stands there instead, and what is said of it. */
const mistakes: Record<string, [string | RegExp, string, RegExp][]> = {
  'wasmplugin.yaml': [
    ['phase: AUTHN', 'phase: FIRST', /Unsupported value: "FIRST"/],
    ['failStrategy:', 'failureStrategy:', /unknown fields \[spec.failureStrategy\]/],
    ['oci://', 'ftp://', /url must have schema/],
    ['sha256: ""', 'sha256: "abc"', /spec.sha256/],
    ['priority: 1000', 'priority: high', /spec.priority/],
    ['matchLabels:', 'labels:', /spec.selector/],
  ],
  'access-log.yaml': [
    ['HttpConnectionManager', 'HttpConnectionManger', /could not resolve Any/],
    ['operation: MERGE', 'operation: JOIN', /Unsupported value: "JOIN"/],
  ],
  'bridge.yaml': [
    ['lua.v3.Lua', 'lua.v3.Lu', /could not resolve Any/],
    ['context: ANY', 'contxt: ANY', /unknown fields/],
  ],
  'upstream.yaml': [
    ['router.v3.Router', 'router.v3.Routr', /could not resolve Any/],
    ['mode: SERVER', 'mode: SERVERS', /Unsupported value: "SERVERS"/],
    ['context: GATEWAY', 'context: GATEWAYS', /Unsupported value: "GATEWAYS"/],
  ],
  'workloads.yaml': [
    ['serviceAccountName:', 'serviceAccount_name:', /unknown field/],
    ['port: 9080', 'port: http', /cannot unmarshal/],
  ],
  'other-ways/http.yaml': [['http://', 'htp://', /url must have schema/]],
  'other-ways/private-registry.yaml': [['imagePullSecret:', 'pullSecret:', /unknown fields \[spec.pullSecret\]/]],
  'other-ways/ecds.yaml': [
    ['wasm.v3.Wasm\n            config', 'wasm.v3.Wsm\n            config', /could not resolve Any/],
    ['applyTo: EXTENSION_CONFIG', 'applyTo: EXTENSION', /Unsupported value: "EXTENSION"/],
  ],
  'other-ways/file.yaml': [['operation: INSERT_FIRST', 'operation: FIRST', /Unsupported value: "FIRST"/]],
  'telemetry/telemetry.yaml': [['- name: peers', '- nam: peers', /providers\[0\].name/]],
  'telemetry/mesh-config.yaml': [['logFormat:', 'format:', /unknown field "format"/]],
  'workload-discovery/cluster.yaml': [
    ['UpstreamTlsContext', 'UpstreamTlsContxt', /could not resolve Any/],
    ['applyTo: CLUSTER', 'applyTo: CLUSTERS', /Unsupported value: "CLUSTERS"/],
  ],
  'workload-discovery/wasmplugin.yaml': [
    ['mode: CLIENT', 'mode: CLIENTS', /Unsupported value: "CLIENTS"/],
    ['pluginConfig:', 'pluginConf:', /unknown fields \[spec.pluginConf\]/],
  ],
};

test('`make push` writes them with the image and its digest', async () => {
  const image = 'registry.example.com/mesh/metadata-exchange:1';
  const folder = mkdtempSync(join(tmpdir(), 'resources-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const digest = 'a'.repeat(64);
  writeResources(folder, image, `sha256:${digest}`);
  for (const file of files) {
    const text = readFileSync(join(folder, file), 'utf8');
    expect(text).not.toContain('OWNER');
    const plugin = parseAllDocuments(text)
      .map((each) => each.toJS())
      .find(({ kind }) => kind === 'WasmPlugin');
    if (!plugin) continue;
    const isImage = file !== 'other-ways/http.yaml';
    expect(plugin.spec.sha256, file).toBe(isImage ? digest : '');
    if (isImage) expect(plugin.spec.url).toBe(`oci://${image}`);
    const { ok, errors } = await validate(text);
    expect(ok, errors).toBe(true);
  }
});

describe("Istio's own validation", () => {
  test.each(files)('takes %s', async (file) => {
    const { ok, errors } = await validate(readFileSync(join(ROOT, 'envoy/istio', file), 'utf8'));
    expect(ok, errors).toBe(true);
  });

  const broken = files.flatMap((file) => {
    const all = mistakes[file] ?? [];
    if (all.length === 0) throw new Error(`${file}: no mistake is tried`);
    return all.map(([right, wrong, reason]) => ({ file, right, wrong, reason }));
  });

  test.each(broken)('refuses $file with $wrong', async ({ file, right, wrong, reason }) => {
    const text = readFileSync(join(ROOT, 'envoy/istio', file), 'utf8');
    expect(text).toMatch(right);
    const { ok, errors } = await validate(text.replaceAll(right, wrong));
    expect(ok).toBe(false);
    expect(errors).toMatch(reason);
  });
});

/** What Envoy gets to see of an EnvoyFilter: its HTTP filters, in order, its access logs, and its clusters. */
function partsOf(filter: Resource): { filters: Resource[]; accessLogs: Resource[]; clusters: Resource[] } {
  const all = filter.spec.configPatches;
  const isCluster = (each: Resource) => each.applyTo === 'CLUSTER' && each.patch.operation === 'ADD';
  const patches = all.filter((each: Resource) => !isCluster(each)).map((each: Resource) => each.patch.value);
  return {
    clusters: all.filter(isCluster).map((each: Resource) => each.patch.value),
    // An extension configuration is a filter's configuration with a name, too.
    filters: patches.filter((each: Resource) => each.name),
    accessLogs: patches
      .flatMap((each: Resource) => each.typed_config?.access_log ?? [])
      // There is a /dev/stdout in containers, but not where a test reads what Envoy writes.
      .map((each: Resource) => ({ ...each, typed_config: { ...each.typed_config, path: '/dev/null' } })),
  };
}

/** A configuration with them. The module is the one that was built: Istio's agent writes such a path in place of a URL. */
function bootstrapWith({ filters, accessLogs, clusters }: ReturnType<typeof partsOf>): Bootstrap {
  const http_filters: Resource[] = structuredClone(filters);
  for (const { typed_config } of http_filters) {
    if (typed_config?.config?.vm_config) typed_config.config.vm_config.code = { local: { filename: MODULE } };
  }
  const type = 'type.googleapis.com/envoy.extensions.filters';
  // A router that is merged into istiod's is the same for each context.
  const routers = http_filters.filter(({ typed_config }) => typed_config?.['@type'].endsWith('.Router'));
  const router = routers[0] ?? { name: 'router', typed_config: { '@type': `${type}.http.router.v3.Router` } };
  const manager = {
    '@type': `${type}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: 'http',
    route_config: {},
    http_filters: [...http_filters.filter((each) => !routers.includes(each)), router],
    access_log: accessLogs,
  };
  const cluster = (name: string) => ({
    name,
    type: 'STATIC',
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [{ endpoint: { address: localPort(1) } }] }] },
  });
  return {
    node: { id: 'test-node', cluster: 'test-cluster' },
    dynamic_resources: { ads_config: { api_type: 'GRPC', grpc_services: [{ envoy_grpc: { cluster_name: 'xds' } }] } },
    static_resources: {
      // The agent's certificates come by the second of these.
      clusters: [cluster('xds'), cluster('sds-grpc'), ...clusters],
      listeners: [
        { name: 'http', address: anyPort(), filter_chains: [{ filters: [{ name: 'http', typed_config: manager }] }] },
      ],
    },
  };
}

describe('a real Envoy', () => {
  const filters = files.filter((file) => shippedResources(file)[0]?.kind === 'EnvoyFilter');

  test('there are EnvoyFilters', () => {
    const others = ['other-ways/ecds.yaml', 'other-ways/file.yaml'];
    expect(filters).toEqual([
      'access-log.yaml',
      'bridge.yaml',
      ...others,
      'upstream.yaml',
      'workload-discovery/cluster.yaml',
    ]);
  });

  test.each(filters)('takes what %s adds', async (file) => {
    const parts = partsOf(shippedResource(file));
    expect(Object.values(parts).flat().length).toBeGreaterThan(0);
    const { valid, log } = await envoyValidate(bootstrapWith(parts));
    expect(valid, log).toBe(true);
  });

  // Mistakes that Istio does not see, or only warns of.
  const broken: [string, string, string, RegExp][] = [
    ['access-log.yaml', '%RESPONSE_CODE%', '%RESPONSE_COD%', /RESPONSE_COD/],
    ['access-log.yaml', 'LABELS.app)%', 'LABELS.)%', /Syntax error/],
    ['bridge.yaml', 'local DOWNSTREAM =', 'locl DOWNSTREAM =', /script load error/],
    ['upstream.yaml', 'skip_external_clusters:', 'skip_external:', /configuration refused/],
    ['upstream.yaml', 'default_config:', 'defaultconfig:', /defaultconfig/],
    ['other-ways/ecds.yaml', 'root_id:', 'rootid:', /rootid/],
    ['other-ways/ecds.yaml', 'config_source:', 'config_sorce:', /config_sorce/],
    ['other-ways/file.yaml', 'dialect: istio', 'dialet: istio', /configuration refused/],
    ['workload-discovery/cluster.yaml', 'connection_keepalive:', 'connection_keepaliv:', /connection_keepaliv/],
    ['workload-discovery/cluster.yaml', 'san_type: DNS', 'san_type: HOST', /unknown enum value: 'HOST'/],
  ];
  test.each(broken)('refuses what %s adds, with %s changed to %s', async (file, right, wrong, reason) => {
    const text = stringify(shippedResource(file), { lineWidth: 0, aliasDuplicateObjects: false });
    expect(text).toContain(right);
    const { valid, log } = await envoyValidate(bootstrapWith(partsOf(parse(text.replaceAll(right, wrong)))));
    expect(valid).toBe(false);
    expect(log).toMatch(reason);
  });
});
