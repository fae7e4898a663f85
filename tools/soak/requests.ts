// SPDX-License-Identifier: Apache-2.0

import type { Random } from '../../testkit/random.ts';
import { struct } from '../../testkit/struct.ts';

/**
 * The soak's requests: what an honest or hostile client sends, byte by byte, and what must come back. Every request is
 * from a peer of its own, its number is in its name and its id: who is taken for somebody else is found at once.
 */

export interface SoakRequest {
  kind: string;
  /** The request as it goes over the wire, in latin1. */
  text: string;
  status: number;
  /** Which of the proxy's own headers the answer must carry. */
  answered: { metadata: boolean; id: boolean };
  /** What the proxy must have learned, as the route shows it in `x-learned`; whatever is not listed is a failure. */
  learned: string[];
  /**
   * How the connection ends with this request, if it does: the client resets it while the answer is awaited or after
   * its first half, or the upstream breaks off in the middle of its answer.
   */
  end?: 'client resets' | 'client resets mid-answer' | 'upstream breaks off';
}

/** A Struct whose number can be changed without encoding it again. */
class Template {
  private readonly bytes: Buffer;
  private readonly at: number;

  constructor(fields: object) {
    this.bytes = struct.write({ ...fields, NAME: 'peer-0000000000' });
    this.at = this.bytes.indexOf('peer-0000000000') + 5;
  }

  of(n: number): Buffer {
    this.bytes.write(digits(n), this.at, 'latin1');
    return this.bytes;
  }
}

const digits = (n: number) => String(n).padStart(10, '0');
const nameOf = (n: number) => `peer-${digits(n)}`;
const idOf = (n: number) => `sidecar~10.0.0.1~peer-${digits(n)}.default~default.svc.cluster.local`;

/** About as much as a pod says of itself in a mesh: 500 bytes. */
const POD = new Template({
  CLUSTER_ID: 'client-cluster',
  LABELS: { app: 'productpage', 'pod-template-hash': '84975bc778', version: 'v1' },
  MESH_ID: 'mesh-id-1234.global',
  NAMESPACE: 'default',
  OWNER: 'kubernetes://apis/apps/v1/namespaces/default/deployments/productpage-v1',
  POD_PORTS: [{ containerPort: 9080, protocol: 'TCP' }],
  PROXY_CONFIG: {
    concurrency: 2,
    holdApplicationUntilProxyStarts: true,
    discoveryAddress: 'istiod.istio-system:15012',
  },
  SERVICE_ACCOUNT: 'bookinfo-productpage',
});
const LARGE = new Template({ PADDING: 'x'.repeat(15_000) });

/** A message in a message in a message, as field 1 of the outermost: a Struct that ends in nothing. */
function nested(depth: number, inner: (bytes: Buffer) => Buffer): Buffer {
  let bytes: Buffer = Buffer.alloc(0);
  for (let i = 0; i < depth; i++) bytes = inner(bytes);
  return message(1, Buffer.concat([message(1, Buffer.from('deep')), message(2, bytes)]));
}

function message(field: number, bytes: Buffer): Buffer {
  const size = [];
  for (let rest = bytes.length; ; rest >>= 7) {
    size.push(rest > 127 ? (rest & 127) | 128 : rest);
    if (rest <= 127) break;
  }
  return Buffer.concat([Buffer.from([(field << 3) | 2, ...size]), bytes]);
}

const LISTS = nested(1000, (bytes) => message(6, message(1, bytes))).toString('base64');
const STRUCTS = nested(500, (bytes) =>
  message(5, message(1, Buffer.concat([message(1, Buffer.from('k')), message(2, bytes)]))),
);
const WITHOUT_KIND = message(1, Buffer.concat([message(1, Buffer.from('NAME')), message(2, Buffer.alloc(0))]));

const METADATA = 'x-istio-peer-metadata: ';
const ID = 'x-istio-peer-id: ';
const both = (metadata: string, id: string) => `${METADATA}${metadata}\r\n${ID}${id}\r\n`;
const pod = (n: number) => POD.of(n).toString('base64');

interface Kind {
  kind: string;
  /** How many of a thousand requests are like this. */
  share: number;
  /** The lines of the two headers. */
  headers(n: number, random: Random): string;
  /** Names and ids that the proxy may have learned; the peer's own unless told. */
  name?: (n: number) => string[];
  id?: (n: number) => string[];
  answered?: { metadata: boolean; id: boolean };
  target?: string;
  status?: number;
  end?: SoakRequest['end'];
}

const nobody = () => [''];
const honest = (n: number) => both(pod(n), idOf(n));

const KINDS: Kind[] = [
  { kind: 'a new peer', share: 600, headers: honest },
  {
    kind: 'a peer seen before',
    share: 100,
    headers: (n) => honest(n % 50),
    name: (n) => [nameOf(n % 50)],
    id: (n) => [idOf(n % 50)],
  },
  { kind: 'no peer', share: 30, headers: () => '', name: nobody, id: nobody, answered: { metadata: false, id: false } },
  {
    kind: 'an id alone',
    share: 30,
    headers: (n) => `${ID}${idOf(n)}\r\n`,
    name: nobody,
    answered: { metadata: false, id: true },
  },
  { kind: 'not base64', share: 30, headers: (n) => both(`${pod(n).slice(0, 200)}*!~${n}`, idOf(n)), name: nobody },
  {
    kind: 'unpadded base64',
    share: 20,
    headers: (n) => both(pod(n).replace(/=+$/, ''), idOf(n)),
  },
  {
    // The last field of the template is longer than what is cut off: what is left is never a Struct.
    kind: 'a Struct that breaks off',
    share: 30,
    headers: (n, random) =>
      both(
        POD.of(n)
          .subarray(0, -1 - random.below(12))
          .toString('base64'),
        idOf(n),
      ),
    name: nobody,
  },
  {
    kind: 'a Struct with one wrong byte',
    share: 20,
    headers: (n, random) => {
      const bytes = Buffer.from(POD.of(n));
      bytes[random.below(bytes.length - 40)] = random.below(256);
      return both(bytes.toString('base64'), idOf(n));
    },
    name: (n) => ['', nameOf(n)],
  },
  {
    kind: 'random bytes',
    share: 20,
    headers: (n, random) => both(Buffer.from(random.bytes(1 + random.below(600))).toString('base64'), idOf(n)),
    name: nobody,
  },
  { kind: 'lists in lists', share: 10, headers: (n) => both(LISTS, idOf(n)), name: nobody },
  { kind: 'objects in objects', share: 10, headers: (n) => both(STRUCTS.toString('base64'), idOf(n)), name: nobody },
  {
    kind: 'a value without a kind',
    share: 10,
    headers: (n) => both(WITHOUT_KIND.toString('base64'), idOf(n)),
    name: nobody,
  },
  { kind: 'empty headers', share: 10, headers: () => both('', ''), name: nobody, id: nobody },
  { kind: 'empty copies', share: 15, headers: (n) => both('', '') + both('', '') + honest(n) + both('', '') },
  { kind: 'several copies', share: 15, headers: (n) => honest(n) + both('AAAA', 'somebody') + honest(n + 1) },
  {
    // Larger than max_header_size.
    kind: '20 kB of metadata',
    share: 10,
    headers: (n) => both(LARGE.of(n).toString('base64'), idOf(n)),
    name: nobody,
  },
  { kind: '20 kB that are not base64', share: 5, headers: (n) => both('~'.repeat(20_000), idOf(n)), name: nobody },
  {
    kind: 'an id of 4 kB',
    share: 5,
    headers: (n) => both(pod(n), idOf(n).padEnd(4000, '~')),
    id: (n) => [idOf(n).padEnd(4000, '~')],
  },
  { kind: 'an id that is not UTF-8', share: 20, headers: (n) => both(pod(n), `\xff\xfe${n}\xc0`), id: nobody },
  {
    kind: 'an upstream that resets',
    share: 4,
    headers: honest,
    target: 'GET /reset',
    status: 503,
  },
  { kind: 'an upstream that breaks off', share: 2, headers: honest, target: 'GET /break', end: 'upstream breaks off' },
  { kind: 'a client that resets', share: 2, headers: honest, target: 'POST /hold', end: 'client resets' },
  {
    kind: 'a client that resets mid-answer',
    share: 2,
    headers: honest,
    target: 'POST /half',
    end: 'client resets mid-answer',
  },
];

/** Each kind as often as its share says. */
const WHEEL = KINDS.flatMap((each) => Array<Kind>(each.share).fill(each));

export function nextRequest(n: number, random: Random): SoakRequest {
  const kind = WHEEL[random.below(WHEEL.length)];
  const headers = kind.headers(n, random);
  const names = kind.name?.(n) ?? [nameOf(n)];
  const ids = kind.id?.(n) ?? [idOf(n)];
  const target = kind.target ?? 'GET /';
  // A client that resets has not sent all of its request.
  const body = target.startsWith('POST') ? 'content-length: 1000\r\n\r\nthe first bytes' : '\r\n';
  return {
    kind: kind.kind,
    text: `${target} HTTP/1.1\r\nhost: soak\r\n${headers}${body}`,
    status: kind.status ?? 200,
    answered: kind.answered ?? { metadata: true, id: true },
    learned: names.flatMap((name) => ids.map((id) => `${id}|${name}`)),
    end: kind.end,
  };
}
