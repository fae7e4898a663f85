// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import protobuf from 'protobufjs';
import { describe, expect, test } from 'vitest';
import { MODULE, ROOT } from '../../testkit/envoy/binary.ts';
import { Host } from '../../testkit/host/host.ts';
import { NODE } from '../../testkit/host/node.ts';
import { sizes } from '../../tools/size.ts';

describe('the built module', () => {
  const module = new WebAssembly.Module(readFileSync(MODULE));

  test('exports the callbacks that it uses, and ABI 0.2.1', () => {
    expect(
      WebAssembly.Module.exports(module)
        .map(({ name }) => name)
        .sort(),
    ).toEqual([
      '_initialize',
      'malloc',
      'memory',
      'proxy_abi_version_0_2_1',
      'proxy_on_configure',
      'proxy_on_context_create',
      'proxy_on_delete',
      'proxy_on_downstream_data',
      'proxy_on_grpc_close',
      'proxy_on_grpc_receive',
      'proxy_on_log',
      'proxy_on_new_connection',
      'proxy_on_queue_ready',
      'proxy_on_request_headers',
      'proxy_on_response_headers',
      'proxy_on_tick',
      'proxy_on_upstream_data',
    ]);
  });

  test('imports Proxy-WASM host calls and nothing else: no WASI, no abort', () => {
    const imports = WebAssembly.Module.imports(module).map(({ module, name }) => `${module}.${name}`);
    expect(imports.length).toBeGreaterThan(0);
    expect(imports.filter((name) => !name.startsWith('env.proxy_'))).toEqual([]);
  });

  test('is within the budget of each of its rooms: see make size', () => {
    for (const { room, bytes, budget } of sizes()) expect(bytes, room).toBeLessThanOrEqual(budget);
  });

  test('has no debug names', () => {
    expect(WebAssembly.Module.customSections(module, 'name')).toEqual([]);
    expect(WebAssembly.Module.customSections(module, 'sourceMappingURL')).toEqual([]);
  });

  test('says its version, which is the package’s, once a VM', () => {
    const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'));
    const host = new Host({ 'xds.node': NODE });
    host.configure();
    host.configure();
    expect(host.log).toEqual([{ level: 2, text: `metadata_exchange: version ${version}` }]);
  });

  test('declares what it writes, so that CEL can walk it and it lives as long as the request or the connection', () => {
    const proto = protobuf.loadSync(join(ROOT, 'proto/property.proto'));
    const type = proto.lookupType('metadata_exchange.DeclarePropertyArguments');
    const host = new Host({ 'xds.node': NODE });
    host.configure();
    const declared = host.declared.map((bytes) => type.toObject(type.decode(bytes), { enums: String }));
    const name = (side: string) => `envoy.wasm.metadata_exchange.${side}`;
    const schema = 'type.googleapis.com/google.protobuf.Struct';
    const span = 'DownstreamRequest';
    const connection = 'DownstreamConnection';
    expect(declared).toEqual([
      { name: name('downstream'), type: 'Protobuf', schema, span },
      { name: name('downstream_id'), type: 'String', span },
      { name: name('upstream'), type: 'Protobuf', schema, span },
      { name: name('upstream_id'), type: 'String', span },
      { name: name('connection.downstream'), type: 'Protobuf', schema, span: connection },
      { name: name('connection.downstream_id'), type: 'String', span: connection },
      { name: name('connection.upstream'), type: 'Protobuf', schema, span: connection },
      { name: name('connection.upstream_id'), type: 'String', span: connection },
      { name: 'envoy.wasm.metadata_exchange.first_run.bcae34b1', type: 'String', span },
      { name: name('connection.prefaces'), type: 'String', span: connection },
    ]);
  });
});
