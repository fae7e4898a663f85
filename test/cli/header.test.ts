// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { headerOf } from '../../cli/commands/header.ts';
import { Broken, bytesOfHeader, fromBase64 } from '../../cli/header/base64.ts';
import { readStruct } from '../../cli/header/struct.ts';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { METADATA } from '../../testkit/http.ts';
import { always, anyForm } from '../../testkit/random.ts';
import { struct } from '../../testkit/struct.ts';

/** What `decode` says of a header, and whether the module says the same. */

const DOWNSTREAM = 'envoy.wasm.metadata_exchange.downstream';
const INBOUND = Buffer.from([1, 0, 0, 0, 0, 0, 0, 0]);
const host = new Host({ 'xds.node': NODE, 'xds.listener_direction': INBOUND });
const root = host.configure('{"max_header_size": 65536, "max_peer_cache_size": 0}') as number;

/** The bytes that the module publishes of a header; or the counter of what it refuses. */
function moduleOn(header: string): Buffer | string {
  const causes = ['base64', 'protobuf', 'utf8', 'control', 'no_json_form', 'nesting'];
  const counts = () => {
    host.tick(root);
    return causes.map((cause) => host.metrics[`metadata_exchange.refused_${cause}`] ?? 0);
  };
  const before = counts();
  const { filterState } = host.stream(root).onRequest([METADATA, header]).end();
  const after = counts();
  return filterState[DOWNSTREAM] ?? causes.find((_, i) => after[i] > before[i]) ?? 'nothing';
}

/** The same of ours: the bytes of the Struct, or the counter. */
function oursOn(header: string): Buffer | string {
  try {
    const bytes = bytesOfHeader(header);
    readStruct(bytes);
    return bytes.length > 0 ? bytes : 'nothing';
  } catch (error) {
    if (!(error instanceof Broken)) throw error;
    return error.counter;
  }
}

describe('the module and we agree', () => {
  test('on any Struct, in any of the ways that protobuf allows', () => {
    always(500, (random) => {
      const header = Buffer.from(anyForm(random.struct(), random)).toString('base64');
      expect(oursOn(header)).toEqual(moduleOn(header));
    });
  });

  test('on bytes that were changed', () => {
    const seen = new Set<unknown>();
    always(3000, (random) => {
      const bytes = random.mutated(anyForm(random.struct(), random));
      const header = Buffer.from(bytes).toString('base64');
      const ours = oursOn(header);
      seen.add(typeof ours === 'string' ? ours : 'taken');
      expect(ours).toEqual(moduleOn(header));
    });
    expect([...seen].sort()).toEqual(expect.arrayContaining(['control', 'no_json_form', 'protobuf', 'taken', 'utf8']));
  });

  test('on letters that were changed', () => {
    always(1000, (random) => {
      const letters = random.mutated(Buffer.from(struct.header({ NAME: 'a'.repeat(random.below(9)) })));
      // What HTTP carries, in one header: no list, which is tested below.
      const header = Buffer.from(letters.filter((byte) => byte > 0x20 && byte < 0x7f && byte !== 0x2c)).toString();
      expect(oursOn(header)).toEqual(moduleOn(header));
    });
  });

  test('on copies of a header that somebody has joined', () => {
    const [one, other] = [struct.header({ NAME: 'one' }), struct.header({ NAME: 'other' })];
    for (const header of [`${one},${other}`, ` , ${one}`, `${one}, !`, `!,${one}`, ',', ' ']) {
      expect(oursOn(header), header).toEqual(moduleOn(header));
    }
  });

  test('on how deep is too deep', () => {
    const nested = (times: number) => {
      let json: object = { a: 1 };
      for (let i = 0; i < times; i++) json = { a: json };
      return struct.header(json);
    };
    const answers = Array.from({ length: 40 }, (_, times) => oursOn(nested(times)));
    expect(answers).toEqual(Array.from({ length: 40 }, (_, times) => moduleOn(nested(times))));
    expect(answers.at(-1)).toBe('nesting');
  });
});

/** Why something is refused, and where. */
function refusal(run: () => unknown): string {
  try {
    run();
  } catch (error) {
    if (error instanceof Broken) return `${error.counter} at ${error.at}: ${error.message}`;
    throw error;
  }
  return 'taken';
}

describe('where base64 is broken', () => {
  test.each([
    ['YQ==', 'taken'],
    ['YQ', 'taken'],
    ['', 'taken'],
    ['YWJj ZGVm', 'base64 at 4: " " is no letter of base64'],
    ['YWJ-', 'base64 at 3: "-" is no letter of base64'],
    ['YWJj€', 'base64 at 4: "€" is no letter of base64'],
    ['YQ=', 'base64 at 2: padding that does not fill up the last four letters'],
    ['YQ==YQ==', 'base64 at 2: padding that does not fill up the last four letters'],
    ['YWJjZ', 'base64 at 4: a single letter is left over: the end is missing'],
    ['YR==', 'base64 at 1: the last letter has bits that no byte needs'],
    ['YWK', 'base64 at 2: the last letter has bits that no byte needs'],
  ])('%s', (text, expected) => {
    expect(refusal(() => fromBase64(text))).toBe(expected);
  });

  test('in a list it is counted from the header’s beginning', () => {
    expect(refusal(() => bytesOfHeader(', YW!j,YQ'))).toBe('base64 at 4: "!" is no letter of base64');
  });
});

describe('where a Struct is broken', () => {
  const bytes = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');
  test.each([
    ['0a 05 0a0161', 'protobuf at 2: 5 bytes are announced, and 3 are left'],
    ['0a', 'protobuf at 1: the end is missing'],
    ['00', 'protobuf at 0: no field has this tag'],
    ['0f', 'protobuf at 0: there is no wire type 7'],
    ['13 08', 'protobuf at 2: the end is missing'],
    ['14', 'protobuf at 0: a group ends that did not begin'],
    ['0a 03 0a0161', 'no_json_form at 2: a: there is no value'],
    ['0a 05 0a0161 1200', 'no_json_form at 7: a: the value has no kind'],
    ['0a 0e 0a0161 1209 11 000000000000f07f', 'no_json_form at 8: a: JSON has no Infinity'],
    ['0a 08 0a0161 1203 1a01ff', 'utf8 at 9: a: not UTF-8'],
    ['0a 09 0a0161 1204 1a02610a', 'control at 10: a: a control character, 0x0a'],
    ['0a 04 0a020041', 'control at 4: a key of the Struct: a control character, 0x00'],
  ])('%s', (digits, expected) => {
    expect(refusal(() => readStruct(bytes(digits)))).toBe(expected);
  });

  test('the path leads to it', () => {
    const broken = struct.write({ LABELS: { list: [1, { app: 'a\u0007b' }] } });
    const at = broken.indexOf(7, broken.indexOf('app'));
    const expected = `control at ${at}: LABELS.list[1].app: a control character, 0x07`;
    expect(refusal(() => readStruct(broken))).toBe(expected);
  });
});

describe('what is encoded', () => {
  test('is one header, whatever the order of its keys', () => {
    const { header, warnings } = headerOf({ NAME: 'reviews', LABELS: { b: '1', a: '2' } });
    expect(header).toBe(struct.header({ LABELS: { a: '2', b: '1' }, NAME: 'reviews' }));
    expect(warnings).toEqual([]);
  });

  test('is what a peer reads again', () => {
    always(100, (random) => {
      const json = struct.read(Buffer.from(anyForm(random.struct(), random)));
      const { header, warnings } = headerOf(json);
      if (warnings.length === 0) expect(readStruct(bytesOfHeader(header))).toEqual(json);
    });
  });

  test('is without what no peer would take, and the module says so', () => {
    const { header, warnings } = headerOf({ NAME: 'reviews', BELL: '\u0007' });
    expect(header).toBe(struct.header({ NAME: 'reviews' }));
    expect(warnings).toEqual([expect.stringContaining('values of the own metadata that no peer would take')]);
  });
});
