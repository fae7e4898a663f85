// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { any, framed, HEAD, preface, readPreface, STRUCT_URL } from '../../testkit/preface.ts';
import { always, canonicalForm } from '../../testkit/random.ts';
import { struct } from '../../testkit/struct.ts';
import { bodySize, concat, field, hex, mayBegin, readBody, utf8, writePreface } from './support.ts';

/** A preface byte by byte, as Istio's filter would write it, by its source. */
const GOLDEN = hex(`
  3d230467 00000081
  0a 2a 747970652e676f6f676c65617069732e636f6d2f676f6f676c652e70726f746f6275662e537472756374
  12 53
    0a 2a 0a 15 782d656e766f792d706565722d6d65746164617461
          12 11 2a 0f 0a 0d 0a 04 4e414d45 12 05 1a 03 616263
    0a 25 0a 18 782d656e766f792d706565722d6d657461646174612d6964
          12 09 1a 07 736964656361 72
`);

const says = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8');

describe('a preface', () => {
  test('is written as Istio writes it', () => {
    expect(writePreface(struct.write({ NAME: 'abc' }), utf8('sidecar'))).toEqual(GOLDEN);
    expect(readPreface(Buffer.from(GOLDEN))).toEqual({
      said: { metadata: { NAME: 'abc' }, id: 'sidecar' },
      rest: Buffer.alloc(0),
    });
  });

  test('that we write says the same to protobufjs, whatever the metadata and the id are', () => {
    always(500, (random) => {
      const metadata = random.oneIn(5) ? new Uint8Array() : canonicalForm(random.struct());
      const id = random.oneIn(5) ? '' : random.plainText(random.pick([1, 200, 20_000]));
      const written = Buffer.from(writePreface(metadata, utf8(id)));
      const read = readPreface(Buffer.concat([written, Buffer.from('data')]));
      expect(read?.rest.toString()).toBe('data');
      expect(read?.said).toEqual({
        metadata: metadata.length > 0 ? struct.read(metadata) : undefined,
        id: id === '' ? undefined : id,
      });
      expect(bodySize(written)).toBe(written.length - HEAD);
    });
  });

  test('that protobufjs writes says the same to us', () => {
    always(500, (random) => {
      const metadata = { NAME: random.plainText(), LABELS: { app: random.plainText() } };
      const id = random.plainText(50);
      const bytes = preface({
        metadata: random.oneIn(5) ? undefined : metadata,
        id: random.oneIn(5) ? undefined : id,
      });
      const { said } = readPreface(bytes)!;
      const read = readBody(bytes.subarray(HEAD))!;
      expect(says(read.id)).toBe(said.id ?? '');
      expect(read.metadata.length > 0 ? struct.read(read.metadata) : undefined).toEqual(said.metadata);
    });
  });
});

test('the magic may begin in any first bytes that are its own, and in no others', () => {
  for (let size = 0; size <= 12; size++) expect(mayBegin(GOLDEN.subarray(0, size)), `${size} bytes`).toBe(true);
  for (let i = 0; i < 4; i++) {
    for (const wrong of [0, 0xff, GOLDEN[i] ^ 1]) {
      const bytes = GOLDEN.slice(0, 4);
      bytes[i] = wrong;
      expect(mayBegin(bytes)).toBe(false);
      expect(mayBegin(bytes.subarray(0, i + 1))).toBe(false);
    }
  }
  expect(mayBegin(utf8('=#'))).toBe(true);
  expect(mayBegin(utf8('GET / HTTP/1.1'))).toBe(false);
});

describe('no preface is', () => {
  const inner = struct.write({ 'x-envoy-peer-metadata-id': 'sidecar' });
  test.each<[string, Uint8Array]>([
    ['a Struct of another type', any(inner, 'type.googleapis.com/google.protobuf.Value')],
    ['one without a type', any(inner, '')],
    ['a type without a slash', any(inner, 'google.protobuf.Struct')],
    ['bytes that are no message', utf8('GET / HTTP/1.1\r\n\r\n')],
    ['a Struct that is cut off', any(inner.subarray(0, inner.length - 1))],
    ['an Any that is cut off', any(inner).subarray(0, 60)],
  ])('%s', (_, body) => {
    expect(readBody(body)).toBeUndefined();
  });
});

test('a Struct without our fields, or with fields of another kind, is a preface that says nothing', () => {
  const bodies = [
    any(struct.write({})),
    any(struct.write({ other: 'field' })),
    any(struct.write({ 'x-envoy-peer-metadata': 'text', 'x-envoy-peer-metadata-id': { a: 1 } })),
  ];
  for (const body of bodies) expect(readBody(body)).toEqual({ metadata: new Uint8Array(), id: new Uint8Array() });
});

test('as in protobuf the last of several fields counts, and fields that nobody knows are passed over', () => {
  const first = struct.write({ 'x-envoy-peer-metadata-id': 'first' });
  const last = struct.write({ 'x-envoy-peer-metadata-id': 'last' });
  expect(says(readBody(any(concat(first, last)))!.id)).toBe('last');
  const body = concat(field(1, utf8(STRUCT_URL)), field(2, first), field(9, utf8('?')), field(2, last));
  expect(says(readBody(body)!.id)).toBe('last');
});

test('hostile bodies are read or refused, and nothing outside of them is', () => {
  always(3000, (random) => {
    const body = preface({ metadata: { NAME: random.text() }, id: random.text() }).subarray(HEAD);
    const mutated = random.mutated(new Uint8Array(body));
    const read = readBody(mutated);
    if (!read) return;
    expect(read.metadata.length + read.id.length).toBeLessThanOrEqual(mutated.length);
    expect(framed(mutated).includes(Buffer.from(read.id))).toBe(true);
  });
});
