// SPDX-License-Identifier: Apache-2.0
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { hostname, tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { metadataExchange } from '../support/cli.ts';

/** `metadata-exchange node`: who the proxy of a machine is, from what the machine says. */

/** Variables that a machine which runs the tests may have: an empty one says nothing. */
const NOTHING = {
  POD_NAME: '',
  POD_NAMESPACE: '',
  ISTIO_NAMESPACE: '',
  ISTIO_META_WORKLOAD_NAME: '',
  ISTIO_META_CLUSTER_ID: '',
  ISTIO_META_MESH_ID: '',
  ISTIO_METAJSON_LABELS: '',
  CANONICAL_SERVICE: '',
  CANONICAL_REVISION: '',
  SERVICE_ACCOUNT: '',
  TRUST_DOMAIN: '',
  INSTANCE_IP: '',
};

const DEBIAN = `PRETTY_NAME="Debian GNU/Linux 13 (trixie)"
NAME="Debian GNU/Linux"
VERSION_ID="13"
ID=debian
HOME_URL="https://www.debian.org/"
`;

/** As `istioctl x workload entry configure` writes it. */
const CLUSTER_ENV = `CANONICAL_REVISION='v1'
CANONICAL_SERVICE='orders'
ISTIO_METAJSON_LABELS='{"app":"orders","team":"sales"}'
ISTIO_META_CLUSTER_ID='Kubernetes'
ISTIO_META_MESH_ID=''
ISTIO_META_WORKLOAD_NAME='orders'
ISTIO_NAMESPACE='shop'
POD_NAMESPACE='shop'
SERVICE_ACCOUNT='orders-sa'
TRUST_DOMAIN='cluster.local'
`;

let folder: string;
let debian: string;
let clusterEnv: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'node-'));
  debian = join(folder, 'os-release');
  clusterEnv = join(folder, 'cluster.env');
  writeFileSync(debian, DEBIAN);
  writeFileSync(clusterEnv, CLUSTER_ENV);
});
afterAll(() => rmSync(folder, { recursive: true }));

/** On a machine with Debian 13, and nothing else that is known of it. */
function nodeCommand(args: string[], env: NodeJS.ProcessEnv = {}) {
  return metadataExchange(['node', `--os-release=${debian}`, ...args], '', { ...NOTHING, ...env });
}

/** The node that the command writes. */
async function nodeOf(args: string[], env: NodeJS.ProcessEnv = {}) {
  const { code, stdout, stderr } = await nodeCommand(args, env);
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return parse(stdout).node;
}

describe('a machine', () => {
  test('of which nothing is said has its host name, and its system', async () => {
    expect(await nodeOf([])).toEqual({
      id: `${hostname()}.default`,
      cluster: `${hostname()}.default`,
      metadata: {
        'istio.io/metadata': {
          NAME: hostname(),
          NAMESPACE: 'default',
          WORKLOAD_NAME: hostname(),
          PLATFORM_METADATA: { os_id: 'debian', os_version_id: '13' },
        },
      },
    });
  });

  test('is described by flags', async () => {
    const flags = ['--name=vm-7', '--namespace=shop', '--workload=orders-v1', '--labels=version=v1,app=orders'];
    const place = ['--ip=10.1.2.3', '--region=eu-west-1', '--zone=eu-west-1b'];
    expect(await nodeOf([...flags, ...place])).toEqual({
      id: 'sidecar~10.1.2.3~vm-7.shop~shop.svc.cluster.local',
      cluster: 'orders.shop',
      locality: { region: 'eu-west-1', zone: 'eu-west-1b' },
      metadata: {
        'istio.io/metadata': {
          NAME: 'vm-7',
          NAMESPACE: 'shop',
          WORKLOAD_NAME: 'orders-v1',
          REGION: 'eu-west-1',
          AVAILABILITY_ZONE: 'eu-west-1b',
          LABELS: { app: 'orders', version: 'v1' },
          PLATFORM_METADATA: { os_id: 'debian', os_version_id: '13' },
        },
      },
    });
  });

  test('is described by the file that istioctl writes for it', async () => {
    expect(await nodeOf([`--variables=${clusterEnv}`, '--name=vm-7'])).toEqual({
      id: 'vm-7.shop',
      cluster: 'orders.shop',
      metadata: {
        'istio.io/metadata': {
          NAME: 'vm-7',
          NAMESPACE: 'shop',
          WORKLOAD_NAME: 'orders',
          CLUSTER_ID: 'Kubernetes',
          SERVICE_ACCOUNT: 'orders-sa',
          TRUST_DOMAIN: 'cluster.local',
          IDENTITY: 'spiffe://cluster.local/ns/shop/sa/orders-sa',
          LABELS: {
            app: 'orders',
            'service.istio.io/canonical-name': 'orders',
            'service.istio.io/canonical-revision': 'v1',
            team: 'sales',
          },
          PLATFORM_METADATA: { os_id: 'debian', os_version_id: '13' },
        },
      },
    });
  });
});

test('a flag wins over the environment, and that over the file', async () => {
  const args = [`--variables=${clusterEnv}`, '--name=vm-7', '--labels=team=logistics'];
  const env = { POD_NAMESPACE: 'shop-two', POD_NAME: 'vm-8', TRUST_DOMAIN: 'example.com' };
  const { metadata } = await nodeOf(args, env);
  expect(metadata['istio.io/metadata']).toMatchObject({
    NAME: 'vm-7',
    NAMESPACE: 'shop-two',
    SERVICE_ACCOUNT: 'orders-sa',
    IDENTITY: 'spiffe://example.com/ns/shop-two/sa/orders-sa',
    LABELS: { app: 'orders', team: 'logistics' },
  });
});

test('JSON says the same as YAML, and each run writes the same bytes', async () => {
  const args = [`--variables=${clusterEnv}`, '--name=vm-7', '--region=eu'];
  const [yaml, again, json] = await Promise.all([
    nodeCommand(args),
    nodeCommand(args),
    nodeCommand([...args, '--json']),
  ]);
  expect(again).toEqual(yaml);
  expect(JSON.parse(json.stdout)).toEqual(parse(yaml.stdout));
  expect(yaml.stdout).toMatch(/^node:\n {2}id: "vm-7\.shop"\n/);
});

describe('what the module would not tell as it stands is not written, and the exit code is 1', () => {
  test.each([
    ['a label with a control character', ['--labels=note=a\tb'], 'not be told all of this metadata'],
    ['an id that no header carries', ['--id=a,b'], 'not be told this id'],
    ['more than fits into a header', [`--labels=note=${'x'.repeat(4000)}`], 'not be told all of this metadata'],
  ])('%s', async (_, args, reason) => {
    const { code, stdout, stderr } = await nodeCommand(args);
    expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
    expect(stderr).toContain(reason);
    expect(stderr, 'and in the module’s own words').toMatch(/^metadata_exchange: /);
  });
});

describe('whoever calls it in a wrong way reads why, and the exit code is 2', () => {
  test.each([
    [['here'], {}, 'it takes only options, and no here'],
    [['--labels=app'], {}, '--labels: app is no NAME=VALUE'],
    [[], { ISTIO_METAJSON_LABELS: '{"app"' }, 'ISTIO_METAJSON_LABELS is not JSON'],
    [[], { ISTIO_METAJSON_LABELS: '["app"]' }, 'ISTIO_METAJSON_LABELS is no object'],
    [[], { ISTIO_METAJSON_LABELS: '{"version": 1}' }, 'the label version is no text'],
    [['--variables=/no/such/file'], {}, '/no/such/file cannot be read'],
  ])('%j %j', async (args, env, reason) => {
    const { code, stdout, stderr } = await nodeCommand(args, env);
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toContain(reason);
  });
});
