// SPDX-License-Identifier: Apache-2.0
import { describe, expect, test } from 'vitest';
import { metadataExchange, proxy, wasm } from '../../testkit/envoy/config.ts';
import { type Bootstrap, Envoy, validate } from '../../testkit/envoy/process.ts';
import { App, ID, METADATA, send } from '../../testkit/http.ts';
import { struct } from '../../testkit/struct.ts';
import { Updatable } from '../support/lds.ts';
import { ProxyStand } from '../support/proxy_stand.ts';

/** What a refused configuration's author finds in Envoy's log is tested case by case in test/host. */

const OTHER = { metadata_key: 'other/metadata', headers: { metadata: 'X-Other-Metadata', id: 'x-other-id' } };

function outbound(filter: object, app: App): Bootstrap {
  const node = { id: 'own', cluster: 'own-cluster', metadata: { 'other/metadata': { A: 1 } } };
  const listeners = [{ name: 'listener', direction: 'OUTBOUND' as const, filters: [filter] }];
  return proxy({ node, listeners, clusters: { app: { port: app.port } } });
}

describe('a configuration reaches the module', () => {
  const type = 'type.googleapis.com/google.protobuf';
  const NATIVE = 'type.googleapis.com/io.istio.http.peer_metadata.Config';
  test.each([
    ['as StringValue, as WasmPlugin gives it', { '@type': `${type}.StringValue`, value: JSON.stringify(OTHER) }],
    ['as StringValue with white space', { '@type': `${type}.StringValue`, value: JSON.stringify(OTHER, null, 2) }],
    ['as BytesValue', { '@type': `${type}.BytesValue`, value: Buffer.from(JSON.stringify(OTHER)).toString('base64') }],
    ['as Struct, which Envoy writes as JSON again', { '@type': `${type}.Struct`, value: OTHER }],
    ['as TypedStruct', { '@type': 'type.googleapis.com/xds.type.v3.TypedStruct', type_url: NATIVE, value: OTHER }],
    [
      'as the older TypedStruct',
      { '@type': 'type.googleapis.com/udpa.type.v1.TypedStruct', type_url: NATIVE, value: OTHER },
    ],
  ])('%s', async (_, configuration) => {
    await using app = await App.start();
    await using envoy = await Envoy.start(outbound(wasm('plugin', configuration), app));
    await send(await envoy.port('listener'), { headers: [METADATA, 'not', ID, 'ours'] });
    const { headers } = app.last;
    expect(headers.all('x-other-metadata')).toEqual([struct.header({ A: 1 })]);
    expect(headers.all('x-other-id')).toEqual(['own']);
    expect(headers.peer(), 'headers of other names are not ours').toEqual({ [METADATA]: ['not'], [ID]: ['ours'] });
  });

  test('the node is called by its cluster where that is asked for', async () => {
    await using app = await App.start();
    await using envoy = await Envoy.start(outbound(metadataExchange({ node_key: 'cluster' }), app));
    await send(await envoy.port('listener'));
    expect(app.last.headers.all(ID)).toEqual(['own-cluster']);
  });

  test('the node is called by its cluster where it has no id', async () => {
    await using stand = await ProxyStand.start({ direction: 'OUTBOUND', node: { id: '', cluster: 'only-cluster' } });
    const { seen } = await stand.exchange();
    expect(seen?.headers.all(ID)).toEqual(['only-cluster']);
  });
});

describe('a configuration with a mistake', () => {
  test('keeps Envoy from starting, and the log says what is wrong, and where', async () => {
    await using app = await App.start();
    const { valid, log } = await validate(outbound(metadataExchange({ headers: { metadata: 5 } }), app));
    expect(valid).toBe(false);
    expect(log).toContain('configuration refused at byte 23: headers.metadata: expected a string, found a number');
  });

  test.each([
    [
      {
        '@type': 'google.protobuf.Any',
        value: { '@type': 'type.googleapis.com/google.protobuf.Duration', value: '5s' },
      },
      'a message of the type type.googleapis.com/google.protobuf.Duration without a Struct inside is no configuration',
    ],
    [
      { '@type': 'google.protobuf.Duration', value: '5s' },
      'is neither JSON nor a Struct nor a TypedStruct: it is a message of another type',
    ],
    [
      { '@type': 'envoy.config.core.v3.Node', id: 'abc' },
      'is neither JSON nor a Struct nor a TypedStruct: it is a message of another type',
    ],
  ])('a message of another type is named, as far as it can be seen: %j', async (message, complaint) => {
    await using app = await App.start();
    const configuration = { ...message, '@type': `type.googleapis.com/${message['@type']}` };
    const { valid, log } = await validate(outbound(wasm('plugin', configuration), app));
    expect(valid).toBe(false);
    expect(log).toContain(`configuration refused at byte 0: ${complaint}`);
  });

  test('leaves the old one in force where it comes as an update', async () => {
    const listener = (config: object) => ({ name: 'listener', filters: [metadataExchange(config)] });
    await using mesh = await Updatable.start([listener({ headers: { id: 'x-first' } })], { node: { id: 'own' } });
    await mesh.update([listener({ headers: { id: 'x-second' }, headerz: {} })], 'update_rejected');
    expect(mesh.envoy.log()).toContain('configuration refused at byte 29: headerz: is not a known field');
    await send(await mesh.envoy.port('listener'));
    expect(mesh.app.last.headers.all('x-first')).toEqual(['own']);
  });
});
