// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { learned } from '../../testkit/access_log.ts';
import { ROOT } from '../../testkit/envoy/binary.ts';
import { bridge, lua, metadataExchange, proxy } from '../../testkit/envoy/config.ts';
import { Envoy } from '../../testkit/envoy/process.ts';
import { App, METADATA, send } from '../../testkit/http.ts';
import { always, anyForm, type StructModel, type ValueModel } from '../../testkit/random.ts';
import { struct } from '../../testkit/struct.ts';
import { PEER, PEER_HEADER, ProxyStand } from '../support/proxy_stand.ts';

/**
 * envoy/dynamic_metadata.lua as shipped, in a real Envoy, on inputs that the Wasm filter would never let through: after
 * its own text stands a filter that takes the request's body for what is in filter state.
 */
const HARNESS = `
function envoy_on_request(handle)
  if handle:headers():get(":path") == "/flood" then
    for i = 1, 20000 do
      local text = "n" .. i .. string.rep("x", 600)
      local value = "\\26" .. string.char(128 + #text % 128, math.floor(#text / 128)) .. text
      local entry = "\\10\\1a\\18" .. string.char(128 + #value % 128, math.floor(#value / 128)) .. value
      assert(decoded("\\10" .. string.char(128 + #entry % 128, math.floor(#entry / 128)) .. entry))
      assert(peers <= MOST_PEERS and bytes <= MOST_BYTES)
    end
    collectgarbage()
    return handle:respond({[":status"] = "200"}, tostring(collectgarbage("count")))
  end
  local body = handle:body()
  local bytes = body and body:getBytes(0, body:length()) or ""
  local real = handle:streamInfo()
  local state = { get = function() return bytes end }
  local info = { filterState = function() return state end, dynamicMetadata = function() return real:dynamicMetadata() end }
  local fine, problem = pcall(publish, { streamInfo = function() return info end }, DOWNSTREAM)
  handle:respond({[":status"] = fine and "200" or "500"}, tostring(problem))
end
function envoy_on_response() end
`;

/** What Lua leaves of a Struct. Fields at the top keep their nulls: they are written one by one. */
function afterLua(json: Record<string, unknown>): unknown {
  return Object.fromEntries(Object.entries(json).map(([key, value]) => [upToNul(key), valueAfterLua(value)]));
}

function valueAfterLua(json: unknown): unknown {
  if (typeof json === 'string') return upToNul(json);
  if (Array.isArray(json)) {
    const last = json.findLastIndex((value) => value !== null);
    return last < 0 ? {} : json.slice(0, last + 1).map(valueAfterLua);
  }
  if (json === null || typeof json !== 'object') return json;
  const kept = Object.entries(json).filter(([, value]) => value !== null);
  return Object.fromEntries(kept.map(([key, value]) => [upToNul(key), valueAfterLua(value)]));
}

function upToNul(text: string): string {
  return text.split('\0', 1)[0];
}

describe('the bridge to dynamic metadata', () => {
  let envoy: Envoy;
  let port: number;
  let count = 0;

  beforeAll(async () => {
    const source = readFileSync(join(ROOT, 'envoy/dynamic_metadata.lua'), 'utf8') + HARNESS;
    envoy = await Envoy.start(
      proxy({ listeners: [{ name: 'lua', filters: [lua('bridge', { inline_string: source })], routes: [] }] }),
    );
    port = await envoy.port('lua');
  });
  afterAll(() => envoy?.stop());

  /** Lets the bridge publish each of these; the dynamic metadata that came of it. */
  async function publishAll(all: Buffer[]): Promise<unknown[]> {
    const first = count;
    for (const body of all) {
      const answer = await send(port, { method: 'POST', path: `/${count++}`, body });
      expect([answer.status, answer.body], body.toString('hex')).toEqual([200, 'nil']);
    }
    await envoy.until('all is logged', () => envoy.log().includes(`"path":"/${count - 1}"`));
    const lines = new Map(learned(envoy).map((line) => [line.path, line]));
    return all.map((_, i) => lines.get(`/${first + i}`)?.downstream.dynamic);
  }

  async function publish(bytes: Buffer): Promise<unknown> {
    return (await publishAll([bytes]))[0];
  }

  test('says what the peer said, of any shape and spelling, but for what Lua cannot say', async () => {
    const all = samples(500);
    const published = await publishAll(all.map(({ bytes }) => bytes));
    for (const [i, { model, bytes }] of all.entries()) {
      expect(published[i] ?? {}, bytes.toString('hex')).toEqual(afterLua(toJson(model)));
    }
  });

  test('says nothing and fails at nothing, whatever the bytes are', async () => {
    await publishAll(samples(1000).map(({ mutilated }) => mutilated));
    const [{ bytes }] = samples(20).sort((a, b) => b.bytes.length - a.bytes.length);
    await publishAll(Array.from(bytes, (_, size) => bytes.subarray(0, size)));
    expect(await publish(Buffer.alloc(60_000, '320a', 'hex')), 'lists without end').toBeUndefined();
    expect(await publish(Buffer.alloc(60_000, 0x0b)), 'groups without end').toBeUndefined();
    expect(await publish(struct.write({ still: 'here' }))).toEqual({ still: 'here' });
  });

  test('merges what is sent in parts, as protobuf does', async () => {
    // One Value in two parts, each a Struct with one field; the same for lists.
    const message = (tag: number, ...parts: Buffer[]) => {
      const content = Buffer.concat(parts);
      return Buffer.concat([Buffer.from([tag, content.length]), content]);
    };
    const yes = message(0x12, Buffer.from([0x20, 1]));
    const field = (key: string, ...values: Buffer[]) => message(0x0a, message(0x0a, Buffer.from(key)), ...values);
    const inTwoStructs = message(0x12, message(0x2a, field('a', yes)), message(0x2a, field('b', yes)));
    const inTwoValues = [message(0x12, message(0x2a, field('a', yes))), message(0x12, message(0x2a, field('b', yes)))];
    const item = message(0x0a, Buffer.from([0x20, 1]));
    const inTwoLists = message(0x12, message(0x32, item), message(0x32, item));
    expect(await publish(field('k', inTwoStructs))).toEqual({ k: { a: true, b: true } });
    expect(await publish(field('k', ...inTwoValues))).toEqual({ k: { a: true, b: true } });
    expect(await publish(field('k', inTwoLists))).toEqual({ k: [true, true] });
  });

  test('keeps a bounded memory of peers', async () => {
    const answer = await send(port, { path: '/flood' });
    expect(answer.status).toBe(200);
    expect(Number(answer.body), 'KiB in use after 20,000 peers of 600 bytes each').toBeLessThan(10_000);
  });
});

test('one file in both places of the chain; a second request of the same peer is told the same', async () => {
  const headers = [METADATA, PEER_HEADER];
  await using stand = await ProxyStand.start({ answer: () => ({ headers }) });
  for (let i = 0; i < 3; i++) {
    const { learned } = await stand.exchange({ headers });
    expect([learned.downstream.dynamic, learned.upstream.dynamic]).toEqual([PEER, PEER]);
  }
  const { learned } = await stand.exchange();
  expect(learned.downstream.dynamic, 'nothing is left of the peer before').toBeUndefined();
});

/** Random Structs, spelled in any way that protobuf allows, and the same with bytes changed, cut out or added. */
function samples(count: number) {
  const result: { model: StructModel; bytes: Buffer; mutilated: Buffer }[] = [];
  always(count, (random) => {
    const model = withoutNulInKeys(random.struct());
    const bytes = Buffer.from(anyForm(model, random));
    result.push({ model, bytes, mutilated: Buffer.from(random.mutated(bytes)) });
  });
  return result;
}

/** Keys that are the same up to their NULs would be one key to Lua, and which one wins is chance. */
function withoutNulInKeys(model: StructModel): StructModel {
  const ofValue = (value: ValueModel): ValueModel => {
    if ('structValue' in value) return { structValue: withoutNulInKeys(value.structValue) };
    return 'listValue' in value ? { listValue: { values: value.listValue.values.map(ofValue) } } : value;
  };
  const entries = Object.entries(model.fields).map(([key, value]) => [key.replaceAll('\0', ''), ofValue(value)]);
  return { fields: Object.fromEntries(entries) };
}

function toJson(model: StructModel): Record<string, unknown> {
  const ofValue = (value: ValueModel): unknown => {
    if ('structValue' in value) return toJson(value.structValue);
    if ('listValue' in value) return value.listValue.values.map(ofValue);
    return 'nullValue' in value ? null : Object.values(value)[0];
  };
  return Object.fromEntries(Object.entries(model.fields).map(([key, value]) => [key, ofValue(value)]));
}

test.each(['downstream', 'upstream'] as const)('for one side only: %s', async (side) => {
  const peer = { headers: [METADATA, PEER_HEADER] };
  await using app = await App.start(() => peer);
  const filters = [bridge('responses', side), metadataExchange(), bridge('requests', side)];
  await using envoy = await Envoy.start(
    proxy({ listeners: [{ name: 'listener', filters }], clusters: { app: { port: app.port } } }),
  );
  await send(await envoy.port('listener'), peer);
  await envoy.until('the request is logged', () => learned(envoy).length === 1);
  const [line] = learned(envoy);
  expect([line.downstream.struct, line.upstream.struct]).toEqual([PEER, PEER]);
  expect(line.downstream.dynamic).toEqual(side === 'downstream' ? PEER : undefined);
  expect(line.upstream.dynamic).toEqual(side === 'upstream' ? PEER : undefined);
});
