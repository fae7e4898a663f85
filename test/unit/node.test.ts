// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { always, anyForm, canonicalForm, type StructModel } from '../../testkit/random.ts';
import { canonical, concat, field, hex, kindOf, readNode, structOf, Value } from './support.ts';

/** As much of envoy.config.core.v3.Node as an Envoy of today fills in. */
const Node = protobuf
  .parse(`
    syntax = "proto3";
    message Node {
      string id = 1;
      string cluster = 2;
      bytes metadata = 3;  // google.protobuf.Struct, in any of its forms
      Locality locality = 4;
      string user_agent_name = 6;
      BuildVersion user_agent_build_version = 8;
      repeated Extension extensions = 9;
      repeated string client_features = 10;
    }
    message Locality { string region = 1; string zone = 2; }
    message BuildVersion { bytes version = 1; }
    message Extension { string name = 1; string category = 2; repeated string type_urls = 5; }
  `)
  .root.lookupType('Node');

const KEY = 'istio.io/metadata';

function nodeOf(fields: object): Uint8Array {
  return concat(Node.encode(fields).finish());
}

/** A node's metadata with a Struct under our key and others beside it. */
function metadata(own: StructModel): StructModel {
  const other = { stringValue: 'other' };
  return { fields: { a: other, [KEY]: { structValue: own }, 'istio.io/metadat': other, 'istio.io/metadata2': other } };
}

describe('of the node that Envoy describes we read', () => {
  test('id, cluster and the metadata under our key, whatever else there is', () => {
    always(500, (random) => {
      const own = random.struct();
      const text = () => random.text();
      const read = readNode(
        nodeOf({
          id: 'sidecar~10.0.0.1~pod.ns~ns.svc',
          cluster: 'größe.default',
          metadata: anyForm(metadata(own), random),
          locality: { region: text(), zone: text() },
          userAgentName: 'envoy',
          userAgentBuildVersion: { version: random.bytes(8) },
          extensions: Array.from({ length: random.below(50) }, () => ({ name: text(), typeUrls: [text()] })),
          clientFeatures: [text()],
        }),
        KEY,
      )!;
      expect(read.id).toBe('sidecar~10.0.0.1~pod.ns~ns.svc');
      expect(read.cluster).toBe('größe.default');
      expect(canonical(kindOf(read.value).content)?.bytes).toEqual(canonicalForm(own));
    });
  });

  test('the Value under our key byte for byte', () => {
    const value = Value.encode({ structValue: { fields: { NAME: { stringValue: 'pod' } } } }).finish();
    const bytes = nodeOf({
      metadata: concat(structOf(hex('2001'), 'a'), structOf(value, KEY), structOf(hex('2001'), 'z')),
    });
    expect(readNode(bytes, KEY)?.value).toEqual(new Uint8Array(value));
  });

  test.each([['another'], ['istio.io/metadat'], ['istio.io/metadata/'], ['Istio.io/metadata'], ['']])(
    'no metadata if there is none under the key %j',
    (key) => {
      const bytes = nodeOf({ id: 'id', metadata: structOf(hex('2001'), KEY) });
      expect(readNode(bytes, key)).toEqual({ id: 'id', cluster: '', value: new Uint8Array() });
    },
  );

  test('a Value that is no Struct too: what it is, is for others to judge', () => {
    const bytes = nodeOf({ metadata: structOf(hex('1a0178'), KEY) });
    expect(readNode(bytes, KEY)?.value).toEqual(hex('1a0178'));
  });

  test('the metadata under an empty key, which protobuf need not write', () => {
    expect(readNode(nodeOf({ metadata: field(1, field(2, hex('2001'))) }), '')?.value).toEqual(hex('2001'));
  });

  test('nothing of an empty node, nor of the one before it', () => {
    expect(readNode(new Uint8Array(), KEY)).toEqual({ id: '', cluster: '', value: new Uint8Array() });
  });

  test('the last one of what is there several times; metadata is merged', () => {
    const bytes = concat(
      nodeOf({ id: 'a', cluster: 'b', metadata: concat(structOf(hex('2001'), KEY), structOf(hex('2000'), KEY)) }),
      nodeOf({ id: 'c', metadata: structOf(hex('0800'), 'another') }),
    );
    expect(readNode(bytes, KEY)).toEqual({ id: 'c', cluster: 'b', value: hex('2000') });
  });

  test('nothing of fields 1, 2 and 3 with other wire types', () => {
    const bytes = concat(nodeOf({ id: 'id', cluster: 'cluster' }), hex('0801 10ff01 19 0000000000000000 0b0c'));
    expect(readNode(bytes, KEY)).toEqual({ id: 'id', cluster: 'cluster', value: new Uint8Array() });
  });
});

describe('a node is refused', () => {
  test.each([
    ['an id that is longer than the node', hex('0a05 6964')],
    ['a field behind the id that does not end', concat(nodeOf({ id: 'id' }), hex('4a'))],
    ['field number 0', concat(nodeOf({ id: 'id' }), hex('0001'))],
    ['a group that does not end', concat(nodeOf({ id: 'id' }), hex('5b'))],
    ['malformed metadata', nodeOf({ id: 'id', metadata: hex('0a05') })],
    ['metadata that goes wrong behind our key', nodeOf({ metadata: concat(structOf(hex('2001'), KEY), hex('0a')) })],
    ['a malformed entry in its metadata', nodeOf({ metadata: field(1, hex('0a0561')) })],
  ])('with %s', (_, bytes) => {
    expect(readNode(bytes, KEY)).toBeUndefined();
  });

  test('if it is cut off anywhere but between two fields', () => {
    const parts = [{ id: 'id' }, { cluster: 'cluster' }, { metadata: structOf(hex('2001'), KEY) }].map(nodeOf);
    const whole = concat(...parts);
    const ends = [0, parts[0].length, parts[0].length + parts[1].length];
    for (let size = 0; size < whole.length; size++) {
      expect(readNode(whole.subarray(0, size), KEY) !== undefined, `${size} bytes`).toBe(ends.includes(size));
    }
    expect(readNode(whole, KEY)).toEqual({ id: 'id', cluster: 'cluster', value: hex('2001') });
  });

  test('without a trap, whatever bytes were changed', () => {
    let refused = 0;
    always(3000, (random) => {
      const bytes = nodeOf({
        id: 'id',
        metadata: anyForm(metadata(random.struct(1)), random),
        locality: { zone: 'z' },
      });
      if (!readNode(random.mutated(bytes), KEY)) refused++;
    });
    expect(refused).toBeGreaterThan(100);
  });
});
