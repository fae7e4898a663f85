// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import type { Random } from '../../../testkit/random.ts';
import {
  type ResourceFields,
  resource,
  response,
  WORKLOAD,
  type WorkloadFields,
  workload,
} from '../../../testkit/xds/messages.ts';
import { mutated } from '../target.ts';

/** Programs for the fuzzer of workload discovery: what they are, and how one is made up. */

/** What happens to a proxy and its control plane, one thing after the other. */
export interface DiscoveryProgram {
  steps: DiscoveryStep[];
}

export type DiscoveryStep =
  /** A response in hexadecimal digits; before it as many bytes of fields that nobody knows. */
  | { push: string; pad?: number }
  /** So many seconds. */
  | { pass: number }
  | { ask: string; side: 'client' | 'server' | 'behind' }
  /** The stream ends, and the next one begins. */
  | { reconnect: true }
  /** The configuration that has the stream ends, and another one takes over. */
  | { takeOver: true }
  /** Another VM has the lease for a while. */
  | { usurp: true }
  /** A stream of a proxy with this node begins. */
  | { node: string }
  /** Somebody else writes one of the records: cut off, longer, and with other bytes in places. */
  | { record: number; size?: number; bytes: [at: number, value: number][] };

/** The network of the proxy. */
export const NETWORK = 'east';

/** Addresses of workloads, so few that they meet. */
export const ADDRESSES = [
  '10.0.0.1',
  '10.0.0.2',
  // Its record stands beside that of 10.0.0.1.
  '10.1.138.124',
  '::ffff:10.0.0.1',
  '::ffff:10.0.0.3',
  '2001:db8::1',
  '::10.0.0.1',
  '::1',
  '10:0:0:1:2:3:4:5',
];
export const withPort = (address: string, port = 80) =>
  address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;

const UIDS = ['Kubernetes//Pod/default/a', '//Pod/default/b', 'b', 'größe', 'u'.repeat(255), 'u'.repeat(1024)];
const BAD_UIDS = ['', 'u'.repeat(1025), 'a\nb'];
const TEXTS = ['a', 'ab', 'abc', 'default', 'Kubernetes', 'cluster.local', 'é', 'x'.repeat(253)];
const BAD_TEXTS = ['x'.repeat(254), 'a\x00', '\x7f'];
const TYPES = ['DEPLOYMENT', 'CRONJOB', 'POD', 'JOB'] as const;
/** Numbers that no type has. */
const UNKNOWN_TYPES = [4, 256, 257] as unknown as typeof TYPES;
const NETWORKS = [NETWORK, NETWORK, NETWORK, NETWORK, '', 'west'];
const WINDOW = 65_536;

export function generateDiscovery(random: Random): DiscoveryProgram {
  const steps: DiscoveryStep[] = [];
  const messages: Uint8Array[] = [];
  for (let count = 1 + random.below(8); count > 0; count--) {
    const kind = random.below(40);
    if (kind < 22) {
      let message: Uint8Array = anyResponse(random);
      messages.push(message);
      if (random.oneIn(4)) message = mutated(random, message, messages);
      const push = Buffer.from(message).toString('hex');
      steps.push(random.oneIn(12) ? { push, pad: anyPad(random, message.length) } : { push });
    } else if (kind === 22 && random.oneIn(9)) steps.push({ usurp: true });
    else if (kind === 22 && random.oneIn(4)) steps.push({ node: anyNode(random).toString('hex') });
    else if (kind < 24) steps.push({ pass: random.pick([1, 1, 2, 6]) });
    else if (kind < 26) steps.push({ reconnect: true });
    else if (kind === 26) steps.push({ takeOver: true });
    else if (kind < 32) steps.push(anyHostileRecord(random));
    else steps.push({ ask: anyAddressText(random), side: random.pick(['client', 'server', 'behind'] as const) });
  }
  return { steps };
}

/** So much that a window ends somewhere in the message, or in its first bytes. */
function anyPad(random: Random, size: number): number {
  const end = WINDOW * (1 + random.below(2));
  return random.oneIn(3) ? end - random.below(24) + 4 : end - random.below(size + 1);
}

/** Fields that nobody knows, of so many bytes in all. */
export function padding(size: number): Uint8Array {
  const parts: Uint8Array[] = [];
  for (let left = size; left > 0; ) {
    // A tag, a length of three bytes, and what it says; less than that is varints of two bytes, and a byte of one more.
    const part = Math.min(left, 60_004);
    if (part < 20_000) {
      const odd = part % 2;
      parts.push(Buffer.from((odd ? '788000' : '').slice(0, odd * 6), 'hex'));
      parts.push(Buffer.from('7800'.repeat(Math.max(0, (part - odd * 3) / 2)), 'hex'));
    } else {
      const content = part - 4;
      const head = [0x7a, (content & 127) | 128, ((content >> 7) & 127) | 128, content >> 14];
      parts.push(Uint8Array.from(head), new Uint8Array(content));
    }
    left -= part;
  }
  return Buffer.concat(parts);
}

/** A response of a few resources, most of them sound. */
export function anyResponse(random: Random): Buffer {
  const resources = Array.from({ length: random.below(5) }, () => anyResource(random));
  const removed = random.oneIn(3) ? [random.pick(random.oneIn(9) ? BAD_UIDS : UIDS)] : [];
  const bytes = response({ resources, removed, nonce: random.oneIn(12) ? '' : `n${random.below(100)}` });
  return random.oneIn(12) ? Buffer.concat([bytes, Buffer.from(random.pick(TAILS), 'hex')]) : bytes;
}

/** A resource whose Any and whose locality have fields that nobody knows. */
const WITH_MORE = (() => {
  const body = Buffer.concat([workload({ addresses: ['::1'] }), Buffer.from('c2010520010a0161', 'hex')]);
  const any = protobuf.Writer.create().uint32(0x0a).string(WORKLOAD).uint32(0x12).bytes(body);
  const content = protobuf.Writer.create()
    .uint32(0x12)
    .bytes(any.uint32(0x1a).string('x').uint32(0x20).uint32(1).finish());
  const named = content.uint32(0x1a).string('more').finish();
  return Buffer.from(protobuf.Writer.create().uint32(0x12).bytes(named).finish()).toString('hex');
})();

/** What may stand at the end of a response: other nonces, fields that nobody knows, numbers that do not end. */
const TAILS = [
  WITH_MORE,
  'ff'.repeat(10),
  'ff'.repeat(30),
  `12${'ff'.repeat(30)}`,
  `78${'ff'.repeat(30)}`,
  '2a01',
  '2a02c328',
  '2a0100',
  `2a8104${'61'.repeat(513)}`,
  '6d00000000',
  '690000000000000000',
];

function anyResource(random: Random): ResourceFields {
  const uid = random.pick(random.oneIn(25) ? BAD_UIDS : UIDS);
  const fields = anyWorkload(random, uid);
  const version = random.pick([
    '',
    '1',
    '0123456789abcdef',
    '0123456789abcdeF',
    '0123456789abcdeg',
    '0123456789-bcdef',
    'v'.repeat(252),
    'v'.repeat(253),
    'a',
  ]);
  const made = resource({ ...fields, uid }, random.oneIn(99) ? 'v'.repeat(254) : version);
  if (random.oneIn(40)) made.typeUrl = random.pick(['', 'type.googleapis.com/istio.workload.Address']);
  if (random.oneIn(60)) delete made.body;
  if (random.oneIn(6)) made.body = Buffer.concat(random.shuffled([made.body ?? Buffer.alloc(0), anyField(random)]));
  if (random.oneIn(100)) made.body = resource({ uid, hostname: 'h'.repeat(WINDOW - 200 + random.below(300)) }).body;
  return made;
}

function anyWorkload(random: Random, uid: string): WorkloadFields {
  const text = () => (random.oneIn(2) ? '' : random.pick(random.oneIn(60) ? BAD_TEXTS : TEXTS));
  const usual = /^(.*)\/\/Pod\/(.*)\/(.*)$/.exec(uid);
  const addresses: (string | Uint8Array)[] = Array.from({ length: random.pick([0, 1, 1, 2, 3]) }, () =>
    // One that many share.
    random.oneIn(4) ? ADDRESSES[0] : random.pick(ADDRESSES),
  );
  if (random.oneIn(60)) addresses.push(random.bytes(random.pick([0, 3, 5, 15, 17])));
  if (random.oneIn(60)) while (addresses.length < random.pick([16, 17])) addresses.push(random.pick(ADDRESSES));
  return {
    name: usual ? usual[3] : text(),
    namespace: usual ? usual[2] : text(),
    clusterId: usual ? usual[1] : text(),
    addresses,
    network: random.oneIn(200) ? text() : random.pick(NETWORKS),
    trustDomain: text(),
    serviceAccount: text(),
    canonicalName: text(),
    canonicalRevision: text(),
    workloadName: text(),
    workloadType: random.pick(random.oneIn(20) ? UNKNOWN_TYPES : TYPES),
    ...(random.oneIn(3) && { locality: { region: text(), zone: text(), subzone: text() } }),
    ...(random.oneIn(12) && { networkMode: 'HOST_NETWORK' }),
  };
}

/** One field of a Workload, as nobody should write it: of another type, in a group, twice, or cut off. */
function anyField(random: Random): Buffer {
  const number = random.pick([1, 2, 3, 4, 6, 7, 10, 11, 12, 13, 18, 20, 24, 25, 0, 15, 100, 536_870_911]);
  const writer = protobuf.Writer.create();
  const type = random.below(8);
  writer.uint32(((number << 3) | type) >>> 0);
  if (type === 0) writer.uint64(random.pick([0, 1, 2, 3, 4, 256, 257, 2 ** 32 + 1, 2 ** 53]));
  else if (type === 1) writer.fixed64(1);
  else if (type === 2) writer.bytes(random.bytes(random.pick([0, 1, 4, 16, 20])));
  else if (type === 3 && random.oneIn(2)) writer.uint32(((number << 3) | 4) >>> 0);
  else if (type === 5) writer.fixed32(1);
  return Buffer.from(writer.finish());
}

/** A node: the id, the list of extensions, and what no node has. */
function anyNode(random: Random): Buffer {
  const fields = ['0a026964', '4a03657874', '4a00', '12026964', '1801', '4b4c', '0aff'];
  return Buffer.from(Array.from({ length: random.below(6) }, () => random.pick(fields)).join(''), 'hex');
}

type Forgery = { size?: number; bytes: [number, number][] };

/** A name that is longer than any uid, and a uid that is made of it. */
function longName(at: number): Forgery {
  const size = 1040;
  const rest = at + 3 + size;
  const bytes = [
    [0, 0xb8],
    [1, 0x0b],
    [at, 254],
    [at + 1, size & 255],
    [at + 2, size >> 8],
    [rest, 0],
    [rest + 1, 0],
    [rest + 2, 255],
  ];
  return { size: 3000, bytes: bytes as [number, number][] };
}

/** A record that ends with a text that is made of the name. */
function cutShort(at: number): Forgery {
  return {
    bytes: [
      [0, at + 3],
      [1, 0],
      [at, 0],
      [at + 1, 255],
      [at + 2, 0],
    ],
  };
}

/** A record that ends within a version that is kept as a number. */
function cutNumber(at: number): Forgery {
  return {
    bytes: [
      [0, at + 5],
      [1, 0],
      [at, 253],
    ],
  };
}

function anyHostileRecord(random: Random): DiscoveryStep {
  const bytes = Array.from({ length: random.below(4) }, (): [number, number] => {
    // Most of what decides stands in front, and near the lengths of texts.
    const at = random.oneIn(2) ? random.below(20) : random.below(400);
    return [at, random.pick([0, 1, 4, 16, 253, 254, 255, random.below(256)])];
  });
  // The name begins behind an address of 4 or 16 bytes.
  const name = random.pick([17, 29]);
  if (random.oneIn(8))
    return { record: random.below(8), ...random.pick([longName(name), cutShort(name), cutNumber(name)]) };
  // A record that says that it is shorter than its texts are, or longer than all that stands there.
  if (random.oneIn(3)) bytes.push([0, 14 + random.below(60)], [1, 0]);
  if (random.oneIn(6)) bytes.push([1, 1 + random.below(12)], [random.below(100), random.below(254)]);
  const size = random.oneIn(2) ? random.pick([0, 1, 12, 13, 14, random.below(200), random.below(3000)]) : undefined;
  return { record: random.below(8), ...(size !== undefined && { size }), bytes };
}

/** What Envoy may say of an address, and what it never does. */
function anyAddressText(random: Random): string {
  const said = withPort(random.pick(ADDRESSES), random.pick([80, 1, 65_535, 0, 65_536, 99_999, 100_000]));
  const kind = random.below(6);
  if (kind < 2) return said;
  if (kind === 2) return said.toUpperCase().replace('::', random.pick([':0:', '::', ':::', ':0:0:', '0::0']));
  if (kind === 3) return said.replace(/[\d.:\]]/, random.pick(['', '.', ':', '::', '256', '1', ']', '[', 'g', 'FfFf']));
  if (kind === 4) return Buffer.from(random.mutated(Buffer.from(said))).toString('latin1');
  return random.pick([
    '',
    '[',
    '[]:1',
    '[:',
    '[::',
    '[::]:1',
    '[:1]:1',
    '[1:]:1',
    '[1:2:3:4:5:6:7::]:1',
    '[::1.2.3.4:5]:1',
    '[::1:2:3:4:5:6:7:8]:1',
    '/x',
  ]);
}
