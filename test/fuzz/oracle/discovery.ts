// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import { isIPv6 } from 'node:net';
import { address as octets, WORKLOAD } from '../../../testkit/xds/messages.ts';
import { type Field, fieldsOf, messages, NOTHING, Refused } from './struct.ts';

/** Workload discovery a second time, slow and plain: what of a response counts, and who has which address then. */

/** A workload that was taken in. */
export interface Known {
  version: string;
  network: string;
  /** Its addresses as hexadecimal digits, an IPv4 address in one form. */
  addresses: Set<string>;
  /** What is published of it. */
  who: Record<string, unknown>;
}

/** What a response comes to. */
export interface Verdict {
  /** What it is answered with; empty: it is not. */
  nonce: string;
  taken: number;
  removed: number;
  /** Why something was refused, for each thing. */
  refused: string[];
}

const [VARINT, LENGTH] = [0, 2];
const WINDOW = 65_536;
const LARGEST_FIELD = WINDOW - 20;
const MOST_NETWORKS = 64;
/** Bytes that a new stream has for saying that there is a workload, on average. */
const USUAL_SIZE = 160;
/** Workloads that share an address and are remembered. */
const MOST_HOLDERS = 4;
const TYPES = ['deployment', 'cronjob', 'pod', 'job'];
const text = (bytes: Uint8Array) => Buffer.from(bytes).toString();
const isPlain = (bytes: Uint8Array) => isUtf8(bytes) && !bytes.some((byte) => byte < 0x20 || byte === 0x7f);

/** What a proxy of a network knows. */
export class Knowledge {
  readonly workloads = new Map<string, Known>();
  /** Whose an address is, by network and address: who was told of last first, and at most so many. */
  private readonly holders = new Map<string, string[]>();
  private readonly networks = new Set<string>();
  /** Those that this stream named. */
  private seen = new Set<string>();

  constructor(private readonly network: string) {
    this.networks.add(network);
  }

  /** Forgets everything: another VM knows nothing of what this one did. */
  clear(): void {
    for (const each of [this.workloads, this.holders, this.networks, this.seen]) each.clear();
    this.networks.add(this.network);
  }

  /** Takes a response in. */
  take(response: Uint8Array): Verdict {
    const verdict: Verdict = { nonce: '', taken: 0, removed: 0, refused: [] };
    try {
      for (const { number, content } of topFields(response)) {
        if (content.length > LARGEST_FIELD) verdict.refused.push('larger than a window');
        else if (number === 2) this.takeResource(content, verdict);
        else if (number === 6) verdict.removed += this.forget(text(content)) ? 1 : 0;
        else if (number === 5 && content.length <= 512 && isPlain(content)) verdict.nonce = text(content);
      }
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      verdict.refused.push(error.reason);
    }
    return verdict;
  }

  private takeResource(bytes: Uint8Array, verdict: Verdict): void {
    try {
      const { uid, ...known } = readResource(bytes);
      this.put(uid, known);
      verdict.taken++;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      verdict.refused.push(error.reason);
    }
  }

  private put(uid: string, known: Known): void {
    if (!this.networks.has(known.network) && this.networks.size === MOST_NETWORKS) throw new Refused('malformed');
    this.networks.add(known.network);
    this.letGo(uid, known);
    this.workloads.set(uid, known);
    for (const address of known.addresses) {
      const key = `${known.network}/${address}`;
      const others = (this.holders.get(key) ?? []).filter((each) => each !== uid);
      this.holders.set(key, [uid, ...others].slice(0, MOST_HOLDERS));
    }
    this.seen.add(uid);
  }

  /** Forgets those addresses of a workload that it does not have any more: others that have them stay. */
  private letGo(uid: string, now?: Known): void {
    const before = this.workloads.get(uid);
    for (const address of before?.addresses ?? []) {
      const key = `${before?.network}/${address}`;
      const stays = now?.network === before?.network && now?.addresses.has(address);
      const holders = this.holders.get(key) ?? [];
      if (!stays)
        this.holders.set(
          key,
          holders.filter((each) => each !== uid),
        );
    }
  }

  /** Forgets a workload; whether there was one. */
  forget(uid: string): boolean {
    this.letGo(uid);
    this.seen.delete(uid);
    return this.workloads.delete(uid);
  }

  /** A new stream began, with this first request. Throws if that says what is not so. */
  begin(versions: Record<string, string>): void {
    for (const [uid, version] of Object.entries(versions)) {
      const known = this.workloads.get(uid);
      if (!known) throw new Error(`a new stream says that there is ${uid}`);
      if (version !== known.version) throw new Error(`a new stream says ${version} of ${uid}`);
    }
    // With very long uids and versions there may be no room for them: then nothing is said, and all comes again.
    const sizes = [...this.workloads].map(([uid, { version }]) => uid.length * 2 + version.length + 12);
    const isLong = sizes.reduce((sum, size) => sum + size, 0) > USUAL_SIZE * sizes.length;
    const isSilent = isLong && Object.keys(versions).length === 0;
    for (const [uid, { network, addresses }] of isSilent ? [] : this.workloads) {
      const isFound = [...addresses].some((address) => this.holders.get(`${network}/${address}`)?.includes(uid));
      if (isFound && versions[uid] === undefined) throw new Error(`a new stream does not say that there is ${uid}`);
    }
    this.seen = new Set(Object.keys(versions));
  }

  /** Whether there was nothing that a new stream could have left out. */
  get isEmpty(): boolean {
    return this.workloads.size === 0;
  }

  /** What this stream did not name is gone; how many these are. */
  sweep(): number {
    const gone = [...this.workloads.keys()].filter((uid) => !this.seen.has(uid));
    for (const uid of gone) this.forget(uid);
    return gone.length;
  }

  /** Who has an address in the proxy's network. */
  at(address: string): Record<string, unknown> | undefined {
    return this.workloads.get(this.holders.get(`${this.network}/${address}`)?.[0] ?? '')?.who;
  }

  /** How many addresses all workloads have. */
  get addressCount(): number {
    return [...this.workloads.values()].reduce((sum, { addresses }) => sum + addresses.size, 0);
  }
}

/** What a control plane is told of a node: all but the list of extensions, up to what no field of a node is. */
export function nodeToldOf(node: Uint8Array): Buffer {
  const told: Uint8Array[] = [];
  let begin = 0;
  try {
    for (const { number, type, end } of placesOf(node)) {
      if (type !== LENGTH) break;
      if (number !== 9) told.push(node.subarray(begin, end));
      begin = end;
    }
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
  }
  return Buffer.concat([...told, node.subarray(begin)]);
}

/** The outermost fields of a message, and where each ends; groups belong to what follows. */
function* placesOf(bytes: Uint8Array): Generator<{ number: number; type: number; end: number }> {
  let begin = 0;
  for (let end = 1; end <= bytes.length; end++) {
    try {
      const [field] = fieldsOf(bytes.subarray(begin, end), 0);
      if (!field) continue;
      yield { number: field.number, type: field.type, end };
      begin = end;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
    }
  }
}

/** The outermost fields of a response. What begins with a fault ends it: what stands before that counts. */
function* topFields(bytes: Uint8Array): Generator<{ number: number; content: Uint8Array }> {
  let at = 0;
  /** A varint that ends before `end`. */
  const varint = (end: number): number => {
    let value = 0;
    for (let i = 0; i < 10; i++) {
      if (at >= Math.min(end, bytes.length)) throw new Refused('malformed');
      const byte = bytes[at++];
      value += (byte & 0x7f) * 2 ** (7 * i);
      if (byte < 0x80) return value;
    }
    throw new Refused('malformed');
  };
  while (at < bytes.length) {
    const begin = at;
    const tag = varint(begin + 10);
    const [number, type] = [Math.floor(tag / 8), tag % 8];
    if (number === 0) throw new Refused('field 0');
    if (tag > 0xffffffff) throw new Refused('malformed');
    if (type === VARINT) {
      varint(begin + 20);
      continue;
    }
    const sizes: Record<number, number> = { 1: 8, 5: 4 };
    const size = type === LENGTH ? varint(begin + 10) : sizes[type];
    if (size === undefined || size > bytes.length - at) throw new Refused('malformed');
    if (type === LENGTH) yield { number, content: bytes.subarray(at, at + size) };
    at += size;
  }
}

const last = (fields: Field[], number: number) => messages(fields, number).at(-1) ?? NOTHING;
const lastNumber = (fields: Field[], wanted: number) =>
  fields.filter(({ number, type }) => number === wanted && type === VARINT).at(-1);

/** A resource that is sound; else throws Refused. */
export function readResource(bytes: Uint8Array): Known & { uid: string } {
  const resource = fieldsOf(bytes, 0);
  const uid = last(resource, 3);
  if (uid.length === 0 || uid.length > 1024 || !isPlain(uid)) throw new Refused('malformed');
  const version = last(resource, 1);
  if (version.length > 253 || !isPlain(version)) throw new Refused('malformed');
  const any = fieldsOf(last(resource, 2), 1);
  if (text(last(any, 1)) !== WORKLOAD) throw new Refused('malformed');
  const workload = fieldsOf(last(any, 2), 0);
  const addresses = messages(workload, 3);
  if (addresses.length > 16) throw new Refused('malformed');
  if (addresses.some(({ length }) => length !== 4 && length !== 16)) throw new Refused('malformed');
  // Each locality is looked at, and the last one counts.
  const localities = messages(workload, 24).map((each) => fieldsOf(each, 1));
  const locality = localities.at(-1) ?? [];
  const part = (from: Field[], number: number) => {
    const value = last(from, number);
    if (value.length > 253 || !isPlain(value)) throw new Refused('malformed');
    return text(value);
  };
  const of = (number: number) => part(workload, number);
  const isOnHost = lastNumber(workload, 25)?.value === 1;
  return {
    uid: text(uid),
    version: text(version),
    network: of(4),
    addresses: new Set(isOnHost ? [] : addresses.map(oneForm)),
    who: describe(of, TYPES[lastNumber(workload, 12)?.low ?? 0] ?? TYPES[0], part(locality, 1), part(locality, 2)),
  };
}

function describe(of: (number: number) => string, type: string, region: string, zone: string): Record<string, unknown> {
  const namespace = of(2) || 'default';
  const workload = of(13);
  const given = (fields: Record<string, string>) =>
    Object.fromEntries(Object.entries(fields).filter(([, each]) => each));
  return {
    ...given({
      NAME: of(1),
      NAMESPACE: namespace,
      WORKLOAD_NAME: workload,
      OWNER: workload && `kubernetes://apis/apps/v1/namespaces/${namespace}/${type}s/${workload}`,
      CLUSTER_ID: of(18),
      IDENTITY: `spiffe://${of(6) || 'cluster.local'}/ns/${namespace}/sa/${of(7) || 'default'}`,
      REGION: region,
      AVAILABILITY_ZONE: zone,
    }),
    LABELS: given({
      app: of(10),
      version: of(11),
      'service.istio.io/canonical-name': of(10),
      'service.istio.io/canonical-revision': of(11),
    }),
  };
}

/** An address as hexadecimal digits: one of IPv4 that is mapped into IPv6 is that one. */
export function oneForm(bytes: Uint8Array): string {
  const digits = Buffer.from(bytes).toString('hex');
  return digits.length === 32 && digits.startsWith('00000000000000000000ffff') ? digits.slice(24) : digits;
}

/** The IP address in what Envoy says of one with a port; undefined: there is none, or nobody may be looked up by it. */
export function readAddress(said: string): string | undefined {
  const [, six, four, port] = /^(?:\[([\da-fA-F:.]+)\]|(\d{1,3}(?:\.\d{1,3}){3})):(\d{1,5})$/.exec(said) ?? [];
  if (port === undefined || Number(port) === 0 || Number(port) > 65_535) return undefined;
  // Node knows no zeros in front of a number.
  const plain = (dotted: string) => dotted.split('.').map(Number).join('.');
  if (four) return four.split('.').some((each) => Number(each) > 255) ? undefined : oneForm(octets(plain(four)));
  const spelled = six.replace(/\d{1,3}(\.\d{1,3}){3}$/, plain);
  return isIPv6(spelled) ? oneForm(octets(spelled)) : undefined;
}
