// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf, sizeOf } from '../memory/ascii';
import { allocate } from '../memory/blocks';
import { SLICE_SIZE, Slice, slice } from '../memory/slice';

/**
 * Names that the host wants as bytes, made when the module starts.
 */

/** The bytes of a text, kept for as long as the module lives. */
export function name(text: Ascii): Slice {
  const bytes = slice(allocate(SLICE_SIZE));
  bytes.set(bytesOf(text), sizeOf(text));
  return bytes;
}

/** What is read from the host. The parts of a property's path are separated by NUL. */
export const NODE: Slice = name('xds\0node');
export const OLD_NODE: Slice = name('node');
export const NODE_ID: Slice = name('xds\0node\0id');
export const NODE_CLUSTER: Slice = name('xds\0node\0cluster');
export const LISTENER_DIRECTION: Slice = name('xds\0listener_direction');
export const OLD_LISTENER_DIRECTION: Slice = name('listener_direction');

export const VM_ID: Slice = name('plugin_vm_id');
/** The network that this node is in, as Istio's agent writes it. */
export const NODE_NETWORK: Slice = name('xds\0node\0metadata\0NETWORK');

/** Addresses of both sides, as text: IP and port, a path, or an internal listener's name. */
export const SOURCE_ADDRESS: Slice = name('source\0address');
export const UPSTREAM_ADDRESS: Slice = name('upstream\0address');
/** Of an internal listener's endpoint: where the connection goes behind it, and whether that is another network's gateway. */
export const ORIGINAL_DESTINATION: Slice = name(
  'xds\0upstream_host_metadata\0filter_metadata\0envoy.filters.listener.original_dst\0local',
);
export const DOUBLE_HBONE: Slice = name('xds\0upstream_host_metadata\0filter_metadata\0istio\0double_hbone');
/** A request that came through a gateway of another network has this header. */
export const FORWARDED_NETWORK: Slice = name('x-forwarded-network');

/** Of the cluster that a request goes to: its name, and what Istio says of it. */
export const CLUSTER_NAME: Slice = name('xds\0cluster_name');
export const CLUSTER_EXTERNAL: Slice = name('xds\0cluster_metadata\0filter_metadata\0istio\0external');
export const CLUSTER_DISABLED: Slice = name('xds\0cluster_metadata\0filter_metadata\0istio\0disable_mx');

/** Of the endpoint that a request went to: who it is, as Istio's control plane says it. */
export const ENDPOINT_WORKLOAD: Slice = name('xds\0upstream_host_metadata\0filter_metadata\0istio\0workload');

/** Of an endpoint: whether who is there reads a preface. It is written by whoever configures the cluster. */
export const ENDPOINT_PREFACE: Slice = name(
  'xds\0upstream_host_metadata\0filter_metadata\0envoy.wasm.metadata_exchange\0preface',
);

/** Of a connection, at any time: bytes from the client, and bytes to it. */
export const RECEIVED_BYTES: Slice = name('request\0size');
export const SENT_BYTES: Slice = name('response\0size');

/** Of a request that is over. */
export const RESPONSE_CODE: Slice = name('response\0code');
export const RESPONSE_FLAGS: Slice = name('response\0flags');
export const GRPC_STATUS: Slice = name('response\0grpc_status');
export const REQUEST_DURATION: Slice = name('request\0duration');
export const REQUEST_SIZE: Slice = name('request\0total_size');
export const RESPONSE_SIZE: Slice = name('response\0total_size');
/** Of its cluster: the service that istiod made it for. */
export const SERVICE_HOST: Slice = name('xds\0cluster_metadata\0filter_metadata\0istio\0services\x000\0host');
export const SERVICE_NAME: Slice = name('xds\0cluster_metadata\0filter_metadata\0istio\0services\x000\0name');
export const SERVICE_NAMESPACE: Slice = name('xds\0cluster_metadata\0filter_metadata\0istio\0services\x000\0namespace');
export const CONTENT_TYPE: Slice = name('content-type');

/** What is written: Envoy keeps `KEY` as the filter state object `wasm.KEY`. */
export const DOWNSTREAM: Slice = name('envoy.wasm.metadata_exchange.downstream');
export const DOWNSTREAM_ID: Slice = name('envoy.wasm.metadata_exchange.downstream_id');
export const UPSTREAM: Slice = name('envoy.wasm.metadata_exchange.upstream');
export const UPSTREAM_ID: Slice = name('envoy.wasm.metadata_exchange.upstream_id');

/** The same of a connection: an object that a filter of the connection wrote is one for all its requests. */
export const CONNECTION_DOWNSTREAM: Slice = name('envoy.wasm.metadata_exchange.connection.downstream');
export const CONNECTION_DOWNSTREAM_ID: Slice = name('envoy.wasm.metadata_exchange.connection.downstream_id');
export const CONNECTION_UPSTREAM: Slice = name('envoy.wasm.metadata_exchange.connection.upstream');
export const CONNECTION_UPSTREAM_ID: Slice = name('envoy.wasm.metadata_exchange.connection.upstream_id');
/** Whose preface went where: written by the first filter of ours in a chain, so that a second one sends none. */
export const CONNECTION_PREFACES: Slice = name('envoy.wasm.metadata_exchange.connection.prefaces');

/** https://www.w3.org/TR/baggage */
export const BAGGAGE_HEADER: Slice = name('baggage');

/** Whether a peer's claims agree with its certificate, and what is said of it. */
export const DOWNSTREAM_VERIFIED: Slice = name('envoy.wasm.metadata_exchange.downstream_verified');
export const UPSTREAM_VERIFIED: Slice = name('envoy.wasm.metadata_exchange.upstream_verified');
export const CONNECTION_DOWNSTREAM_VERIFIED: Slice = name(
  'envoy.wasm.metadata_exchange.connection.downstream_verified',
);
export const CONNECTION_UPSTREAM_VERIFIED: Slice = name('envoy.wasm.metadata_exchange.connection.upstream_verified');
export const VERIFIED_TEXT: Slice = name('verified');
export const UNVERIFIED_TEXT: Slice = name('unverified');
export const MISMATCH_TEXT: Slice = name('mismatch');

/** The first URI in the certificates of both sides of a connection. */
export const DOWNSTREAM_PEER_SUBJECT: Slice = name('connection\0subject_peer_certificate');
export const DOWNSTREAM_PEER_URI: Slice = name('connection\0uri_san_peer_certificate');
export const DOWNSTREAM_LOCAL_URI: Slice = name('connection\0uri_san_local_certificate');
export const UPSTREAM_PEER_URI: Slice = name('upstream\0uri_san_peer_certificate');
export const UPSTREAM_LOCAL_URI: Slice = name('upstream\0uri_san_local_certificate');

/** What is called by name. */
export const DECLARE_PROPERTY: Slice = name('declare_property');
export const STRUCT_SCHEMA: Slice = name('type.googleapis.com/google.protobuf.Struct');
