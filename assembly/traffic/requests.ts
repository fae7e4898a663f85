// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { Traffic } from '../config/traffic';
import { add, record } from '../host/metrics';
import * as names from '../host/names';
import * as properties from '../host/properties';
import { slice } from '../memory/slice';
import { Identity } from '../own/identity';
import { CLIENT, SERVER } from '../peers/peer';
import { newRequest } from './names';
import { number, seriesOf } from './series_of';

/**
 * Istio's standard metrics of HTTP requests, each counted once when it is over: istio_requests_total, its duration, and
 * the bytes of request and response, by both workloads.
 */

const request = newRequest(false);
const status = slice(memory.data(8, 4));

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
  request.code = <u32>number(names.RESPONSE_CODE);
  request.flags = number(names.RESPONSE_FLAGS);
  if (request.code == 0 && request.flags == 0) return;
  request.reporter = reporter;
  request.isGrpc = isGrpc;
  const hasStatus = isGrpc && properties.get(names.GRPC_STATUS, status) && status.size == 8;
  request.grpcStatus = hasStatus ? load<i64>(status.at) : -1;
  const ids = seriesOf(request, config, traffic, identity, CLIENT, knownClient, SERVER, knownServer);
  if (!ids) return;
  const duration = number(names.REQUEST_DURATION);
  add(load<u32>(ids), 1);
  record(load<u32>(ids, 4), duration / 1000000);
  record(load<u32>(ids, 8), number(names.REQUEST_SIZE));
  record(load<u32>(ids, 12), number(names.RESPONSE_SIZE));
}
