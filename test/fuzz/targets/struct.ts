// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { anyForm, type Random } from '../../../testkit/random.ts';
import { protobufjsTakes } from '../../../testkit/struct.ts';
import { Codecs } from '../codecs.ts';
import { ownerNamespaceOf, readStruct } from '../oracle/dialect.ts';
import { canonical, kindOf, plainStruct, readNode, Struct, textAt, whyRefused } from '../oracle/struct.ts';
import { type Builds, mutated, same, sameBytes, type Target } from '../target.ts';

/** Where the own metadata stands in a node. */
const KEY = Buffer.from('istio.io/metadata');

/**
 * Structs: whether a peer's may be passed on, and what becomes of our own, whose bytes come from a node. Each input is
 * taken for a Struct, for a Value, for a Node, and for the metadata of a Node.
 *
 * protobufjs is a witness, not a judge: it is laxer (see `Reason`), and each way in which it may be is counted.
 */
export class StructTarget implements Target {
  readonly name = 'struct';
  private codecs: Codecs;
  private readonly laxer: Record<string, number> = {};

  constructor(private readonly builds: Builds) {
    this.codecs = new Codecs(builds.codecs);
  }

  renew(): void {
    this.codecs = new Codecs(this.builds.codecs);
  }

  counters() {
    return [{ of: 'codecs' as const, global: (name: string) => this.codecs.globals[name].value }];
  }

  generate(random: Random, corpus: Uint8Array[]): Uint8Array {
    return generateStruct(random, corpus);
  }

  check(input: Uint8Array): boolean {
    const { codecs } = this;
    const reason = whyRefused(input);
    const isSound = codecs.isSoundStruct(input);
    same('a sound Struct', isSound, reason === undefined);
    const taken = protobufjsTakes(input);
    if (isSound && !taken) throw new Error('the module takes a Struct that protobufjs does not');
    if (taken && reason) {
      if (reason === 'malformed') throw new Error('protobufjs takes a Struct that is malformed');
      this.laxer[reason] = (this.laxer[reason] ?? 0) + 1;
    }

    const own = codecs.canonical(input);
    const expected = canonical(input);
    sameBytes('canonical', own?.bytes, expected?.bytes);
    same('left out of canonical', own?.leftOut, expected?.leftOut);
    if (own) {
      same('canonical is sound', codecs.isSoundStruct(own.bytes), true);
      if (isSound) same('left out of a sound Struct', own.leftOut, 0);
    }
    const value = codecs.kindOf(input);
    const expectedValue = kindOf(input);
    same('kind', value.kind, expectedValue.kind);
    if (value.kind === 3 || value.kind > 4) sameBytes('content', value.content, expectedValue.content);

    sameBytes('namespace of OWNER', codecs.namespaceOf(input), ownerNamespaceOf(readStruct(input)));
    if (isSound) this.checkPaths(input);
    this.checkNode(input, KEY);
    const inNode = protobuf.Writer.create().uint32(0x0a).string('id').uint32(0x1a).bytes(input).finish();
    this.checkNode(inNode, input[1] === 0 ? Buffer.alloc(0) : input.slice(4, 4 + (input[3] ?? 0)));
    return isSound;
  }

  /** Follows paths that lead somewhere in a sound Struct, and some that do not. */
  private checkPaths(bytes: Uint8Array): void {
    const paths = ['', '.', 'a.b'];
    const walk = (value: unknown, before: string): void => {
      if (typeof value !== 'object' || value === null || Array.isArray(value) || paths.length > 30) return;
      for (const [key, each] of Object.entries(value)) {
        paths.push(before + key, `${before}${key}.`);
        walk(each, `${before}${key}.`);
      }
    };
    walk(plainStruct(bytes), '');
    for (const path of paths.map((each) => Buffer.from(each))) {
      sameBytes(`at ${path}`, this.codecs.findText(bytes, path), textAt(bytes, path));
    }
  }

  private checkNode(bytes: Uint8Array, key: Uint8Array): void {
    const read = this.codecs.readNode(bytes, key);
    const expected = readNode(bytes, key);
    sameBytes('id', read?.id, expected?.id);
    sameBytes('cluster', read?.cluster, expected?.cluster);
    sameBytes('metadata', read?.value, expected?.value);
  }

  summary(): string {
    const counts = Object.entries(this.laxer).map(([reason, count]) => `${reason} ${count}`);
    return `protobufjs laxer: ${counts.join(', ') || 'never'}`;
  }
}

/** A Struct, most often a valid one, often one with a fault deep inside, sometimes mere bytes. */
export function generateStruct(random: Random, corpus: Uint8Array[]): Uint8Array {
  const kind = random.below(20);
  if (kind < 4) return Struct.encode(random.struct(random.below(4))).finish();
  if (kind < 8) return anyForm(random.struct(random.below(4)), random);
  if (kind < 10) return mutated(random, Struct.encode(random.struct(2)).finish(), corpus);
  if (kind < 12) return mutated(random, anyForm(random.struct(1), random), corpus);
  if (kind < 14 && corpus.length > 0) return mutated(random, random.pick(corpus), corpus);
  if (kind === 14) return nested(random);
  if (kind === 15) return node(random);
  if (kind === 16) return random.oneIn(2) ? owner(random) : dotted(random);
  return message(random, STRUCT, 4, random.pick([Number.POSITIVE_INFINITY, 60, 20, 6]));
}

/** Structs and lists in each other, about as deep as is allowed. */
function nested(random: Random): Uint8Array {
  const levels = random.pick([30, 31, 32, 33, 48, 49, 50, 51, 90]);
  const isMixed = random.oneIn(3);
  let value: Uint8Array = Buffer.from(
    random.pick(['2001', '0800', '1a0161', '1a01ff', '1a010a', '', '7b7c', '2a00', '3200']),
    'hex',
  );
  for (let i = 0; i < levels; i++) {
    const isList = isMixed ? random.oneIn(2) : levels > 40;
    const writer = protobuf.Writer.create()
      .uint32(isList ? 0x32 : 0x2a)
      .fork();
    if (isList) writer.uint32(0x0a).bytes(value);
    else writer.uint32(0x0a).fork().uint32(0x12).bytes(value).ldelim();
    value = writer.ldelim().finish();
  }
  const groups = random.oneIn(2) ? random.below(102) : 0;
  const inGroups = Buffer.concat([Buffer.alloc(groups, 0x3b), Buffer.alloc(groups, 0x3c)]);
  const writer = protobuf.Writer.create().uint32(0x0a).fork().uint32(0x12).bytes(value).ldelim().finish();
  return Buffer.concat([writer, inGroups]);
}

/** A Node, with what we do not read of it. */
function node(random: Random): Uint8Array {
  const writer = protobuf.Writer.create();
  const metadata = random.struct(1);
  if (random.oneIn(2)) metadata.fields[KEY.toString()] = random.value(2);
  if (!random.oneIn(4)) writer.uint32(0x0a).string(random.text());
  if (random.oneIn(2)) writer.uint32(0x12).string(random.text());
  for (let i = random.below(3); i > 0; i--) writer.uint32(0x1a).bytes(Struct.encode(metadata).finish());
  if (random.oneIn(2)) writer.uint32(0x32).string('build').uint32(0x3a).bytes(random.bytes(9));
  return writer.finish();
}

/** A Struct of which several ways lead to one field, as the paths of configurations name it. */
export function dotted(random: Random): Uint8Array {
  const text = () => random.pick(['', '', 'x', 'value', 'value', 'ä=%{']);
  const leaf = () => random.pick<object>([{ stringValue: text() }, { stringValue: text() }, { numberValue: 1 }]);
  const inner = (keys: string[], depth: number): object => {
    const chosen = keys.filter(() => random.oneIn(2));
    const value = (): object =>
      depth > 0 && random.oneIn(2)
        ? { structValue: inner(['b', 'b.c', 'c', 'app', 'app.kubernetes.io/name', 'x', ''], depth - 1) }
        : leaf();
    return { fields: Object.fromEntries(chosen.map((key) => [key, value()])) };
  };
  const some = () => inner(['a', 'a.b', 'a.b.c', 'NAME', 'LABELS', 'LABELS.app', 'LABELS.x', ''], 2);
  // Of two entries with one key the last one counts.
  const parts = [some(), ...(random.oneIn(4) ? [some()] : [])];
  return Buffer.concat(parts.map((each) => Struct.encode(Struct.fromObject(each)).finish()));
}

/** A Struct whose OWNER may name a namespace. */
function owner(random: Random): Uint8Array {
  const text = Array.from({ length: random.below(6) }, () =>
    random.pick(['kubernetes://apis', '/namespaces/', '/namespaces', '/', 'default', '/deployments/a', '']),
  ).join('');
  const key = random.pick(['OWNER', 'OWNER', 'OWNER', 'NAME']);
  const writer = protobuf.Writer.create().uint32(0x0a).fork().uint32(0x0a).string(key);
  return writer.uint32(0x12).fork().uint32(0x1a).string(text).ldelim().ldelim().finish();
}

const [STRUCT, ENTRY, VALUE, LIST] = [0, 1, 2, 3];

/** A message whose content is wrong once in `rarity` times and whose lengths are right: faults that stand deep. */
function message(random: Random, kind: number, depth: number, rarity: number): Uint8Array {
  const parts: Uint8Array[] = [];
  const isFaulty = () => rarity < Infinity && random.oneIn(rarity);
  const field = (number: number, content: Uint8Array) => {
    const size = isFaulty() ? Math.max(0, content.length + random.pick([-1, 1, 4, 200])) : content.length;
    parts.push(
      protobuf.Writer.create()
        .uint32((number << 3) | 2)
        .uint32(size)
        .finish(),
      content,
    );
  };
  const inner = (number: number, type: number) => {
    field(number, isFaulty() ? random.bytes(random.below(4)) : message(random, type, depth - 1, rarity));
  };
  const text = (number: number) => {
    const bytes = Buffer.from(random.text(6));
    field(number, isFaulty() ? random.mutated(bytes) : bytes);
  };
  const fault = () => {
    if (isFaulty()) parts.push(random.pick(FAULTS));
  };
  fault();
  if (kind === STRUCT) for (let i = random.below(4); i > 0; i--) inner(1, ENTRY);
  else if (kind === LIST) for (let i = random.below(4); i > 0; i--) inner(1, VALUE);
  else if (kind === ENTRY) {
    if (!random.oneIn(5)) text(1);
    if (!isFaulty()) inner(2, VALUE);
    if (random.oneIn(9)) inner(2, VALUE);
  } else {
    for (let i = isFaulty() ? 0 : random.oneIn(6) ? 2 : 1; i > 0; i--) {
      const number = 1 + random.below(depth > 0 ? 6 : 4);
      if (number === 1) parts.push(Uint8Array.of(0x08, random.below(3)));
      else if (number === 2) {
        const double = isFaulty() ? random.pick([Number.NaN, Infinity, -Infinity]) : random.number();
        parts.push(protobuf.Writer.create().uint32(0x11).double(double).finish());
      } else if (number === 3) text(3);
      else if (number === 4) parts.push(Uint8Array.of(0x20, random.below(3)));
      else inner(number, number === 5 ? STRUCT : LIST);
    }
  }
  fault();
  return Buffer.concat(parts);
}

/** Something that no message should have, or may have and nobody expects. */
const FAULTS = [
  ...['00', '0001', '08', '3c', '3b', '3b3c', '3b4b4c3c', '3b443c', '7b1001 1a01ff7c', '3e00', '3f', '3d0000'],
  ...['3d00000000', '3900000000', '390000000000000000', '10ffffffffffffffffff01', '10ffffffffffffffffff02'],
  ...['10ffffffffffffffffffff01', '10808080808000', '8a8080800000', '8a808080800000', '8a8080801000', '3a8080808000'],
  ...['3a808080808000', '3affffffff0f', '3affffffff07', '3a8080808010', '0a00', '1200', '1a01ff', '1a0161', '0a0161'],
  ...['1801', '0801', '1001', '0d00000000', '3b3affffffff0f3c', '3b0a0161', '0b0a01ff0c', 'f8ffffff0f01'],
  ...['faffffff0f0161', '8801', '3b3e3c', '3b003c', '3b8a', '1a', '2080', '0b', '0c', '3b1080'],
].map((digits) => Buffer.from(digits.replaceAll(' ', ''), 'hex'));
