// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { hostname } from 'node:os';
import { isDeepStrictEqual, parseEnv } from 'node:util';
import { defineCommand } from 'citty';
import { stringify } from 'yaml';
import { Host } from '../../testkit/host/host.ts';
import { node as serialized } from '../../testkit/host/node.ts';
import { ID, METADATA } from '../../testkit/http.ts';
import { bytesOfHeader } from '../header/base64.ts';
import { readStruct } from '../header/struct.ts';
import { BadLabels, type BootstrapNode, type Flag, nodeOf } from '../node/identity.ts';
import { visible } from '../visible.ts';
import { DONE, needModule, print, REFUSED, readInput, UsageError, warn } from './common.ts';

const text = (description: string) => ({ type: 'string', description }) as const;

/** What each flag says of the machine, and which variable of the environment says it where there is no flag. */
const FLAGS: Record<Flag, ReturnType<typeof text>> = {
  name: text('its name; else POD_NAME, else the host name'),
  namespace: text('its namespace; else POD_NAMESPACE, else ISTIO_NAMESPACE, else “default”'),
  workload: text('the workload’s name; else ISTIO_META_WORKLOAD_NAME, else the service’s, else its own'),
  labels: text('app=reviews,version=v1; beside ISTIO_METAJSON_LABELS, CANONICAL_SERVICE and CANONICAL_REVISION'),
  ip: text('its address, for an id of Istio’s form; else INSTANCE_IP'),
  region: text('its region'),
  zone: text('its availability zone'),
  'service-account': text('its service account; else SERVICE_ACCOUNT'),
  'trust-domain': text('its trust domain; else the variable TRUST_DOMAIN'),
  'cluster-id': text('its mesh’s name for where it is; else ISTIO_META_CLUSTER_ID'),
  'mesh-id': text('its mesh; else ISTIO_META_MESH_ID'),
  id: text('another id for the node'),
  cluster: text('another cluster for the node'),
};

/** `metadata-exchange node`: the node of a bootstrap, for a machine without a control plane. */
export const node = defineCommand({
  meta: { name: 'node', description: 'Who the proxy of this machine is: `node` of an Envoy bootstrap' },
  args: {
    json: { type: 'boolean', description: 'as JSON; else as YAML' },
    variables: text('a file of variables, such as Istio’s cluster.env; the environment wins over it'),
    'os-release': text('another file than /etc/os-release'),
    ...FLAGS,
  },
  run({ args }) {
    needModule();
    if (args._.length > 0) throw new UsageError(`it takes only options, and no ${visible(args._[0])}`);
    const found = machineSays(args);
    const { differences, complaints } = toldBy(found);
    warn(...complaints.map(visible), ...differences);
    if (differences.length > 0) return REFUSED;
    print(args.json ? JSON.stringify({ node: found }, null, 2) : yamlOf({ node: found }));
    return DONE;
  },
});

/** Every text is quoted: Envoy's YAML has more words for true and false, and more numbers, than others have. */
function yamlOf(json: object): string {
  return stringify(json, { lineWidth: 0, defaultStringType: 'QUOTE_DOUBLE', defaultKeyType: 'PLAIN' }).trimEnd();
}

type Given = Partial<Record<Flag | 'variables' | 'os-release', string>>;

function machineSays(given: Given): BootstrapNode {
  const names = Object.keys(FLAGS) as Flag[];
  const flags = Object.fromEntries(names.map((name) => [name, given[name]]).filter(([, value]) => value !== undefined));
  const file = given.variables === undefined ? {} : parseEnv(readInput(given.variables));
  // A variable that is set and empty says nothing.
  const set = Object.entries(process.env).filter(([, value]) => value !== '');
  const environment = { ...file, ...Object.fromEntries(set) };
  try {
    return nodeOf({ flags, environment, hostname: hostname(), osRelease: osRelease(given) });
  } catch (error) {
    if (!(error instanceof BadLabels)) throw error;
    throw new UsageError(visible(error.message));
  }
}

/** os-release is a file of variables as shells write them. A machine without one says nothing of its system. */
function osRelease({ 'os-release': path }: Given): NodeJS.Dict<string> {
  if (path !== undefined) return parseEnv(readInput(path));
  try {
    return parseEnv(readFileSync('/etc/os-release', 'utf8'));
  } catch {
    return {};
  }
}

/** What the module of a proxy with this node does not tell as it stands, and what it logs about it. */
function toldBy(found: BootstrapNode): { differences: string[]; complaints: string[] } {
  const outbound = Buffer.from([2, 0, 0, 0, 0, 0, 0, 0]);
  const host = new Host({ 'xds.node': serialized(found), 'xds.listener_direction': outbound });
  const root = host.configure('');
  if (root === undefined) throw new Error(host.complaints().join('\n'));
  const { request } = host.stream(root).onRequest();
  const told = (name: string) => request.find(([each]) => each === name)?.[1] ?? '';
  const metadata = readStruct(bytesOfHeader(told(METADATA)));
  const differences: string[] = [];
  if (told(ID) !== found.id) differences.push('peers would not be told this id');
  if (!isDeepStrictEqual(metadata, found.metadata['istio.io/metadata'])) {
    differences.push('peers would not be told all of this metadata');
  }
  return { differences, complaints: host.complaints() };
}
