// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Config } from '../config/config';
import { Traffic } from '../config/traffic';
import { add } from '../host/metrics';
import * as names from '../host/names';
import { Identity } from '../own/identity';
import { CONNECTION_CLIENT, CONNECTION_SERVER } from '../peers/peer';
import { newRequest } from './names';
import { number, seriesOf } from './series_of';

/**
 * Istio's standard metrics of connections: how many were opened and closed, and the bytes both ways, by both workloads. A
 * connection is counted when it ends, and while it is open again and again, each time with what came since.
 */

/** What of a connection is counted already. */
@unmanaged
export class Count {
  /** Where the ids of its metrics stand; 0: it is not counted yet. Whom it was counted for then is no more changed. */
  ids: usize;
  /** The response flags that it was counted with. */
  flags: u64;
  received: u64;
  sent: u64;
  /** Bytes of prefaces: the host counts all that the client's connection carries. */
  receivedBeside: u64;
  sentBeside: u64;
}

const request = newRequest(true);

/** Counts what of a connection was not counted yet; `isOver`: it has ended. */
export function countConnection(
  count: Count,
  config: Config,
  traffic: Traffic,
  identity: Identity,
  knownClient: u64,
  knownServer: u64,
  reporter: u32,
  isOver: bool,
): void {
  request.reporter = reporter;
  request.flags = number(names.RESPONSE_FLAGS);
  let ids = count.ids;
  if (!ids || request.flags != count.flags) {
    ids = seriesOf(request, config, traffic, identity, CONNECTION_CLIENT, knownClient, CONNECTION_SERVER, knownServer);
    if (!ids) return;
    if (!count.ids) add(load<u32>(ids), 1);
    count.ids = ids;
    count.flags = request.flags;
  }
  if (isOver) add(load<u32>(ids, 4), 1);
  count.sent = addSince(load<u32>(ids, 8), number(names.SENT_BYTES), count.sentBeside, count.sent);
  count.received = addSince(load<u32>(ids, 12), number(names.RECEIVED_BYTES), count.receivedBeside, count.received);
}

/** Adds what came since the last time to a metric; the answer is what is counted now. */
function addSince(metric: u32, bytes: u64, beside: u64, before: u64): u64 {
  if (bytes <= beside || bytes - beside <= before) return before;
  add(metric, bytes - beside - before);
  return bytes - beside;
}
