// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors
import { createHash } from 'node:crypto';
import { readFileSync, unwatchFile, watchFile } from 'node:fs';
import { isIPv4 } from 'node:net';
import { join } from 'node:path';
import * as grpc from '@grpc/grpc-js';
import protobuf from 'protobufjs';
import { parse } from 'yaml';

/**
 * A control plane for any-server.yaml: it tells proxies of the workloads in a file, and of every change of the file.
 *
 *     node_modules/.bin/tsx envoy/workload-discovery/server.ts 15020 [another-file.yaml]
 */

const WORKLOADS = join(import.meta.dirname, 'workloads.yaml');

const protos = ['xds.proto', 'workload.proto'].map((file) => join(import.meta.dirname, '../../proto', file));
const root = protobuf.loadSync(protos);
const Workload = root.lookupType('istio.workload.Workload');
const Request = root.lookupType('envoy.service.discovery.v3.DeltaDiscoveryRequest');
const Response = root.lookupType('envoy.service.discovery.v3.DeltaDiscoveryResponse');

/** The type of what is told: proxies ask for it by this. */
const TYPE_URL = 'type.googleapis.com/istio.workload.Workload';

// biome-ignore lint/suspicious/noExplicitAny: messages as JSON
type Json = any;

const METHOD: grpc.MethodDefinition<Json, Json> = {
  path: '/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources',
  requestStream: true,
  responseStream: true,
  requestSerialize: (json) => Buffer.from(Request.encode(Request.fromObject(json)).finish()),
  requestDeserialize: (bytes) => Request.toObject(Request.decode(bytes), { objects: true }),
  responseSerialize: (json) => Buffer.from(Response.encode(Response.fromObject(json)).finish()),
  responseDeserialize: (bytes) => Response.toObject(Response.decode(bytes)),
};

/** The workloads of a file as resources: name, version and bytes. The version is a hash of the bytes. */
function read(file: string): Map<string, { version: string; value: Buffer }> {
  const workloads: Json[] = parse(readFileSync(file, 'utf8')) ?? [];
  return new Map(
    workloads.map(({ addresses = [], ...fields }) => {
      const message = Workload.fromObject({ ...fields, addresses: addresses.map(octetsOf) });
      const value = Buffer.from(Workload.encode(message).finish());
      return [fields.uid, { version: createHash('sha256').update(value).digest('hex').slice(0, 16), value }];
    }),
  );
}

/** An IP address as 4 or 16 octets. */
function octetsOf(address: string): Buffer {
  if (isIPv4(address)) return Buffer.from(address.split('.').map(Number));
  // A URL spells each IPv6 address in one way, the longest row of zeros left out.
  const [before, after] = new URL(`http://[${address}]`).hostname
    .slice(1, -1)
    .split('::')
    .map((part) => part.split(':').filter(Boolean));
  const zeros = Array(after ? 8 - before.length - after.length : 0).fill('0');
  return Buffer.from([...before, ...zeros, ...(after ?? [])].map((group) => group.padStart(4, '0')).join(''), 'hex');
}

/** Serves the workloads of a file until it is disposed of; port 0 is any free one. */
export async function serve(port: number, file = WORKLOADS): Promise<AsyncDisposable & { port: number }> {
  let workloads = read(file);
  let nonce = 0;
  /** Each stream, and the versions that its proxy has. */
  const streams = new Map<grpc.ServerDuplexStream<Json, Json>, Map<string, string>>();

  const tell = (stream: grpc.ServerDuplexStream<Json, Json>, known: Map<string, string>) => {
    const news = [...workloads].filter(([uid, { version }]) => known.get(uid) !== version);
    const removedResources = [...known.keys()].filter((uid) => !workloads.has(uid));
    const resources = news.map(([name, { version, value }]) => {
      return { name, version, resource: { type_url: TYPE_URL, value } };
    });
    stream.write({ typeUrl: TYPE_URL, nonce: String(++nonce), resources, removedResources });
    for (const [uid, { version }] of news) known.set(uid, version);
    for (const uid of removedResources) known.delete(uid);
  };

  const server = new grpc.Server({ 'grpc.max_receive_message_length': -1 });
  const DeltaAggregatedResources: grpc.handleBidiStreamingCall<Json, Json> = (stream) => {
    stream.on('data', ({ initialResourceVersions }) => {
      // The others say that a response was taken, or refused.
      if (streams.has(stream)) return;
      streams.set(stream, new Map(Object.entries(initialResourceVersions)));
      tell(stream, streams.get(stream)!);
    });
    for (const event of ['cancelled', 'error', 'end']) stream.on(event, () => streams.delete(stream));
    stream.on('end', () => stream.end());
  };
  server.addService({ DeltaAggregatedResources: METHOD }, { DeltaAggregatedResources });
  const bound = await new Promise<number>((resolve, reject) => {
    server.bindAsync(`127.0.0.1:${port}`, grpc.ServerCredentials.createInsecure(), (error, at) =>
      error ? reject(error) : resolve(at),
    );
  });

  const update = () => {
    workloads = read(file);
    for (const [stream, known] of streams) tell(stream, known);
  };
  watchFile(file, { interval: 200 }, update);
  return {
    port: bound,
    async [Symbol.asyncDispose]() {
      unwatchFile(file, update);
      server.forceShutdown();
    },
  };
}

if (process.argv[1] === import.meta.filename) await serve(Number(process.argv[2]), process.argv[3]);
