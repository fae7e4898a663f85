// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  Context,
  FilterHeadersStatusValues,
  LogLevelValues,
  log,
  RootContext,
  registerRootContext,
  stream_context,
} from '@solo-io/proxy-runtime/assembly';
import { get_property, set_property } from '@solo-io/proxy-runtime/assembly/runtime';
import { declareString, declareStruct } from './declare';
import { Identity, readIdentity } from './node';
import { Peers } from './peers';

/**
 * Peer metadata exchange with @solo-io/proxy-runtime, as its README teaches: its contexts, its strings, its headers.
 * The benchmark compares the project's own filter with it. Only what would end the VM is avoided: its `onConfigure`,
 * properties that are not there, and as-base64's decoder on what is not base64.
 */

export * from '@solo-io/proxy-runtime/assembly/proxy';

const METADATA_HEADER = 'x-istio-peer-metadata';
const ID_HEADER = 'x-istio-peer-id';

const DOWNSTREAM = 'envoy.wasm.metadata_exchange.downstream';
const DOWNSTREAM_ID = 'envoy.wasm.metadata_exchange.downstream_id';
const UPSTREAM = 'envoy.wasm.metadata_exchange.upstream';
const UPSTREAM_ID = 'envoy.wasm.metadata_exchange.upstream_id';

/** Values of envoy.config.core.v3.TrafficDirection. */
const INBOUND: u64 = 1;
const OUTBOUND: u64 = 2;

class ExchangeRoot extends RootContext {
  own: Identity = new Identity();
  peers: Peers = new Peers();

  createContext(context_id: u32): Context {
    return new Exchange(context_id, this);
  }

  onConfigure(_configuration_size: u32): bool {
    const own = readIdentity(get_property('xds\0node'));
    if (!own) {
      log(LogLevelValues.error, 'the host does not say which node this is');
      return false;
    }
    this.own = own;
    declareStruct(DOWNSTREAM);
    declareString(DOWNSTREAM_ID);
    declareStruct(UPSTREAM);
    declareString(UPSTREAM_ID);
    return true;
  }
}

class Exchange extends Context {
  private root: ExchangeRoot;
  private direction: u64 = 0;
  private hadMetadata: bool = false;
  private hadId: bool = false;

  constructor(context_id: u32, root_context: ExchangeRoot) {
    super(context_id, root_context);
    this.root = root_context;
  }

  onRequestHeaders(_headers: u32, _end_of_stream: bool): FilterHeadersStatusValues {
    const request = stream_context.headers.request;
    const own = this.root.own;
    this.direction = listenerDirection();
    if (this.direction != OUTBOUND) {
      // The SDK does not tell an empty header from an absent one.
      const metadata = request.get(METADATA_HEADER);
      const id = request.get(ID_HEADER);
      this.hadMetadata = metadata != '';
      this.hadId = id != '';
      this.publish(metadata, DOWNSTREAM, id, DOWNSTREAM_ID);
      request.remove(METADATA_HEADER);
      request.remove(ID_HEADER);
    }
    if (this.direction != INBOUND) {
      if (own.metadata != '') request.replace(METADATA_HEADER, own.metadata);
      else request.remove(METADATA_HEADER);
      request.replace(ID_HEADER, own.id);
    }
    return FilterHeadersStatusValues.Continue;
  }

  onResponseHeaders(_headers: u32, _end_of_stream: bool): FilterHeadersStatusValues {
    const response = stream_context.headers.response;
    const own = this.root.own;
    if (this.direction != INBOUND) {
      this.publish(response.get(METADATA_HEADER), UPSTREAM, response.get(ID_HEADER), UPSTREAM_ID);
    }
    if (this.hadMetadata && own.metadata != '') response.replace(METADATA_HEADER, own.metadata);
    else response.remove(METADATA_HEADER);
    if (this.hadId) response.replace(ID_HEADER, own.id);
    else response.remove(ID_HEADER);
    return FilterHeadersStatusValues.Continue;
  }

  /** Passes on to other filters what the peer says of itself. */
  private publish(metadata: string, name: string, id: string, idName: string): void {
    const struct = this.root.peers.decode(metadata);
    if (struct) set_property(name, struct);
    if (id != '') set_property(idName, String.UTF8.encode(id));
  }
}

function listenerDirection(): u64 {
  const value = get_property('xds\0listener_direction');
  return value.byteLength == 8 ? load<u64>(changetype<usize>(value)) : 0;
}

registerRootContext((context_id: u32) => new ExchangeRoot(context_id), 'metadata_exchange');
