// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { Traffic } from '../config/traffic';
import { OFF } from '../config/verification';
import { add as increment, record } from '../host/metrics';
import * as names from '../host/names';
import * as properties from '../host/properties';
import { hashOf } from '../memory/hash';
import { Slice, sameBytes, slice } from '../memory/slice';
import * as metrics from '../metrics/metrics';
import * as table from '../metrics/table';
import { Identity } from '../own/identity';
import { CLIENT, Peer, SERVER, Side } from '../peers/peer';
import { VERIFIED } from '../peers/verify';
import * as labels from './labels';
import { BY_DESTINATION, BY_SOURCE, defineSeries, Request } from './names';
import * as series from './series';

/**
 * Istio's standard metrics of HTTP requests, each counted once when it is over: istio_requests_total, its duration, and
 * the bytes of request and response, by both workloads.
 */

/** Series beyond the most, for requests whose peers then count as unknown. */
const RESERVE: u32 = 256;

/** Makes room for the series of a configuration; false if there is no memory. */
export function openSeries(traffic: Traffic): bool {
  return series.makeRoom(traffic.maxSeries + RESERVE);
}

const request = changetype<Request>(memory.data(120, 8));
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
  return labels.hashOfLabels(peer.struct, traffic, labels.seedOf(traffic));
}

/** A number that the host knows; 0 if it does not. */
function number(path: Slice): u64 {
  return properties.get(path, value) && value.size == 8 ? load<u64>(value.at) : 0;
}

/**
 * Counts a request that is over. A run of the chain that ended without any answer or reason is none: on_demand, before
 * Envoy 1.40, begins a request anew in that way.
 */
export function countRequest(
  config: Config,
  traffic: Traffic,
  identity: Identity,
  knownClient: u64,
  knownServer: u64,
  reporter: u32,
  isGrpc: bool,
): void {
  const code = <u32>number(names.RESPONSE_CODE);
  const flags = number(names.RESPONSE_FLAGS);
  if (code == 0 && flags == 0) return;
  const seed = labels.seedOf(traffic);
  const own = identity.struct.size > 0 ? labels.hashOfLabels(identity.struct, traffic, seed) : 0;
  const isSource = reporter == BY_SOURCE;
  let clientHash = isSource ? own : metByOthers(knownClient, CLIENT, config, traffic, seed);
  let serverHash = reporter == BY_DESTINATION ? own : metByOthers(knownServer, SERVER, config, traffic, seed);
  readUris(isSource);
  properties.get(names.SERVICE_HOST, service);
  request.reporter = reporter;
  request.code = code;
  request.flags = flags;
  request.isGrpc = isGrpc;
  request.grpcStatus = isGrpc && properties.get(names.GRPC_STATUS, value) && value.size == 8 ? load<i64>(value.at) : -1;
  let ids = series.find(hashOfRequest(seed, clientHash, serverHash));
  if (!ids) {
    let hash = hashOfRequest(seed, clientHash, serverHash);
    ids = series.add(hash, traffic.maxSeries);
    if (!ids) {
      metrics.count(table.TRAFFIC_UNNAMED);
      if (!isSource) clientHash = 0;
      if (reporter != BY_DESTINATION) serverHash = 0;
      peerUri.set(0, 0);
      hash = hashOfRequest(seed, clientHash, serverHash);
      ids = series.find(hash);
      if (!ids) ids = series.add(hash, traffic.maxSeries + RESERVE);
      if (!ids) return;
      if (load<u32>(ids) == 0) define(traffic, identity, clientHash, serverHash, ids);
    } else {
      define(traffic, identity, clientHash, serverHash, ids);
    }
    metrics.set(table.TRAFFIC_SERIES, series.seriesCount());
  }
  const duration = number(names.REQUEST_DURATION);
  increment(load<u32>(ids), 1);
  record(load<u32>(ids, 4), duration / 1000000);
  record(load<u32>(ids, 8), number(names.REQUEST_SIZE));
  record(load<u32>(ids, 12), number(names.RESPONSE_SIZE));
}

/**
 * Who stands on a side whom this stream did not meet: whom filter state names. An earlier run of the chain met the client,
 * or a second filter of ours did; a filter in the cluster meets servers that a listener's filter does not.
 */
function metByOthers(known: u64, side: Side, config: Config, traffic: Traffic, seed: u64): u64 {
  if (known) return known;
  if (!readStruct(side, client) || client.size == 0) return 0;
  if (config.verification.mode != OFF) {
    if (!properties.get(side.verified, verdict) || !sameBytes(verdict, names.VERIFIED_TEXT)) return 0;
  }
  return labels.hashOfLabels(client, traffic, seed);
}

function readStruct(side: Side, struct: Slice): bool {
  return properties.get(side.struct, struct);
}

/**
 * Reads whom the certificates of the connection name: at the server that of both sides, at the client nothing is sure. A
 * certificate without a URI names nobody, and the connection is one of mTLS all the same.
 */
function readUris(isSource: bool): void {
  if (isSource) {
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

function hashOfRequest(seed: u64, clientHash: u64, serverHash: u64): u64 {
  store<u64>(parts, clientHash);
  store<u64>(parts, serverHash, 8);
  store<u64>(parts, request.flags, 16);
  store<u64>(parts, hashOf(service, 1), 24);
  store<u64>(parts, hashOf(peerUri, 2), 32);
  store<u64>(parts, hashOf(localUri, 3), 40);
  store<u32>(parts, request.code, 48);
  store<u32>(parts, request.reporter | (request.isGrpc ? 256 : 0) | (request.isMutual ? 512 : 0), 52);
  store<i64>(parts, request.grpcStatus, 56);
  partsSlice.set(parts, 64);
  return hashOf(partsSlice, seed) | 1;
}

/** Makes the metrics of a series, by the Structs that the two hashes are of. */
function define(traffic: Traffic, identity: Identity, clientHash: u64, serverHash: u64, ids: usize): void {
  client.set(0, 0);
  server.set(0, 0);
  const isSource = request.reporter == BY_SOURCE;
  if (isSource) client.copy(identity.struct);
  else if (clientHash) readStruct(CLIENT, client);
  if (request.reporter == BY_DESTINATION) server.copy(identity.struct);
  else if (serverHash) readStruct(SERVER, server);
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
