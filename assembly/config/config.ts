// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { LONGEST_CLUSTER } from '../host/grpc';
import * as log from '../host/log';
import { name } from '../host/names';
import { reserve } from '../memory/arena';
import { isText } from '../memory/ascii';
import { allocateFor } from '../memory/blocks';
import { Slice, sameBytes, slice } from '../memory/slice';
import { Text } from '../memory/text';
import * as json from '../wire/json';
import { looksLikeStruct, roomForJson, toJson } from '../wire/struct_json';
import { Application, isConsistent, readApplication } from './application';
import { isEnvelope } from './envelope';
import * as idle from './idle';
import * as lists from './lists';
import { Lists, usesDiscovery } from './lists';
import { PlainFields } from './plain';
import { readPreface } from './preface';
import {
  begin,
  expect,
  isNamed,
  isNew,
  isWellFormed,
  keepRoom,
  kept,
  key,
  malformed,
  REFUSED,
  readAnyText,
  readBool,
  readHeaderName,
  readNumber,
  readShortText,
  readText,
  readTexts,
  refuse,
  refuseType,
  skipNull,
  step,
  stepBack,
  Texts,
  UNKNOWN,
} from './reader';
import { readTraffic, Traffic } from './traffic';
import { ALL_CLAIMS, readVerification, Verification } from './verification';

/**
 * The plugin's configuration: JSON, as text, as a google.protobuf.Struct or as an xds.type.v3.TypedStruct. Its shape is
 * that of Istio's native filter (io.istio.http.peer_metadata.Config), with fields of our own beside it.
 * docs/configuration.schema.json describes it.
 */

@unmanaged
export class Config {
  /** The header that carries metadata. */
  metadataHeader: Slice;
  /** The header that carries the node's key. */
  idHeader: Slice;
  /** Under which name filter state keeps what the first run decided (runs.ts): one for each pair of headers. */
  firstRun: Slice;
  /** Where in the node's metadata our own stands; empty: all of it is. */
  metadataKey: Slice;
  /** Whether the node's cluster, and not its id, is what we call ourselves. */
  usesCluster: bool;
  /** What streams do; null: by the direction of their listener. */
  lists: Lists | null;
  /** The most bytes of a header's value, a peer's and our id. */
  maxHeaderSize: u32;
  /** The most bytes of our own metadata as a header. */
  maxOwnSize: u32;
  /** The most peers that are kept; 0: none. */
  maxPeerCacheSize: u32;
  /** The paths of the fields that are sent; null: all are. */
  fields: Texts | null;
  /** The paths of the fields that are published as strings of their own; null: none are. */
  publishFields: Texts | null;
  /** The same, as the VM knows them (plain.ts); null: none. */
  plain: PlainFields | null;
  /** Whether the headers are Istio's and the own metadata is made as Istio's native filter makes it (own/istio.ts). */
  speaksIstio: bool;
  /** Labels that are sent beside those that Istio's dialect has. */
  labels: Texts | null;
  /** To whom connections say who we are (preface.ts). */
  preface: i32;
  /** Whether requests are counted by peer, and how; null: they are not. */
  traffic: Traffic | null;
  /** The cluster that workload discovery asks; null: it is not used. */
  discoveryCluster: Slice | null;
  /** Where its records stand for this node (discovery/store.ts), and the node's network. */
  discoveryScope: u64;
  network: Slice;
  /** How the application is told who its client is; null: it is not. */
  application: Application | null;
  /** What of a peer's claims is compared with its certificate, and what follows. */
  verification: Verification;
}

const DEFAULT_METADATA_HEADER: Slice = name('x-istio-peer-metadata');
const DEFAULT_ID_HEADER: Slice = name('x-istio-peer-id');
const ISTIO_METADATA_HEADER: Slice = name('x-envoy-peer-metadata');
const ISTIO_ID_HEADER: Slice = name('x-envoy-peer-metadata-id');
const DEFAULT_METADATA_KEY: Slice = name('istio.io/metadata');

/**
 * What is sent where nothing is said of it, less than what is received: HPACK's table has 4 kB, and a header that does
 * not fit into it beside the others goes whole with every request. Servers of gRPC count 8 KiB for all headers.
 */
const DEFAULT_OWN_SIZE: u32 = 3072;

const text = slice(memory.data(8, 4));
const content = slice(memory.data(8, 4));

/**
 * Reads a configuration, and keeps it for as long as `owner` lives (memory/blocks.ts). An empty text is the default
 * configuration. If anything is wrong, the reason is logged, with the field's path and the offset in bytes, and the
 * answer is null.
 */
export function readConfig(source: Slice, owner: usize): Config | null {
  const size = offsetof<Config>() + offsetof<Verification>();
  const at = allocateFor(owner, size);
  if (!at) {
    log.noMemory();
    return null;
  }
  begin(source, owner);
  idle.begin();
  const config = changetype<Config>(at);
  memory.fill(at, 0, size);
  config.verification = changetype<Verification>(at + offsetof<Config>());
  config.verification.claims = ALL_CLAIMS;
  config.metadataHeader = DEFAULT_METADATA_HEADER;
  config.idHeader = DEFAULT_ID_HEADER;
  config.metadataKey = DEFAULT_METADATA_KEY;
  config.maxHeaderSize = 8192;
  config.maxOwnSize = DEFAULT_OWN_SIZE;
  config.maxPeerCacheSize = 500;
  if (source.size > 0 && !readSource(config, source, owner)) return null;
  if (!config.discoveryCluster && config.lists && usesDiscovery(changetype<Lists>(config.lists))) {
    config.discoveryCluster = DEFAULT_CLUSTER;
  }
  if (!nameFirstRun(config)) {
    log.noMemory();
    return null;
  }
  idle.warn();
  return config;
}

function readSource(config: Config, source: Slice, owner: usize): bool {
  let isStruct = looksLikeStruct(source);
  if (!isStruct && isEnvelope(source, text, content)) {
    if (content.size == 0) return true;
    isStruct = looksLikeStruct(content);
    if (!isStruct) return refuseType(text);
    source.copy(content);
  }
  if (isStruct) {
    if (!reserve(roomForJson(source.size) * 2) || !toJson(source, source)) return false;
    begin(source, owner);
  } else if (isBinary(source)) {
    return refuse(0, 'is neither JSON nor a Struct nor a TypedStruct: it is a message of another type');
  }
  if (!readFields(config) || !(json.finish() || malformed())) return false;
  if (config.speaksIstio) speakIstio(config);
  // A list of what to leave out would be wrong for the next control plane, and tell everybody its secrets.
  if (config.metadataKey.size == 0 && !config.fields) {
    return refuse(0, 'metadata_key "" means the whole node, and only with metadata_fields, that say what may leave');
  }
  if (sameBytes(config.metadataHeader, config.idHeader)) {
    return refuse(0, 'headers.metadata and headers.id must be two different headers');
  }
  return isConsistent(config);
}

/** Whether bytes are no text: a control character stands at their begin that JSON does not have there. */
function isBinary(bytes: Slice): bool {
  return isControl(load<u8>(bytes.at)) || (bytes.size > 1 && isControl(load<u8>(bytes.at, 1)));
}

/** Whether a byte is a control character, and none of those that JSON takes as space. */
function isControl(byte: u32): bool {
  return byte < 0x20 && byte != 0x09 && byte != 0x0a && byte != 0x0d;
}

const FIRST_RUN: Slice = name('envoy.wasm.metadata_exchange.first_run.');

/** Names the filter state of first runs: the same for configurations with the same two headers. */
function nameFirstRun(config: Config): bool {
  const room = FIRST_RUN.size + 8;
  const at = keepRoom(offsetof<Slice>() + offsetof<Text>() + room);
  if (!at) return log.noMemory();
  const line = changetype<Text>(at + offsetof<Slice>());
  line.open(at + offsetof<Slice>() + offsetof<Text>(), room);
  line.addBytes(FIRST_RUN.at, FIRST_RUN.size);
  line.addHex(mixed(mixed(2166136261, config.metadataHeader), config.idHeader));
  config.firstRun = slice(at);
  config.firstRun.set(line.at, line.size);
  return true;
}

/** FNV-1a over bytes and one more, that ends them. */
function mixed(hash: u32, bytes: Slice): u32 {
  for (let at = bytes.at; at < bytes.end(); at++) hash = (hash ^ load<u8>(at)) * 16777619;
  return (hash ^ 0xff) * 16777619;
}

/** Where no other headers are named, Istio's are meant. */
function speakIstio(config: Config): void {
  if (config.metadataHeader == DEFAULT_METADATA_HEADER) config.metadataHeader = ISTIO_METADATA_HEADER;
  if (config.idHeader == DEFAULT_ID_HEADER) config.idHeader = ISTIO_ID_HEADER;
}

function readFields(config: Config): bool {
  if (!expect(json.OBJECT)) return false;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    const field = fieldNumber();
    if (!isNew(field, seen)) return false;
    seen |= 1 << field;
    if (!skipNull() && !readField(config, field)) return false;
    stepBack(size);
  }
  return isWellFormed();
}

const HEADERS: u32 = 1;
const METADATA_KEY: u32 = 2;
const NODE_KEY: u32 = 3;
const DOWNSTREAM_DISCOVERY: u32 = 4;
const UPSTREAM_DISCOVERY: u32 = 5;
const DOWNSTREAM_PROPAGATION: u32 = 6;
const UPSTREAM_PROPAGATION: u32 = 7;
const MAX_HEADER_SIZE: u32 = 8;
const MAX_PEER_CACHE_SIZE: u32 = 9;
const METADATA_FIELDS: u32 = 10;
const DIALECT: u32 = 11;
const ADDITIONAL_LABELS: u32 = 12;
const SHARED_WITH_UPSTREAM: u32 = 13;
const VERIFY_PEER: u32 = 14;
const PUBLISH_FIELDS: u32 = 15;
const WORKLOAD_DISCOVERY: u32 = 16;
const METRICS: u32 = 17;
const PREFACE: u32 = 18;
const TELL_APPLICATION: u32 = 19;

function fieldNumber(): u32 {
  if (isText(key, 'headers')) return HEADERS;
  if (isNamed('metadata_key')) return METADATA_KEY;
  if (isNamed('node_key')) return NODE_KEY;
  if (isNamed('downstream_discovery')) return DOWNSTREAM_DISCOVERY;
  if (isNamed('upstream_discovery')) return UPSTREAM_DISCOVERY;
  if (isNamed('downstream_propagation')) return DOWNSTREAM_PROPAGATION;
  if (isNamed('upstream_propagation')) return UPSTREAM_PROPAGATION;
  if (isNamed('max_header_size')) return MAX_HEADER_SIZE;
  if (isNamed('max_peer_cache_size')) return MAX_PEER_CACHE_SIZE;
  if (isNamed('metadata_fields')) return METADATA_FIELDS;
  if (isText(key, 'dialect')) return DIALECT;
  if (isNamed('additional_labels')) return ADDITIONAL_LABELS;
  if (isNamed('shared_with_upstream')) return SHARED_WITH_UPSTREAM;
  if (isNamed('verify_peer')) return VERIFY_PEER;
  if (isNamed('publish_fields')) return PUBLISH_FIELDS;
  if (isNamed('workload_discovery')) return WORKLOAD_DISCOVERY;
  if (isText(key, 'metrics')) return METRICS;
  if (isText(key, 'preface')) return PREFACE;
  if (isNamed('tell_application')) return TELL_APPLICATION;
  return UNKNOWN;
}

function readField(config: Config, field: u32): bool {
  const offset = json.offset();
  if (field == HEADERS) return readHeaders(config);
  if (field == METADATA_KEY) {
    if (!readAnyText(text)) return false;
    const copy = kept(text);
    if (!copy) return false;
    config.metadataKey = copy;
    return true;
  }
  if (field == NODE_KEY) {
    if (!readText(text)) return false;
    config.usesCluster = isText(text, 'cluster');
    return config.usesCluster || isText(text, 'id') || refuse(offset, 'must be "id" or "cluster"');
  }
  if (field == MAX_HEADER_SIZE) {
    const number = readNumber(1, 65536);
    config.maxHeaderSize = number;
    config.maxOwnSize = number;
    return number != REFUSED;
  }
  if (field == MAX_PEER_CACHE_SIZE) {
    const number = readNumber(0, 4096);
    config.maxPeerCacheSize = number;
    return number != REFUSED;
  }
  if (field == METADATA_FIELDS) {
    config.fields = readTexts();
    return config.fields != null;
  }
  if (field == PUBLISH_FIELDS) {
    config.publishFields = readTexts(MOST_PUBLISHED, LONGEST_PUBLISHED);
    return config.publishFields != null;
  }
  if (field == ADDITIONAL_LABELS) {
    config.labels = readTexts();
    return config.labels != null;
  }
  if (field == DIALECT) {
    if (!readText(text)) return false;
    config.speaksIstio = isText(text, 'istio');
    return config.speaksIstio || isText(text, 'generic') || refuse(offset, 'must be "generic" or "istio"');
  }
  if (field == WORKLOAD_DISCOVERY) return readDiscovery(config);
  if (field == METRICS) {
    config.traffic = readTraffic();
    return config.traffic != null;
  }
  if (field == PREFACE) {
    config.preface = readPreface();
    return config.preface != REFUSED;
  }
  if (field == TELL_APPLICATION) return readApplication(config);
  if (field == VERIFY_PEER) return readVerification(config.verification);
  if (field == SHARED_WITH_UPSTREAM) {
    const isTrue = readBool();
    if (isTrue == 1) idle.note(idle.SHARED_WITH_UPSTREAM);
    return isTrue != REFUSED;
  }
  return readMethods(config, field - DOWNSTREAM_DISCOVERY);
}

/** Reads a list of methods. As soon as one list is there, even an empty one, the lists alone decide what streams do. */
function readMethods(config: Config, number: u32): bool {
  if (!config.lists) {
    const at = keepRoom(offsetof<Lists>());
    if (!at) return refuse(json.offset(), 'does not fit into memory');
    memory.fill(at, 0, offsetof<Lists>());
    config.lists = changetype<Lists>(at);
  }
  return lists.readList(changetype<Lists>(config.lists), number);
}

/** Fields that are published by themselves, and bytes of a path: its name in filter state must fit host/properties.ts. */
const MOST_PUBLISHED: u32 = 16;
const LONGEST_PUBLISHED: u32 = 80;

/** The cluster that workload discovery asks where none is named. */
const DEFAULT_CLUSTER: Slice = name('workload-discovery');

function readDiscovery(config: Config): bool {
  if (!expect(json.OBJECT)) return false;
  config.discoveryCluster = DEFAULT_CLUSTER;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    if (!isNew(isText(key, 'cluster') ? 1 : UNKNOWN, seen)) return false;
    seen = 2;
    if (!skipNull()) {
      if (!readShortText(text, LONGEST_CLUSTER)) return false;
      const copy = kept(text);
      if (!copy) return false;
      config.discoveryCluster = copy;
    }
    stepBack(size);
  }
  return isWellFormed();
}

const HEADERS_METADATA: u32 = 1;
const HEADERS_ID: u32 = 2;

function readHeaders(config: Config): bool {
  if (!expect(json.OBJECT)) return false;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    const field = isText(key, 'metadata') ? HEADERS_METADATA : isText(key, 'id') ? HEADERS_ID : UNKNOWN;
    if (!isNew(field, seen)) return false;
    seen |= 1 << field;
    if (!skipNull()) {
      if (!readHeaderName(text)) return false;
      const copy = kept(text);
      if (!copy) return false;
      if (field == HEADERS_METADATA) config.metadataHeader = copy;
      else config.idHeader = copy;
    }
    stepBack(size);
  }
  return isWellFormed();
}
