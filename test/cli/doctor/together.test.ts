// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { jsonOf, report } from '../../../cli/doctor/report.ts';
import { type Examination, examine } from '../../../cli/doctor/rules.ts';
import { sourceAt, sourceIn } from '../../../cli/doctor/source.ts';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { Envoy } from '../../../testkit/envoy/process.ts';
import { shippedFiles } from '../../../testkit/envoy/shipped.ts';
import { send } from '../../../testkit/http.ts';
import { exchange, inbound, type Json, listening, NODE, outbound } from '../../support/doctor/given.ts';
import { TcpPair } from '../../support/tcp.ts';
import { echo, Wire } from '../../support/wire.ts';

/** What the doctor finds only because it was asked about both proxies at once. */

/** Each finding that is more than a note, as its rule and its advice. */
const foundIn = (examinations: Examination[]) =>
  examinations.map(({ diagnoses }) =>
    diagnoses.flatMap(({ rule, severity, todo }) => (severity === 'note' ? [] : [[rule, todo]])),
  );

const printed = (examinations: Examination[]) => report(examinations, (_, text) => text);

const lookAt = async (...envoys: Envoy[]) =>
  examine(await Promise.all(envoys.map((each) => sourceAt(each.adminAddress()))));

const hasModule = async (envoy: Envoy) => (await envoy.stat('wasmcustom.metadata_exchange.configurations')) > 0;

const ANSWER = [{ match: { prefix: '/' }, direct_response: { status: 200 } }];

type Direction = 'INBOUND' | 'OUTBOUND';

interface Sides {
  client?: Json[];
  server?: Json[];
  directions?: [client: Direction, server: Direction];
}

/** One request from a client's proxy to a server's; then the doctor looks at both. */
async function afterRequest({ client = [exchange()], server = [exchange()], directions }: Sides) {
  const [before, behind] = directions ?? ['OUTBOUND', 'INBOUND'];
  await using there = await Envoy.start(listening(behind, server, { routes: ANSWER }));
  const clusters = { app: { port: await there.port('main') } };
  await using here = await Envoy.start(listening(before, client, { clusters }));
  expect((await send(await here.port('main'), {})).status).toBe(200);
  for (const [envoy, filters] of [
    [here, client],
    [there, server],
  ] as const) {
    if (filters.length > 0) await envoy.until('the module runs', () => hasModule(envoy));
  }
  const examinations = await lookAt(here, there);
  return { examinations, client: here.adminAddress(), server: there.adminAddress() };
}

const FOLLOWS = ['nothing-arrives', 'see one-side-only here.'];

describe('a listener looks the wrong way', () => {
  test('both are INBOUND: nobody tells servers, and what does not arrive follows from that', async () => {
    const { examinations } = await afterRequest({ directions: ['INBOUND', 'INBOUND'] });
    const todo =
      "Before a client the listener must be OUTBOUND. If all of these stand before servers, ask about the client's proxy too.";
    expect(foundIn(examinations)).toEqual([
      [['one-side-only', todo], FOLLOWS],
      [['one-side-only', todo], FOLLOWS],
    ]);
    expect(examinations[0].diagnoses[0]).toMatchObject({
      severity: 'warning',
      where: 'listener main',
      what: 'None of these proxies tells servers who it is: listener main is INBOUND.',
    });
    expect(printed(examinations)).toContain('  Cause: see one-side-only here.\n');
  });

  test('both are OUTBOUND: nobody learns who clients are', async () => {
    const { examinations } = await afterRequest({ directions: ['OUTBOUND', 'OUTBOUND'] });
    for (const found of foundIn(examinations)) expect(found[0][0]).toBe('one-side-only');
    expect(examinations[1].diagnoses[0].what).toBe(
      'None of these proxies learns who its clients are: listener main is OUTBOUND.',
    );
    expect(foundIn(examinations)[0]).toContainEqual(FOLLOWS);
  });

  test('on connections', async () => {
    const config = { preface: 'endpoint_metadata' };
    const sides = { client: { config, direction: 'INBOUND' as const } };
    await using pair = await TcpPair.start({ serve: echo, ...sides });
    using wire = await Wire.open(pair.port);
    await wire.send('question');
    await wire.until('heard question');
    await pair.server.until('it counts', async () => (await pair.server.stat(NOT_FOUND)) > 0);
    const examinations = await lookAt(pair.client, pair.server);
    const what = /^None of these proxies tells servers who it is over TCP: listener \S+ is INBOUND\.$/;
    for (const { diagnoses } of examinations) {
      expect(diagnoses.find(({ rule }) => rule === 'one-side-only')?.what).toMatch(what);
    }
    expect(foundIn(examinations)[1]).toContainEqual(['no-preface', 'see one-side-only here.']);
  });
});

const NOT_FOUND = 'wasmcustom.metadata_exchange.preface_not_found';

describe('files: one has the address of the other', () => {
  const files = (direction: Direction) =>
    examine(
      ['client', 'server'].map((name) => {
        const content = readFileSync(join(ROOT, `envoy/quick-start/${name}.yaml`), 'utf8');
        return sourceIn(name, content.replace(/traffic_direction: \w+/, `traffic_direction: ${direction}`));
      }),
    );

  test('so it is known which listener is wrong', () => {
    const inbounds = 'A cluster of client leads to server. At client the listener must be OUTBOUND.';
    for (const found of foundIn(files('INBOUND'))) expect(found).toContainEqual(['one-side-only', inbounds]);
    const outbounds = 'A cluster of client leads to server. At server the listener must be INBOUND.';
    for (const found of foundIn(files('OUTBOUND'))) expect(found).toContainEqual(['one-side-only', outbounds]);
  });

  test('the lists leave it out, and not the direction', () => {
    const lists = { downstream_discovery: [{ istio_headers: {} }], downstream_propagation: [{ istio_headers: {} }] };
    const configs = [outbound([exchange(lists)]), inbound([exchange()])];
    const [{ diagnoses }] = examine(configs.map((each, i) => sourceIn(`proxy ${i}`, JSON.stringify(each))));
    const found = diagnoses.find(({ rule }) => rule === 'one-side-only');
    expect(found?.what).toMatch(/: the lists here have no upstream_propagation\.$/);
    expect(found?.todo).toMatch(/^Before a client the lists need upstream_propagation\./);
  });
});

describe('proxies of one side only', () => {
  const servers = Array.from({ length: 10 }, (_, i) => sourceIn(`server ${i}`, JSON.stringify(inbound([exchange()]))));

  test('ten servers are noted, and not wrong', () => {
    for (const { diagnoses } of examine(servers)) {
      expect(diagnoses.map(({ rule, severity }) => [rule, severity])).toEqual([['one-side-only', 'note']]);
    }
  });

  test('ten servers with a client are in order', () => {
    const client = sourceIn('client', JSON.stringify(outbound([exchange()])));
    for (const { diagnoses } of examine([...servers, client])) expect(diagnoses).toEqual([]);
  });
});

const folders = [...new Set(shippedFiles().map(dirname))];

test.each(folders)('the files of %s go together', (folder) => {
  const paths = shippedFiles().filter((path) => dirname(path) === folder);
  const sources = paths.map((path) => sourceIn(path, readFileSync(join(ROOT, path), 'utf8')));
  const rules = examine(sources).flatMap(({ diagnoses }) => diagnoses);
  const shared = rules.filter(({ rule }) => rule === 'one-side-only' || rule === 'other-headers');
  expect(shared.filter(({ severity }) => severity !== 'note')).toEqual([]);
});

describe('the cause is at the other proxy', () => {
  test.each([
    ['without a filter', 'no-filter', []],
    ['with its filter switched off', 'switched-off', [{ ...exchange(), disabled: true }]],
  ])('a client %s: the server’s finding names it', async (_, rule, filters) => {
    const { examinations, client } = await afterRequest({ client: filters });
    expect(foundIn(examinations)[1]).toEqual([['nothing-arrives', `see ${client}, ${rule}.`]]);
    expect(jsonOf(examinations, [])).toMatchObject({
      proxies: [{}, { findings: [{ rule: 'nothing-arrives', causes: [{ proxy: client, rule }] }] }],
    });
  });

  test('the server has no filter: the client’s finding names it', async () => {
    const { examinations, server } = await afterRequest({ server: [] });
    expect(foundIn(examinations)[0]).toEqual([['nothing-arrives', `see ${server}, no-filter.`]]);
  });

  test('somebody else has called: the doctor does not send the reader in a circle', async () => {
    await using server = await Envoy.start(inbound([exchange()], { routes: ANSWER }));
    await using client = await Envoy.start(outbound([exchange()]));
    await send(await server.port('main'), {});
    for (const each of [client, server]) await each.until('the module runs', () => hasModule(each));
    const todo = `Nothing at ${client.adminAddress()} explains it. Find out whether that is the client, and what stands in between.`;
    expect(foundIn(await lookAt(client, server))).toEqual([[], [['nothing-arrives', todo]]]);
  });

  test('another server is not the client, whatever is wrong there', async () => {
    await using server = await Envoy.start(inbound([exchange()], { routes: ANSWER }));
    await send(await server.port('main'), {});
    await server.until('the module runs', () => hasModule(server));
    const mute = inbound([exchange()], { node: { ...NODE, metadata: {} } });
    const sources = [await sourceAt(server.adminAddress()), sourceIn('other', JSON.stringify(mute))];
    const [first] = examine(sources);
    const found = first.diagnoses.find(({ rule }) => rule === 'nothing-arrives');
    expect(found?.causes).toEqual([{ proxy: server.adminAddress(), rule: 'one-side-only' }]);
  });
});
