// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { NODE, node } from '../../../testkit/host/node.ts';
import type { Random } from '../../../testkit/random.ts';
import type { HeaderPair } from '../oracle/exchange.ts';
import { mutated } from '../target.ts';
import { generateConfig } from './config.ts';
import { dotted, generateStruct } from './struct.ts';

/** Programs for the fuzzer of streams: what they are, and how one is made up. */

/** A program: what happens to one VM, one thing after the other. Numbers name roots and streams, whatever they are. */
export interface Program {
  /** The node, as base64, or the number of one of NODES. */
  node: string | number;
  direction: number;
  /** What the control plane says of the endpoint that answers. */
  endpoint?: string;
  /** Whether the metadata of each cluster says `disable_mx`. */
  isDisabled?: boolean;
  steps: Step[];
}
export type Step =
  | { configure: string; id: number }
  | { endRoot: number }
  | { request: HeaderPair[]; root: number; id: number }
  | { response: HeaderPair[]; stream: number }
  | { end: number }
  /** The stream ends, and its request comes once more as it went on, perhaps to a filter of another configuration. */
  | { redirect: number; id: number; root?: number }
  /** Contexts that the host never spoke of, or that ended. */
  | { unknown: number }
  | { direction: number }
  /** So many seconds. */
  | { tick: number };

export const NODES = [
  NODE,
  node({ id: 'own-id', cluster: 'own-cluster' }),
  node({ cluster: 'own-cluster', metadata: { 'istio.io/metadata': {} } }),
  node({
    metadata: { 'istio.io/metadata': { LABELS: { app: 'a', version: '1' }, LIST: [1, null, true, { x: 'y' }] } },
  }),
  node({ id: ' spaced' }),
  node({ id: 'control\x01' }),
  // As Istio's agent writes it.
  node({
    id: 'flat',
    metadata: {
      NAME: 'reviews-v1-7f6d',
      NAMESPACE: 'default',
      WORKLOAD_NAME: 'reviews-v1',
      OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/reviews-v1',
      CLUSTER_ID: '',
      LABELS: { app: 'reviews', 'app.kubernetes.io/name': 'renamed', version: 1, team: 'books' },
    },
    locality: { region: 'a-region', zone: 'a-zone' },
  }),
  node({
    id: 'twins',
    metadata: {
      WORKLOAD_NAME: 'w',
      LABELS: { app: 'a', 'service.istio.io/canonical-name': 'a', 'service.istio.io/canonical-revision': '1' },
    },
  }),
];

const METADATA_NAMES = [
  'x-istio-peer-metadata',
  'x-istio-peer-metadata',
  'x-istio-peer-metadata',
  'x-a',
  'x-envoy-peer-metadata',
];
const ID_NAMES = ['x-istio-peer-id', 'x-istio-peer-id', 'x-istio-peer-id', 'x-b'];
const OTHER_NAMES = [':path', 'x-other', 'x-istio', 'x-client-workload', 'x-told'];
const IDS = [1, 2, 3, 32766, 32767, 32768, 32769, 65535, 65536, 2147483648, 4294901760];
const LISTED = [{ istio_headers: {} }];
const ENDPOINTS = [
  'reviews-v1;default;reviews;v1;Kubernetes',
  'a;b;c;d;e;f',
  'a;b;c;d',
  ';;;;',
  ';;;;c',
  'a;\xff;;;',
  'a;\x01;;;',
];
const SETTINGS = [
  '{"downstream_propagation":[{"baggage":{}},{"istio_headers":{}}],"upstream_propagation":[{"baggage":{}}]}',
  '{"downstream_propagation":[{"baggage":{}}]}',
  '{"upstream_discovery":[{"workload_discovery":{}},{"baggage":{}},{}],"upstream_propagation":[{"baggage":{}}]}',
  '{"dialect":"istio","upstream_propagation":[{"istio_headers":{}},{"baggage":{}}]}',
  '{"upstream_propagation":[{"istio_headers":{"skip_external_clusters":true}},{"baggage":{}}]}',
  '',
  '',
  '{}',
  '{"headers":{"metadata":"x-a","id":"x-b"}}',
  '{"node_key":"cluster"}',
  '{"max_header_size":60}',
  '{"metadata_fields":["NAME","LABELS.app","LIST","LABELS.x"]}',
  '{"metadata_key":"","metadata_fields":["NAME","istio.io/metadata.NAME","LABELS.app","other"]}',
  '{"max_header_size":65536,"max_peer_cache_size":2}',
  '{"verify_peer":{"mode":"mark"}}',
  '{"verify_peer":{"mode":"enforce"},"headers":{"id":"x-b"}}',
  '{"verify_peer":{"mode":"require"}}',
  '{"publish_fields":["NAME","LABELS.app","a.b.c"]}',
  '{"publish_fields":["a","NAME","a.b"],"headers":{"id":"x-b"},"max_peer_cache_size":3}',
  '{"publish_fields":["a.b","LABELS.x"],"verify_peer":{"mode":"require"},"max_peer_cache_size":0}',
  '{"publishFields":["WORKLOAD_NAME","LABELS.app"],"downstream_discovery":[{"baggage":{}},{"istio_headers":{}}]}',
  '{"dialect":"istio","additional_labels":["team","app"]}',
  '{"downstream_discovery":[{"istio_headers":{}},{"baggage":{}}],"upstream_propagation":[{"baggage":{}}]}',
  '{"downstream_discovery":[{"baggage":{}},{"istio_headers":{}}],"downstream_propagation":[{"istio_headers":{}}]}',
  '{"upstream_discovery":[{"istio_headers":{}},{"endpoint_metadata":{}}],"upstream_propagation":[{"istio_headers":{}}]}',
  '{"upstream_discovery":[{"endpoint_metadata":{}}],"downstream_propagation":[{"istio_headers":{}}]}',
  '{"tell_application":{"fields":["NAME","LABELS.app","a","a.b"]}}',
  '{"tell_application":{"header":"x-told","fields":["a","NAME","a","&"]},"headers":{"id":"x-b"}}',
  '{"tell_application":{"fields":["a","NAME"],"only_verified":false},"verify_peer":{"mode":"enforce"}}',
  '{"tell_application":{"fields":["a","NAME"],"only_verified":false},"verify_peer":{"mode":"require"}}',
  '{"tell_application":{},"dialect":"istio","downstream_discovery":[{"baggage":{}},{"istio_headers":{}}]}',
  '{"tell_application":{"header":"x-told"},"upstream_discovery":[{"istio_headers":{}}]}',
  '{"downstream_discovery":[{"baggage":{}}],"upstream_propagation":[{"istio_headers":{}},{"baggage":{}}]}',
];

export function generateProgram(random: Random, corpus: Uint8Array[]): Program {
  const steps: Step[] = [];
  const kept =
    corpus.length > 0 && random.oneIn(5)
      ? (JSON.parse(Buffer.from(random.pick(corpus)).toString()) as Program)
      : undefined;
  const program: Program = {
    node: random.oneIn(12) ? anyNode(random).toString('base64') : random.oneIn(2) ? 0 : random.below(NODES.length),
    direction: random.below(random.oneIn(20) ? 200 : 3),
    endpoint: random.oneIn(3) ? random.pick(ENDPOINTS) : undefined,
    isDisabled: random.oneIn(4) || undefined,
    steps,
  };
  const id = () => (random.oneIn(2) ? 1 + random.below(100000) : random.pick(IDS));
  steps.push({ configure: anyConfig(random), id: id() });
  if (random.oneIn(3)) steps.push({ configure: anyConfig(random), id: id() });
  for (let count = 1 + random.below(10); count > 0; count--) {
    const kind = random.below(24);
    if (kind === 0) steps.push({ redirect: random.below(8), id: id() });
    else if (kind < 9) steps.push({ request: anyHeaders(random), root: random.below(4), id: id() });
    else if (kind < 14) steps.push({ response: anyHeaders(random), stream: random.below(8) });
    else if (kind < 17) steps.push({ end: random.below(8) });
    else if (kind === 17)
      steps.push({ redirect: random.below(8), id: id(), root: random.oneIn(2) ? 0 : random.below(4) });
    else if (kind === 18) steps.push({ unknown: id() });
    else if (kind === 19) steps.push({ endRoot: random.below(4) });
    else if (kind === 20) steps.push({ configure: anyConfig(random), id: id() });
    else if (kind === 21) steps.push({ direction: random.below(4) });
    else if (kind === 22) steps.push({ tick: random.below(4) });
    else if (kept) steps.push(...kept.steps.slice(random.below(kept.steps.length)));
  }
  if (random.oneIn(20)) steps.push(...anotherServer(random));
  if (random.oneIn(20)) steps.push(...samePeer(random));
  if (!steps.some((step) => 'request' in step)) steps.push({ request: anyHeaders(random), root: 0, id: id() });
  return program;
}

/** The server that one configuration heard is replaced by one that a configuration with other headers hears. */
function anotherServer(random: Random): Step[] {
  const names = [
    ['x-a', 'x-b'],
    ['x-istio-peer-metadata', 'x-istio-peer-id'],
  ];
  const configs = names.map(([metadata, id]): Step => {
    const publishFields = ['a', 'a.b', 'NAME', 'LABELS.app', 'LABELS'].filter(() => random.oneIn(2));
    const text = JSON.stringify({ headers: { metadata, id }, publish_fields: publishFields });
    return { configure: Buffer.from(text).toString('base64'), id: 1 + random.below(100000) };
  });
  const response = (name: string): Step => ({
    response: [[name, Buffer.from(dotted(random)).toString('base64')]],
    stream: 0,
  });
  return [
    { endRoot: 0 },
    { endRoot: 0 },
    { direction: random.pick([0, 2]) },
    ...configs,
    { request: [], root: 0, id: 1 },
    response('x-a'),
    { redirect: 0, id: 2, root: 1 },
    response('x-istio-peer-metadata'),
  ];
}

/** Two configurations that publish different fields, or in different dialects, hear the same peer. */
function samePeer(random: Random): Step[] {
  const headers = { metadata: 'x-istio-peer-metadata', id: 'x-istio-peer-id' };
  const configs = ['generic', random.pick(['generic', 'istio'])].map((dialect): Step => {
    const publishFields = ['a', 'a.b', 'NAME', 'LABELS.app'].filter(() => random.oneIn(2));
    const text = JSON.stringify({ dialect, headers, publish_fields: publishFields });
    return { configure: Buffer.from(text).toString('base64'), id: 1 + random.below(100000) };
  });
  const request: HeaderPair[] = [[headers.metadata, Buffer.from(dotted(random)).toString('base64')]];
  const heard = [0, 1, 0].map((root, i): Step => ({ request, root, id: 1 + i }));
  return [{ endRoot: 0 }, { endRoot: 0 }, { direction: 1 }, ...configs, ...heard];
}

function anyConfig(random: Random): string {
  const kind = random.below(10);
  if (kind === 0) return Buffer.from(generateConfig(random, random.oneIn(2) ? 10 : Infinity)).toString('base64');
  if (kind < 7) return Buffer.from(random.pick(SETTINGS)).toString('base64');
  const lists: Record<string, unknown> = {};
  for (const side of ['downstream', 'upstream']) {
    for (const what of ['discovery', 'propagation']) {
      if (random.oneIn(2)) lists[`${side}_${what}`] = random.oneIn(4) ? [] : LISTED;
    }
  }
  if (random.oneIn(4)) lists.headers = { id: 'X-B' };
  return Buffer.from(JSON.stringify(lists)).toString('base64');
}

const FLAT_KEYS = ['NAME', 'NAMESPACE', 'WORKLOAD_NAME', 'CLUSTER_ID', 'OWNER', 'REGION', 'LABELS', 'other'];

/** A node whose own metadata is anything, and whose bytes are what they may. */
function anyNode(random: Random): Buffer {
  const struct = generateStruct(random, []);
  const value = protobuf.Writer.create()
    .uint32(random.oneIn(10) ? 0x32 : 0x2a)
    .bytes(struct)
    .finish();
  const writer = protobuf.Writer.create()
    .uint32(0x0a)
    .string(random.oneIn(3) ? random.text() : 'some-id');
  writer.uint32(0x1a).fork();
  const key = random.oneIn(3) ? random.pick(FLAT_KEYS) : 'istio.io/metadata';
  writer.uint32(0x0a).fork().uint32(0x0a).string(key).uint32(0x12).bytes(value).ldelim();
  for (let i = random.below(4); i > 0; i--) {
    const text = random.oneIn(3) ? 'kubernetes://apis/apps/v1/namespaces/x/jobs/y' : random.text();
    writer.uint32(0x0a).fork().uint32(0x0a).string(random.pick(FLAT_KEYS));
    writer.uint32(0x12).fork().uint32(0x1a).string(text).ldelim().ldelim();
  }
  writer.ldelim();
  if (random.oneIn(2)) {
    writer.uint32(0x22).fork();
    if (random.oneIn(2)) writer.uint32(0x0a).string('region');
    if (random.oneIn(2)) writer.uint32(0x12).string('zone');
    if (random.oneIn(2)) writer.uint32(random.oneIn(2) ? 0x1a : 0x08).uint32(0);
    writer.ldelim();
  }
  if (random.oneIn(4)) writer.uint32(0x22).bytes(Buffer.from('0a7f', 'hex'));
  if (random.oneIn(4)) writer.uint32(0x28).uint32(1);
  const bytes = writer.finish();
  return Buffer.from(random.oneIn(4) ? mutated(random, bytes, []) : bytes);
}

/** The headers of a message: the two of ours none, once or more often, among others. */
function anyHeaders(random: Random): HeaderPair[] {
  const headers: HeaderPair[] = [];
  const copies = () => (random.oneIn(6) ? random.below(5) : random.oneIn(4) ? 0 : 1);
  for (let i = copies(); i > 0; i--) headers.push([random.pick(METADATA_NAMES), anyMetadata(random)]);
  for (let i = copies(); i > 0; i--) headers.push([random.pick(ID_NAMES), anyId(random)]);
  for (let i = random.below(3); i > 0; i--) headers.push([random.pick(OTHER_NAMES), anyId(random)]);
  for (let i = random.below(3); i > 0 && random.oneIn(2); i--) headers.push(['baggage', anyBaggage(random)]);
  if (random.oneIn(12)) headers.push(['x-envoy-original-url', 'http://test/from']);
  // More than are fetched at once.
  if (random.oneIn(6)) for (let i = 0; i < 25; i++) headers.push([`x-${i}`, 'x']);
  return random.oneIn(3) ? random.shuffled(headers) : headers;
}

const BAGGAGE_KEYS = [
  ...['k8s.deployment.name', 'k8s.pod.name', 'k8s.namespace.name', 'k8s.cluster.name', 'k8s.instance.name'],
  ...['service.name', 'service.version', 'app.name', 'app.version', 'other', 'k8s.cronjob.name', ''],
  ...['cloud.region', 'cloud.availability_zone'],
];

function anyBaggage(random: Random): string {
  const member = () => {
    const value = random.oneIn(4) ? random.pick(['%2C', '%', '%zz', '%C3%A4', '%ff', 'a%20b']) : random.text();
    const space = () => random.pick(['', '', ' ', '\t ']);
    return `${space()}${random.pick(BAGGAGE_KEYS)}${space()}=${space()}${value}${random.pick(['', '', ';ttl=1', ' '])}`;
  };
  return printable(Buffer.from(Array.from({ length: random.below(6) }, member).join(random.oneIn(9) ? ',,' : ',')));
}

/** What HTTP lets into a header: any bytes but those that end it. */
const printable = (bytes: Uint8Array) =>
  Buffer.from(bytes)
    .toString('latin1')
    .replaceAll(/[\0\r\n]/g, '?');

function anyMetadata(random: Random): string {
  const kind = random.below(16);
  if (kind === 0) return '';
  if (kind === 1) return printable(random.bytes(random.below(40)));
  if (kind === 2) return random.oneIn(8) ? huge(random, 'A') : 'CgkKAWESBBoCYWI=';
  // One that begins as another one does.
  if (kind === 5) return 'CgoKAWESBRoDYWJj'.repeat(1 + random.below(3));
  if (kind === 3) return random.pick(['ChEKBE5BTUUSCRoHb3duLW93bg==', 'Cg0KBE5BTUUSBRoDb3du', '=', '====', 'A', 'CgA']);
  const struct = random.oneIn(3) ? dotted(random) : generateStruct(random, []);
  const text = Buffer.from(struct).toString('base64');
  if (kind === 4) return printable(mutated(random, Buffer.from(text), []));
  return random.oneIn(3) ? text.replaceAll('=', '') : text;
}

function anyId(random: Random): string {
  const kind = random.below(12);
  if (kind === 0) return '';
  if (kind === 1) return printable(random.bytes(random.below(20)));
  if (kind === 2) return random.oneIn(8) ? huge(random, 'i') : 'own-id';
  if (kind < 6) return printable(Buffer.from(random.text()));
  if (kind === 6) return random.pick(['own-id, own-id', 'a,a', ' , a', ',', 'flat,own-id', 'own-cluster']);
  return `sidecar~10.0.0.${random.below(20)}~a.b~b.svc`;
}

/** Sizes on both sides of each limit: what a header may have, and what one callback has room for. */
function huge(random: Random, letter: string): string {
  return letter.repeat(random.pick([8188, 8192, 8196, 8200, 20000, 131064, 131072, 131080, 200000]));
}
