// SPDX-License-Identifier: Apache-2.0
import { isIPv4, isIPv6 } from 'node:net';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { ROOT } from '../envoy/binary.ts';

/** The messages of workload discovery by protobufjs: what a server writes and reads, and what our own reader is held to. */

const root = protobuf.loadSync(['proto/workload.proto', 'proto/xds.proto'].map((file) => join(ROOT, file)));
const Workload = root.lookupType('istio.workload.Workload');
const Request = root.lookupType('envoy.service.discovery.v3.DeltaDiscoveryRequest');
const Response = root.lookupType('envoy.service.discovery.v3.DeltaDiscoveryResponse');

/** The type URL of a Workload. */
export const WORKLOAD = 'type.googleapis.com/istio.workload.Workload';

/** A Workload in JSON: addresses as text, or as bytes where they are none. */
export interface WorkloadFields {
  uid?: string;
  name?: string;
  namespace?: string;
  addresses?: (string | Uint8Array)[];
  hostname?: string;
  network?: string;
  tunnelProtocol?: 'NONE' | 'HBONE';
  trustDomain?: string;
  serviceAccount?: string;
  node?: string;
  canonicalName?: string;
  canonicalRevision?: string;
  workloadType?: 'DEPLOYMENT' | 'CRONJOB' | 'POD' | 'JOB';
  workloadName?: string;
  nativeTunnel?: boolean;
  authorizationPolicies?: string[];
  status?: 'HEALTHY' | 'UNHEALTHY';
  clusterId?: string;
  services?: Record<string, { ports: { servicePort: number; targetPort: number }[] }>;
  locality?: { region?: string; zone?: string; subzone?: string };
  networkMode?: 'STANDARD' | 'HOST_NETWORK';
}

/** A resource of a response: `body` is what its Any holds. */
export interface ResourceFields {
  name: string;
  version?: string;
  body?: Uint8Array;
  /** Of the Any, if it is not that of a Workload. */
  typeUrl?: string;
}

/** A response in JSON. */
export interface ResponseFields {
  resources?: ResourceFields[];
  removed?: string[];
  nonce?: string;
  typeUrl?: string;
}

/** What a client sends. */
export interface DiscoveryRequest {
  /** The node's bytes: only the first request of a stream has them. */
  node?: Buffer;
  typeUrl: string;
  subscribe: string[];
  unsubscribe: string[];
  initialResourceVersions: Record<string, string>;
  responseNonce: string;
  errorDetail?: { code: number; message: string };
}

/** The bytes of a Workload. */
export function workload({ addresses = [], ...fields }: WorkloadFields): Buffer {
  const octets = addresses.map((each) => (typeof each === 'string' ? address(each) : each));
  return Buffer.from(Workload.encode(Workload.fromObject({ ...fields, addresses: octets })).finish());
}

/** A Workload of these bytes as protobufjs reads it, with the defaults of its fields; throws if they are none. */
export function readWorkload(bytes: Uint8Array): Required<Omit<WorkloadFields, 'addresses'>> & { addresses: Buffer[] } {
  const read = Workload.toObject(Workload.decode(bytes), { defaults: true, enums: String, bytes: Buffer });
  return read as ReturnType<typeof readWorkload>;
}

/** A workload as a resource: its name is the uid. */
export function resource(fields: WorkloadFields & { uid: string }, version = '1'): ResourceFields {
  return { name: fields.uid, version, body: workload(fields) };
}

/** The bytes of a DeltaDiscoveryResponse. */
export function response({ resources = [], removed = [], nonce = '', typeUrl = WORKLOAD }: ResponseFields): Buffer {
  const listed = resources.map(({ name, version = '', body, typeUrl = WORKLOAD }) => ({
    name,
    version,
    ...(body && { resource: { type_url: typeUrl, value: body } }),
  }));
  return Buffer.from(Response.encode({ resources: listed, removedResources: removed, nonce, typeUrl }).finish());
}

/** A DeltaDiscoveryResponse of these bytes as protobufjs reads it; throws if they are none. */
export function readResponse(bytes: Uint8Array): Required<ResponseFields> {
  // biome-ignore lint/suspicious/noExplicitAny: protobufjs' objects, as its reflection makes them
  const read = Response.toObject(Response.decode(bytes), { defaults: true }) as any;
  return {
    // biome-ignore lint/suspicious/noExplicitAny: as above
    resources: read.resources.map(({ name, version, resource: any }: any) => ({
      name,
      version,
      ...(any && { body: Buffer.from(any.value), typeUrl: any.type_url }),
    })),
    removed: read.removedResources,
    nonce: read.nonce,
    typeUrl: read.typeUrl,
  };
}

/** A DeltaDiscoveryRequest of these bytes; throws if they are none. */
export function readRequest(bytes: Uint8Array): DiscoveryRequest {
  const message = Request.decode(bytes);
  const read = Request.toObject(message, { defaults: true, bytes: Buffer });
  return {
    ...(Object.hasOwn(message, 'node') && { node: read.node }),
    typeUrl: read.typeUrl,
    subscribe: read.resourceNamesSubscribe,
    unsubscribe: read.resourceNamesUnsubscribe,
    initialResourceVersions: read.initialResourceVersions,
    responseNonce: read.responseNonce,
    ...(read.errorDetail && { errorDetail: read.errorDetail }),
  };
}

/** The bytes of a DeltaDiscoveryRequest. */
export function writeRequest(fields: Partial<DiscoveryRequest>): Buffer {
  return Buffer.from(Request.encode(Request.fromObject(fields)).finish());
}

const known = new Map<string, Buffer>();

/** The octets of an IP address: 4, or 16 for every spelling of IPv6. */
export function address(text: string): Buffer {
  const found = known.get(text) ?? readAddress(text);
  // The same few addresses are asked for again and again.
  if (known.size < 1000) known.set(text, found);
  return found;
}

function readAddress(text: string): Buffer {
  if (isIPv4(text)) return Buffer.from(text.split('.').map(Number));
  if (!isIPv6(text)) throw new Error(`${text} is no IP address`);
  // A URL's host spells each IPv6 address in one way: groups of hexadecimal digits, the longest row of zeros left out.
  const [before, after] = new URL(`http://[${text}]`).hostname.slice(1, -1).split('::');
  const groups = (part = '') => part.split(':').filter(Boolean);
  const zeros = Array(8 - groups(before).length - groups(after).length).fill('0');
  const all = after === undefined ? groups(before) : [...groups(before), ...zeros, ...groups(after)];
  return Buffer.from(all.flatMap((group) => [Number.parseInt(group, 16) >> 8, Number.parseInt(group, 16) & 255]));
}
