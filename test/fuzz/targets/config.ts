// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { Host } from '../../../testkit/host/host.ts';
import { anyForm, type Random, type StructModel } from '../../../testkit/random.ts';
import { Codecs } from '../codecs.ts';
import { configSchema, parse, readConfig, resolved, type Schema } from '../oracle/config.ts';
import { ownOf } from '../oracle/exchange.ts';
import { type Listed, Members, Struct } from '../oracle/struct.ts';
import { type Builds, mostMemory, mutated, same, type Target } from '../target.ts';
import { NODES } from './programs.ts';
import { cutDown, isTooLarge, play } from './streams.ts';

/**
 * Plugin configurations, as text and as Structs: taken or refused as the schema says, refused with one line in the log
 * that names a place in the text. What is taken is tried with a stream.
 */
export class ConfigTarget implements Target {
  readonly name = 'config';
  private host: Host;
  private codecs: Codecs;
  private mostPeers = 0;

  constructor(private readonly builds: Builds) {
    this.host = this.newHost();
    this.codecs = new Codecs(builds.codecs);
  }

  private newHost(): Host {
    const host = new Host({ 'xds.node': NODES[3] }, this.builds.module);
    this.mostPeers = 0;
    return host;
  }

  renew(): void {
    this.host = this.newHost();
    this.codecs = new Codecs(this.builds.codecs);
  }

  counters() {
    return [
      { of: 'module' as const, global: (name: string) => this.host.global(name) },
      { of: 'codecs' as const, global: (name: string) => this.codecs.globals[name].value },
    ];
  }

  generate(random: Random, corpus: Uint8Array[]): Uint8Array {
    const kind = random.below(20);
    if (kind === 0) return new Uint8Array();
    if (kind < 3 && corpus.length > 0) return mutated(random, random.pick(corpus), corpus);
    if (kind === 4 && random.oneIn(2))
      return Buffer.from(`{"max_header_size":${random.pick(NUMBERS)}${random.oneIn(3) ? '' : '}'}`);
    if (kind === 3) {
      const text = spelled(random, anything(random, 4));
      if (random.oneIn(2)) return Buffer.from(text);
      // Half of a pair where a letter was, a comma that nothing follows.
      if (random.oneIn(2))
        return Buffer.from(text.replace(/[a-z0-9]/, random.pick(['\\ud800', '\\udc00', '\\ud800\\u0061'])));
      return Buffer.from(text.replace(/[\]}]/, ',$&'));
    }
    const bytes = generateConfig(random, random.pick([Number.POSITIVE_INFINITY, 30, 10]));
    if (random.oneIn(1000)) return Buffer.concat([Buffer.alloc(140_000, 0x20), bytes]);
    return kind < 9 ? mutated(random, bytes, corpus) : bytes;
  }

  check(input: Uint8Array): boolean {
    const { host } = this;
    host.log.length = 0;
    host.calls.length = 0;
    const read = this.codecs.readJson(input);
    if (read !== 'unread') same('JSON', JSON.stringify(read), JSON.stringify(parse(input)));
    const config = readConfig(input);
    const id = host.configure(Buffer.from(input), ROOT_ID);
    const errors = host.log.filter(({ level }) => level >= 4).map(({ text }) => text);
    // Escapes are resolved in what the text leaves of a room: of a long one nothing.
    const hasRoom = input.length < 60_000 || !input.includes(0x5c);
    if (hasRoom || id !== undefined) same('taken', id !== undefined, config !== undefined);
    if (!config || id === undefined) {
      host.end(ROOT_ID);
      const offset = /^metadata_exchange: configuration refused at byte (\d+): /.exec(errors[0])?.[1];
      if (errors.length !== 1 || offset === undefined) throw new Error(`refused with ${JSON.stringify(errors)}`);
      if (input[0] !== 0x0a && Number(offset) > input.length) throw new Error(`refused behind its end: ${errors[0]}`);
      return false;
    }
    same('errors', errors.length, 0);
    const own = ownOf(NODES[3], config);
    if (!own) throw new Error('the node is one');
    const peer: [string, string] = [config.metadataHeader, 'CgkKAWESBBoCYWI='];
    const headers: [string, string][] = [peer, [config.idHeader, 'peer'], ['x-istio-peer-id', 'x'], ['other', '']];
    host.properties['xds.listener_direction'] = Buffer.from([input.length % 3, 0, 0, 0, 0, 0, 0, 0]);
    if (isTooLarge(own, config)) own.metadata = cutDown(host, ROOT_ID, own.metadata as string, config);
    play(host, ROOT_ID, { config, own }, input.length % 3, headers);
    host.end(ROOT_ID);
    this.mostPeers = Math.max(this.mostPeers, Number(config.fields.max_peer_cache_size ?? 0));
    if (host.memorySize() > mostMemory(this.mostPeers))
      throw new Error('configurations that came and went took memory');
    return true;
  }
}

/** A configuration, valid but for a fault once in `rarity` times, as text or as a Struct. */
export function generateConfig(random: Random, rarity: number): Uint8Array {
  const bytes = generateBare(random, rarity);
  if (bytes[0] !== 0x0a || !random.oneIn(4)) return bytes;
  const writer = protobuf.Writer.create().uint32(0x0a).string(random.pick(TYPES));
  return (random.oneIn(9) ? writer : writer.uint32(0x12).bytes(bytes)).finish();
}

const TYPES = [
  'type.googleapis.com/io.istio.http.peer_metadata.Config',
  'type.googleapis.com/x',
  'type.googleapis.com/',
  '',
];

function generateBare(random: Random, rarity: number): Uint8Array {
  const json = generate(random, configSchema, rarity, '');
  if (json instanceof Members && random.oneIn(4)) {
    if (random.oneIn(2)) return anyForm((toValue(json) as { structValue: StructModel }).structValue, random);
    return Buffer.concat(json.list.map(([key, value]) => structEntry(key, value)));
  }
  return Buffer.from(spelled(random, json));
}

/** Numbers as nobody should write them, and some that are right. */
const NUMBERS = [
  '01',
  '1.',
  '1.x',
  '2e',
  '2e+',
  '2e+1',
  '2E-1',
  '2e5',
  '-',
  '-0',
  '-1',
  '5.00',
  '5.01',
  '5.011',
  '0',
  '65537',
  '1e',
  '7',
];

/** Of the root context, which no stream has. */
const ROOT_ID = 777_777_777;

/** Paths of fields: what peers of the fuzzer have, what leads nowhere, the longest. */
const PATHS = ['a', 'NAME', 'NAME', 'LABELS.app', 'LABELS', 'LABELS.x', 'a.b', 'a.b.c', '.', ':', 'x'.repeat(80)];
const BAD_PATHS = ['', 'x y', 'é', '\x7f', 'x'.repeat(81)];

const NAMES = [
  'x-a',
  'X-B',
  'x-istio-peer-metadata',
  'x-istio-peer-id',
  'te-x',
  'X-Envoy-Peer-Metadata',
  "!#$%&'*+.^_`|~9",
];
const BAD_NAMES = ['', 'host', 'Content-Type', 'connection', 'content-length', 'keep-alive', 'proxy-connection', 'te'];
const BAD_NAMES_TOO = [
  'trailer',
  'transfer-encoding',
  'upgrade',
  ':path',
  'x a',
  'größe',
  'x\0',
  'x:',
  'x"',
  'x@',
  'x{',
];

/** JSON that a part of the schema allows. */
function generate(random: Random, unresolved: Schema, rarity: number, name: string): Listed {
  const schema = resolved(unresolved);
  const isFaulty = rarity < Number.POSITIVE_INFINITY && random.oneIn(rarity);
  if (isFaulty) return anything(random, 2);
  if (schema.enum) return random.pick(schema.enum) as Listed;
  const types = [schema.type ?? 'object'].flat();
  if (types.includes('null') && random.oneIn(8)) return null;
  if (types.includes('string')) {
    if (name === 'metadata_fields')
      return random.pick(['NAME', 'LABELS', 'LABELS.app', 'LIST', 'LABELS.x', 'a.b', '.']);
    if (name === 'publish_fields' || name === 'fields')
      return random.pick(rarity < 20 && random.oneIn(9) ? BAD_PATHS : PATHS);
    if (!schema.pattern)
      return random.oneIn(3) ? 'istio.io/metadata' : random.text() || (name === 'metadata_key' ? '' : 'x');
    return random.pick(rarity < 20 && random.oneIn(4) ? [...BAD_NAMES, ...BAD_NAMES_TOO] : NAMES);
  }
  if (types.includes('integer')) {
    const { minimum = 0, maximum = 1e6 } = schema;
    if (name === 'max_peer_cache_size' && !random.oneIn(50)) return random.pick([0, 1, 2, 9, 500]);
    if (rarity < 20 && random.oneIn(4))
      return random.pick([minimum - 1, maximum + 1, 0.5, -1, 1e300, 2 ** 32 + minimum]);
    return random.pick([
      minimum,
      maximum,
      (schema.default as number) ?? minimum,
      minimum + random.below(maximum - minimum),
    ]);
  }
  if (types.includes('boolean')) return random.oneIn(2);
  if (types.includes('array')) {
    const items = schema.items ?? {};
    return Array.from({ length: random.below(4) }, () => generate(random, items, rarity, name));
  }
  const properties = Object.entries(schema.properties ?? {});
  const isMethod = properties.some(([key]) => key === 'istio_headers');
  const methods = random.oneIn(20) ? properties : [random.pick([properties[0], ...properties])];
  const chosen = isMethod ? methods : properties.filter(() => random.oneIn(3));
  const members = random.shuffled(chosen).map(([key, part]): [string, Listed] => {
    const spelled = random.oneIn(4) ? key.replace(/_(.)/g, (_, letter) => letter.toUpperCase()) : key;
    return [spelled, generate(random, part, rarity, key)];
  });
  if (rarity < 40 && random.oneIn(rarity)) members.push([random.text(5), anything(random, 1)]);
  if (rarity < 40 && members.length > 0 && random.oneIn(rarity)) members.push(random.pick(members));
  return new Members(members);
}

function anything(random: Random, depth: number): Listed {
  const kind = random.below(depth > 0 ? 7 : 5);
  if (kind === 0) return null;
  if (kind === 1) return random.text(5);
  if (kind === 2) return random.pick([0, -1, 1.5, 8192, 1e21, -2.5e-7, 2 ** 53]);
  if (kind === 3) return random.oneIn(2);
  if (kind === 4) return random.pick(['id', 'cluster', 'istio_headers', 'x'.repeat(70)]);
  const length = random.below(3);
  if (kind === 5) return Array.from({ length }, () => anything(random, depth - 1));
  return new Members(Array.from({ length }, () => [random.text(4), anything(random, depth - 1)]));
}

function structEntry(key: string, value: Listed): Uint8Array {
  return Struct.encode({ fields: { [key]: toValue(value) } }).finish();
}

/** A Value for protobufjs, which knows no key twice: of two the last one stays. */
function toValue(value: Listed): object {
  if (value === null) return { nullValue: 0 };
  if (typeof value === 'string') return { stringValue: value };
  if (typeof value === 'number') return { numberValue: value };
  if (typeof value === 'boolean') return { boolValue: value };
  if (Array.isArray(value)) return { listValue: { values: value.map(toValue) } };
  return { structValue: { fields: Object.fromEntries(value.list.map(([key, each]) => [key, toValue(each)])) } };
}

const SHORT: Record<string, string> = { '\b': '\\b', '\f': '\\f', '\n': '\\n', '\r': '\\r', '\t': '\\t', '/': '\\/' };

/** One of the many ways to write JSON. */
export function spelled(random: Random, value: Listed): string {
  const isSpacious = random.oneIn(3);
  const space = () => (isSpacious && random.oneIn(3) ? random.pick([' ', '\n', '\t', '\r\n  ']) : '');
  const escapes = random.oneIn(3) ? 4 : 200;
  const text = (value: string) => {
    const letters = Array.from(value, (letter) => {
      if (SHORT[letter] && random.oneIn(2)) return SHORT[letter];
      if (!random.oneIn(escapes)) return JSON.stringify(letter).slice(1, -1);
      const units = Array.from({ length: letter.length }, (_, i) => letter.charCodeAt(i).toString(16).padStart(4, '0'));
      return units.map((digits) => `\\u${random.oneIn(2) ? digits : digits.toUpperCase()}`).join('');
    });
    return `"${letters.join('')}"`;
  };
  const write = (value: Listed): string => {
    if (typeof value === 'string') return space() + text(value) + space();
    if (Array.isArray(value)) return `${space()}[${value.map(write).join(',') || space()}]${space()}`;
    if (!(value instanceof Members)) return space() + JSON.stringify(value) + space();
    const members = value.list.map(([key, each]) => `${space()}${text(key)}${space()}:${write(each)}`);
    return `${space()}{${members.join(',') || space()}}${space()}`;
  };
  return write(value);
}
