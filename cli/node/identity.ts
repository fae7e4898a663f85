// SPDX-License-Identifier: Apache-2.0

/**
 * Who the proxy of a machine is: the node of Envoy's bootstrap, made of what the machine says of itself. The same words
 * give the same node, in the same order. The environment's names are those of the file `cluster.env` that
 * `istioctl x workload entry configure` writes for a VM.
 */

/** What is known of the machine. A flag wins over the environment, and that over the machine's own words. */
export interface Machine {
  /** Flags, by their names. One that is not given is not there. */
  flags: Partial<Record<Flag, string>>;
  environment: Record<string, string | undefined>;
  hostname: string;
  /** The variables of /etc/os-release; empty where there is none. */
  osRelease: Record<string, string | undefined>;
}

/** A flag of the command that says one field. */
export type Flag =
  | 'id'
  | 'cluster'
  | 'name'
  | 'namespace'
  | 'workload'
  | 'labels'
  | 'ip'
  | 'region'
  | 'zone'
  | 'cluster-id'
  | 'mesh-id'
  | 'trust-domain'
  | 'service-account';

/** `node` in a bootstrap. */
export interface BootstrapNode {
  id: string;
  cluster: string;
  locality?: { region?: string; zone?: string };
  metadata: { 'istio.io/metadata': Record<string, string | Record<string, string>> };
}

/** A label that cannot be read: which one, and why. */
export class BadLabels extends Error {}

const CANONICAL_NAME = 'service.istio.io/canonical-name';
const CANONICAL_REVISION = 'service.istio.io/canonical-revision';

export function nodeOf({ flags, environment, hostname, osRelease }: Machine): BootstrapNode {
  // A variable that is set and empty says nothing, as with Istio's agent.
  const known = (flag: Flag, ...variables: string[]): string | undefined =>
    flags[flag] ?? variables.map((name) => environment[name]).find((value) => value);

  const name = known('name', 'POD_NAME') ?? hostname;
  const namespace = known('namespace', 'POD_NAMESPACE', 'ISTIO_NAMESPACE') ?? 'default';
  const labels = labelsOf(flags.labels, environment);
  const service = labels[CANONICAL_NAME] ?? labels.app;
  const workload = known('workload', 'ISTIO_META_WORKLOAD_NAME') ?? service ?? name;
  const ip = known('ip', 'INSTANCE_IP');
  const [region, zone] = [known('region'), known('zone')];
  const serviceAccount = known('service-account', 'SERVICE_ACCOUNT');
  const trustDomain = known('trust-domain', 'TRUST_DOMAIN');
  const isIdentified = serviceAccount !== undefined && trustDomain !== undefined;

  return {
    id: flags.id ?? (ip ? `sidecar~${ip}~${name}.${namespace}~${namespace}.svc.cluster.local` : `${name}.${namespace}`),
    cluster: flags.cluster ?? `${service ?? workload}.${namespace}`,
    ...optional({ locality: some({ region, zone }) }),
    metadata: {
      'istio.io/metadata': optional({
        NAME: name,
        NAMESPACE: namespace,
        WORKLOAD_NAME: workload,
        CLUSTER_ID: known('cluster-id', 'ISTIO_META_CLUSTER_ID'),
        MESH_ID: known('mesh-id', 'ISTIO_META_MESH_ID'),
        SERVICE_ACCOUNT: serviceAccount,
        TRUST_DOMAIN: trustDomain,
        IDENTITY: isIdentified ? `spiffe://${trustDomain}/ns/${namespace}/sa/${serviceAccount}` : undefined,
        REGION: region,
        AVAILABILITY_ZONE: zone,
        LABELS: some(labels),
        PLATFORM_METADATA: some({ os_id: osRelease.ID, os_version_id: osRelease.VERSION_ID }),
      }),
    },
  };
}

/** All labels, in the order of their names. */
function labelsOf(flag: string | undefined, environment: Machine['environment']): Record<string, string> {
  const { CANONICAL_SERVICE, CANONICAL_REVISION: revision, ISTIO_METAJSON_LABELS } = environment;
  const all = {
    ...optional({ [CANONICAL_NAME]: CANONICAL_SERVICE || undefined, [CANONICAL_REVISION]: revision || undefined }),
    ...labelsInJson(ISTIO_METAJSON_LABELS || '{}'),
    ...labelsInFlag(flag ?? ''),
  };
  return Object.fromEntries(Object.entries(all).sort(([a], [b]) => (a < b ? -1 : 1)));
}

function labelsInJson(text: string): Record<string, string> {
  const where = 'ISTIO_METAJSON_LABELS';
  let json: unknown;
  try {
    json = JSON.parse(text);
  } catch (error) {
    throw new BadLabels(`${where} is not JSON: ${(error as Error).message}`);
  }
  if (json === null || typeof json !== 'object' || Array.isArray(json)) throw new BadLabels(`${where} is no object`);
  const wrong = Object.entries(json).find(([, value]) => typeof value !== 'string');
  if (wrong) throw new BadLabels(`${where}: the label ${wrong[0]} is no text`);
  return json as Record<string, string>;
}

/** `app=reviews,version=v1`. */
function labelsInFlag(text: string): Record<string, string> {
  const pairs = text.split(',').filter((each) => each !== '');
  return Object.fromEntries(
    pairs.map((pair) => {
      const at = pair.indexOf('=');
      if (at < 1) throw new BadLabels(`--labels: ${pair} is no NAME=VALUE`);
      return [pair.slice(0, at), pair.slice(at + 1)];
    }),
  );
}

/** An object without what is not known. */
function optional<T>(fields: Record<string, T | undefined>): Record<string, T> {
  return Object.fromEntries(Object.entries(fields).filter((entry): entry is [string, T] => entry[1] !== undefined));
}

/** The same; undefined if nothing is known. */
function some(fields: Record<string, string | undefined>): Record<string, string> | undefined {
  const known = optional(fields);
  return Object.keys(known).length > 0 ? known : undefined;
}
