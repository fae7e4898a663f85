// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Traffic } from '../config/traffic';
import { COUNTER, define, HISTOGRAM } from '../host/metrics';
import { take } from '../memory/arena';
import { Ascii } from '../memory/ascii';
import { allocate } from '../memory/blocks';
import { Slice, slice } from '../memory/slice';
import { Text } from '../memory/text';
import { findText } from '../wire/path';
import { addFlags } from './flags';
import * as labels from './labels';

/**
 * Names of metrics, written so that Envoy's `stats_tags` make labels of what stands before the metric's own name; Istio's
 * bootstrap has the rules, and envoy/stats_tags.yaml has them for others.
 *
 *     reporter=.=destination;.;source_workload=.=productpage-v1;.; ... istio_requests_total
 *
 * A value with `;` or `=.` could end its label, or begin another one: these bytes become `_`.
 */

/** Who reports: the client's proxy, the server's, or one in the middle, which Istio calls a waypoint. */
export const BY_SOURCE: u32 = 1;
export const BY_DESTINATION: u32 = 2;
export const BY_WAYPOINT: u32 = 3;

/** What a series is of: requests, or connections. */
@unmanaged
export class Request {
  flags: u64;
  /** -1: it is not gRPC, or ended without a status. */
  grpcStatus: i64;
  reporter: u32;
  code: u32;
  isGrpc: bool;
  isConnection: bool;
  /** Whether the client showed a certificate; at the client nobody asks. */
  isMutual: bool;
  /** The Structs of both sides, and which of them is the peer; size 0: unknown. */
  client: Slice;
  server: Slice;
  peer: Slice;
  /** The service that was asked, as the control plane names it: its host; size 0: it does not. */
  service: Slice;
  serviceName: Slice;
  serviceNamespace: Slice;
  /** The SPIFFE URIs of both certificates; size 0: none. */
  peerUri: Slice;
  localUri: Slice;
}

/** A request, or a connection, that can be filled again and again: for module variables only. */
export function newRequest(isConnection: bool): Request {
  const at = allocate(offsetof<Request>());
  memory.fill(at, 0, offsetof<Request>());
  const request = changetype<Request>(at);
  request.grpcStatus = -1;
  request.isConnection = isConnection;
  return request;
}

const ROOM: u32 = 16384;
const line = changetype<Text>(memory.data(12, 4));
const name = slice(memory.data(8, 4));
const value = slice(memory.data(8, 4));
const other = slice(memory.data(8, 4));

/** Defines the four metrics of a series, and writes their ids to `ids`. */
export function defineSeries(request: Request, traffic: Traffic, ids: usize): void {
  const room = take(ROOM);
  if (!room) return;
  line.open(room, ROOM);
  const isSource = request.reporter == BY_SOURCE;
  // Before Istio's: the rule for `app` would find its own in `source_app`.
  let label = traffic.labels;
  while (label) {
    findText(request.peer, label.path, value);
    line.addBytes(label.name.at, label.name.size);
    line.add('=.=');
    putValue(value);
    label = label.next;
  }
  put('reporter', isSource ? 'source' : request.reporter == BY_DESTINATION ? 'destination' : 'waypoint');
  putWorkload('source', request.client, isSource ? request.localUri : request.peerUri);
  putWorkload('destination', request.server, isSource ? request.peerUri : request.localUri);
  putService(request);
  put('request_protocol', request.isConnection ? 'tcp' : request.isGrpc ? 'grpc' : 'http');
  if (!request.isConnection) putCodes(request);
  begin('response_flags');
  addFlags(line, request.flags);
  end();
  // As in Istio, a client does not say how its server saw the connection.
  put('connection_security_policy', isSource ? 'unknown' : request.isMutual ? 'mutual_tls' : 'none');
  const size = line.size;
  if (request.isConnection) {
    defineAs('istio_tcp_connections_opened_total', COUNTER, size, ids);
    defineAs('istio_tcp_connections_closed_total', COUNTER, size, ids + 4);
    defineAs('istio_tcp_sent_bytes_total', COUNTER, size, ids + 8);
    defineAs('istio_tcp_received_bytes_total', COUNTER, size, ids + 12);
    return;
  }
  defineAs('istio_requests_total', COUNTER, size, ids);
  defineAs('istio_request_duration_milliseconds', HISTOGRAM, size, ids + 4);
  defineAs('istio_request_bytes', HISTOGRAM, size, ids + 8);
  defineAs('istio_response_bytes', HISTOGRAM, size, ids + 12);
}

function putCodes(request: Request): void {
  begin('response_code');
  line.addNumber(request.code);
  end();
  begin('grpc_response_status');
  if (request.grpcStatus >= 0) line.addNumber(<u32>request.grpcStatus);
  end();
}

function defineAs(metric: Ascii, type: i32, size: u32, id: usize): void {
  line.size = size;
  line.add(metric);
  name.set(line.at, line.size);
  store<u32>(id, define(type, name));
}

function begin(label: Ascii): void {
  line.add(label);
  line.add('=.=');
}

function end(): void {
  line.add(';.;');
}

function put(label: Ascii, text: Ascii): void {
  begin(label);
  line.add(text);
  end();
}

/**
 * Writes a value that somebody else chose, and ends its label. A long one is cut off, and never within a letter:
 * Prometheus refuses a page that is not UTF-8 as a whole.
 */
function putValue(text: Slice): void {
  const start = line.at + line.size;
  if (text.size == 0) line.add('unknown');
  else line.addBytes(text.at, text.size > LONGEST_VALUE ? endOfLetter(text, LONGEST_VALUE) : text.size);
  for (let at = start; at < line.at + line.size; at++) {
    const byte = load<u8>(at);
    const isBegin = byte == 0x3d && at + 1 < line.at + line.size && load<u8>(at, 1) == 0x2e;
    if (byte == 0x3b || isBegin) store<u8>(at, 0x5f);
  }
  end();
}

const LONGEST_VALUE: u32 = 253;

/** How many bytes of a text, at the most so many, end with a whole letter. */
function endOfLetter(text: Slice, most: u32): u32 {
  let size = most;
  while (size > 0 && (load<u8>(text.at + size) & 0xc0) == 0x80) size--;
  return size;
}

/** Writes the labels of one side. */
function putWorkload(side: Ascii, struct: Slice, uri: Slice): void {
  for (let number: u32 = 0; number < labels.LABELS; number++) {
    line.add(side);
    line.add(suffixOf(number));
    line.add('=.=');
    value.set(0, 0);
    if (struct.size > 0) labels.find(struct, number, value);
    putValue(value);
  }
  line.add(side);
  line.add('_principal=.=');
  putValue(uri);
}

function suffixOf(number: u32): Ascii {
  if (number == labels.WORKLOAD) return '_workload';
  if (number == labels.NAMESPACE) return '_workload_namespace';
  if (number == labels.SERVICE) return '_canonical_service';
  if (number == labels.REVISION) return '_canonical_revision';
  if (number == labels.APP) return '_app';
  return number == labels.VERSION ? '_version' : '_cluster';
}

/**
 * Writes which service was asked: the one that istiod writes into the cluster's metadata, or else the server's canonical
 * service. Never what a client wrote into its request.
 */
function putService(request: Request): void {
  value.set(0, 0);
  other.set(0, 0);
  if (request.server.size > 0) {
    labels.find(request.server, labels.SERVICE, value);
    labels.find(request.server, labels.NAMESPACE, other);
  }
  begin('destination_service');
  if (request.service.size > 0) {
    putValue(request.service);
    value.copy(request.service);
    if (request.serviceName.size > 0) value.copy(request.serviceName);
    if (request.serviceNamespace.size > 0) other.copy(request.serviceNamespace);
  } else if (value.size > 0 && other.size > 0) {
    putValue(value);
    line.size -= 3;
    line.add('.');
    putValue(other);
    line.size -= 3;
    line.add('.svc.cluster.local');
    end();
  } else {
    putValue(value);
  }
  begin('destination_service_name');
  putValue(value);
  begin('destination_service_namespace');
  putValue(other);
}
