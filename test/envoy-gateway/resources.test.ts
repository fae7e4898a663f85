// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, onTestFinished, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { writeResources } from '../../tools/istio/resources.ts';
import { run } from '../istio/programs.ts';
import { gatewayProgram, resourcesOf } from './stand.ts';

/** What Envoy Gateway's command line says of the resources, by the schemas and rules of its CRDs. */

const FOLDER = 'envoy/envoy-gateway';
const files = readdirSync(join(ROOT, FOLDER)).filter((file) => file.endsWith('.yaml'));

/** What is wrong; the resource itself, which is shown before it, is left out. */
async function validate(text: string): Promise<string> {
  const folder = mkdtempSync(join(tmpdir(), 'resources-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  writeFileSync(join(folder, 'resources.yaml'), text);
  const command = ['experimental', 'validate', '-f', join(folder, 'resources.yaml')];
  const { output, errors } = await run(gatewayProgram('egctl'), command, { env: { NO_COLOR: '1' } });
  const said = output.toString() + errors;
  return said.slice(Math.max(0, said.indexOf('error:')));
}

/** All is well; there is no exit code that says so. */
const OK = /^\S*OK\S*\n$/;

/** A mistake in each of the files: what stands there, what stands there instead, and what is said of it. */
const mistakes: Record<string, [string, string, RegExp][]> = {
  'gateway.yaml': [
    ['type: Merge', 'type: Merged', /spec.bootstrap.type: Unsupported value: "Merged"/],
    ['before: envoy.filters.http.custom_response', 'before: first', /Unsupported value: "first"/],
    ['parametersRef:', 'parameterRef:', /spec.parameterRef: .*unknown field/],
    ['gatewayClassName:', 'gatewayClass:', /spec.gatewayClass: .*unknown field/],
    ['port: 9080', 'port: http', /spec.rules\[0\].backendRefs\[0\].port/],
  ],
  'policy.yaml': [
    ['type: Image', 'type: Images', /spec.wasm\[0\].code.type: Unsupported value: "Images"/],
    ['type: Image', 'type: HTTP', /If type is HTTP, http field needs to be set/],
    ['failOpen: true', 'failopen: true', /spec.wasm\[0\].failopen: .*unknown field/],
    ['failOpen: true', 'failOpen: open', /spec.wasm\[0\].failOpen/],
    ['kind: Gateway', 'kind: Service', /this policy can only have a targetRef/],
  ],
  'bridge.yaml': [
    ['StrategicMerge', 'Replace', /Replace is not a valid MergeType/],
    ['kind: HTTPRoute', 'kind: Gateway', /mergeType can only be used with xRoute targets/],
    ['kind: ConfigMap', 'kind: Secret', /Only a reference to an object of kind ConfigMap/],
    ['type: ValueRef', 'type: Inline', /Exactly one of inline or valueRef must be set/],
  ],
};

test.each(files)('%s is taken', async (file) => {
  expect(await validate(readFileSync(join(ROOT, FOLDER, file), 'utf8'))).toMatch(OK);
});

const broken = files.flatMap((file) => {
  const all = mistakes[file] ?? [];
  if (all.length === 0) throw new Error(`${file}: no mistake is tried`);
  return all.map(([right, wrong, reason]) => ({ file, right, wrong, reason }));
});

describe('a mistake is found', () => {
  test.each(broken)('in $file: $wrong', async ({ file, right, wrong, reason }) => {
    const text = readFileSync(join(ROOT, FOLDER, file), 'utf8');
    expect(text).toContain(right);
    const said = await validate(text.replaceAll(right, wrong));
    expect(said).not.toMatch(OK);
    expect(said).toMatch(reason);
  });
});

test('`make push` writes the policy with the image and its digest', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'resources-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const digest = 'a'.repeat(64);
  writeResources(folder, 'registry.example.com/mesh/metadata-exchange:1', `sha256:${digest}`, FOLDER);
  const [policy] = resourcesOf('policy.yaml', folder);
  expect(policy.spec.wasm[0].code.image).toEqual({
    url: 'registry.example.com/mesh/metadata-exchange:1',
    sha256: digest,
  });
  expect(await validate(readFileSync(join(folder, 'policy.yaml'), 'utf8'))).toMatch(OK);
});
