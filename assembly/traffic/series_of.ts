// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { Traffic } from '../config/traffic';
import { OFF } from '../config/verification';
import * as names from '../host/names';
import * as properties from '../host/properties';
import { hashOf } from '../memory/hash';
import { Slice, sameBytes, slice } from '../memory/slice';
import * as metrics from '../metrics/metrics';
import * as table from '../metrics/table';
import { Identity } from '../own/identity';
import { Peer, Side } from '../peers/peer';
import { VERIFIED } from '../peers/verify';
import * as labels from './labels';
import { BY_DESTINATION, BY_SOURCE, defineSeries, Request } from './names';
import * as series from './series';

/**
 * The series in which a request or a connection is counted: by both workloads, by the service that was asked, and by how
 * it ended. It is made when the first one comes.
 */

/** Series beyond the most, for what then counts as between unknown peers. */
const RESERVE: u32 = 256;

/** Makes room for the series of a configuration; false if there is no memory. */
export function openSeries(traffic: Traffic): bool {
  return series.makeRoom(traffic.maxSeries + RESERVE);
}

const value = slice(memory.data(8, 4));
const client = slice(memory.data(8, 4));
const server = slice(memory.data(8, 4));
const verdict = slice(memory.data(8, 4));
const peerUri = slice(memory.data(8, 4));
const localUri = slice(memory.data(8, 4));
const service = slice(memory.data(8, 4));
const serviceName = slice(memory.data(8, 4));
const serviceNamespace = slice(memory.data(8, 4));
const parts = memory.data(72, 8);
const partsSlice = slice(memory.data(8, 4));

/** What a peer counts as: 0, nobody, also where certificates are compared and do not prove it. */
export function sideOf(peer: Peer, config: Config): u64 {
  const traffic = config.traffic;
  if (!traffic || peer.struct.size == 0) return 0;
  if (config.verification.mode != OFF && peer.verdict != VERIFIED) return 0;
  return labels.hashOfLabels(peer.struct, traffic);
}

/** A number that the host knows; 0 if it does not. */
export function number(path: Slice): u64 {
  return properties.get(path, value) && value.size == 8 ? load<u64>(value.at) : 0;
}

/**
 * Where the ids of the four metrics stand in which a request or a connection is counted; 0 if there is no room for them.
 * `client` and `server` are the filter state of both sides, `knownClient` and `knownServer` what they count as, of whom
 * this stream met.
 */
export function seriesOf(
  request: Request,
  config: Config,
  traffic: Traffic,
  identity: Identity,
  client: Side,
  knownClient: u64,
  server: Side,
  knownServer: u64,
): usize {
  const own = identity.struct.size > 0 ? labels.hashOfLabels(identity.struct, traffic) : 0;
  const isSource = request.reporter == BY_SOURCE;
  const isDestination = request.reporter == BY_DESTINATION;
  let clientHash = isSource ? own : metByOthers(knownClient, client, config, traffic);
  let serverHash = isDestination ? own : metByOthers(knownServer, server, config, traffic);
  readUris(request);
  properties.get(names.SERVICE_HOST, service);
  let hash = hashOfRequest(request, traffic.seed, clientHash, serverHash);
  let ids = series.find(hash);
  if (ids) return ids;
  ids = series.add(hash, traffic.maxSeries);
  if (!ids) {
    metrics.count(table.TRAFFIC_UNNAMED);
    if (!isSource) clientHash = 0;
    if (!isDestination) serverHash = 0;
    peerUri.set(0, 0);
    hash = hashOfRequest(request, traffic.seed, clientHash, serverHash);
    ids = series.find(hash);
    if (ids) return ids;
    ids = series.add(hash, traffic.maxSeries + RESERVE);
    if (!ids) return 0;
  }
  define(request, traffic, identity, client, clientHash, server, serverHash, ids);
  metrics.set(table.TRAFFIC_SERIES, series.seriesCount());
  return ids;
}

/**
 * Who stands on a side whom this stream did not meet: whom filter state names. An earlier run of the chain met the client,
 * or a second filter of ours did; a filter in the cluster meets servers that a listener's filter does not.
 */
function metByOthers(known: u64, side: Side, config: Config, traffic: Traffic): u64 {
  if (known) return known;
  if (!properties.get(side.struct, value) || value.size == 0) return 0;
  if (config.verification.mode != OFF) {
    if (!properties.get(side.verified, verdict) || !sameBytes(verdict, names.VERIFIED_TEXT)) return 0;
  }
  return labels.hashOfLabels(value, traffic);
}

/**
 * Reads whom the certificates of the connection name: at the server that of both sides, at the client nothing is sure. A
 * certificate without a URI names nobody, and the connection is one of mTLS all the same.
 */
function readUris(request: Request): void {
  if (request.reporter == BY_SOURCE) {
    properties.get(names.UPSTREAM_PEER_URI, peerUri);
    if (peerUri.size > 0) properties.get(names.UPSTREAM_LOCAL_URI, localUri);
    else localUri.set(0, 0);
    request.isMutual = false;
    return;
  }
  properties.get(names.DOWNSTREAM_PEER_URI, peerUri);
  request.isMutual = peerUri.size > 0 || (properties.get(names.DOWNSTREAM_PEER_SUBJECT, value) && value.size > 0);
  if (request.isMutual) properties.get(names.DOWNSTREAM_LOCAL_URI, localUri);
  else localUri.set(0, 0);
}

function hashOfRequest(request: Request, seed: u64, clientHash: u64, serverHash: u64): u64 {
  store<u64>(parts, clientHash);
  store<u64>(parts, serverHash, 8);
  store<u64>(parts, request.flags, 16);
  store<u64>(parts, hashOf(service, 1), 24);
  store<u64>(parts, hashOf(peerUri, 2), 32);
  store<u64>(parts, hashOf(localUri, 3), 40);
  store<u32>(parts, request.code, 48);
  const bits = (request.isGrpc ? 256 : 0) | (request.isMutual ? 512 : 0) | (request.isConnection ? 1024 : 0);
  store<u32>(parts, request.reporter | bits, 52);
  store<i64>(parts, request.grpcStatus, 56);
  partsSlice.set(parts, 64);
  return hashOf(partsSlice, seed) | 1;
}

/** Makes the metrics of a series, by the Structs that the two hashes are of. */
function define(
  request: Request,
  traffic: Traffic,
  identity: Identity,
  clientSide: Side,
  clientHash: u64,
  serverSide: Side,
  serverHash: u64,
  ids: usize,
): void {
  client.set(0, 0);
  server.set(0, 0);
  const isSource = request.reporter == BY_SOURCE;
  if (isSource) client.copy(identity.struct);
  else if (clientHash) properties.get(clientSide.struct, client);
  if (request.reporter == BY_DESTINATION) server.copy(identity.struct);
  else if (serverHash) properties.get(serverSide.struct, server);
  request.client = client;
  request.server = server;
  request.peer = isSource ? server : client;
  request.service = service;
  serviceName.set(0, 0);
  serviceNamespace.set(0, 0);
  if (service.size > 0) {
    properties.get(names.SERVICE_NAME, serviceName);
    properties.get(names.SERVICE_NAMESPACE, serviceNamespace);
  }
  request.serviceName = serviceName;
  request.serviceNamespace = serviceNamespace;
  request.peerUri = peerUri;
  request.localUri = localUri;
  defineSeries(request, traffic, ids);
}
