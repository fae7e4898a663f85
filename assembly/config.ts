// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import {
  begin,
  expect,
  flag,
  isNamed,
  isNew,
  isWellFormed,
  keepRoom,
  kept,
  key,
  malformed,
  number,
  readBool,
  readHeaderName,
  readNumber,
  readText,
  refuse,
  skipNull,
  step,
  stepBack,
  stepInto,
  text,
  textOffset,
  UNKNOWN,
} from './config_values';
import * as fields from './fields';
import { name } from './host/names';
import { reserve } from './memory/arena';
import { isText } from './memory/ascii';
import { takeFor } from './memory/blocks';
import { SLICE_SIZE, Slice, sameBytes, slice } from './memory/slice';
import * as json from './wire/json';
import { looksLikeStruct, roomForJson, toJson } from './wire/struct_json';

/**
 * The plugin's configuration: JSON, as text or as a google.protobuf.Struct, of the shape that Istio's native filter
 * takes (io.istio.http.peer_metadata.Config), with fields of our own beside it. docs/configuration.schema.json
 * describes it.
 */

/** What a stream does with its headers: a set of these. */
export const READ_REQUEST: u32 = 1; // downstream_discovery
export const READ_RESPONSE: u32 = 2; // upstream_discovery
export const WRITE_RESPONSE: u32 = 4; // downstream_propagation: only what the request had
export const WRITE_REQUEST: u32 = 8; // upstream_propagation

/** Not a set: each stream finds its own by its listener's direction. */
export const BY_DIRECTION: u32 = 0x100;

/** What is done where a peer's claims and its certificate differ: nobody looks, it is said, or it is dropped too. */
export const OFF: u32 = 0;
export const MARK: u32 = 1;
export const ENFORCE: u32 = 2;

/** Claims that are compared: a set of these. */
export const VERIFIES_NAMESPACE: u32 = 1;
export const VERIFIES_ACCOUNT: u32 = 2;
export const VERIFIES_TRUST_DOMAIN: u32 = 4;
export const VERIFIES_IDENTITY: u32 = 8;
const VERIFIES_ALL: u32 = 15;

@unmanaged
export class Config {
  /** The header that carries metadata. */
  metadataHeader: Slice;
  /** The header that carries the node's key. */
  idHeader: Slice;
  /** Where in the node's metadata our own stands. */
  metadataKey: Slice;
  /** Whether the node's cluster, and not its id, is what we call ourselves. */
  usesCluster: bool;
  /** What streams do. */
  methods: u32;
  /** The most bytes of a header's value, our own and a peer's. */
  maxHeaderSize: u32;
  /** The most peers that are kept; 0: none. */
  maxPeerCacheSize: u32;
  /** The paths of the fields that are sent, as slices in a row; 0: all are. */
  fields: usize;
  fieldCount: u32;
  /** Whether the headers are Istio's and the own metadata is made as Istio's native filter makes it (dialect.ts). */
  speaksIstio: bool;
  /** Labels that are sent beside those that Istio's dialect has, as slices in a row. */
  labels: usize;
  labelCount: u32;
  /** Whether peers are sought in baggage, and whether there before the headers. */
  readsBaggage: bool;
  baggageFirst: bool;
  /** Whether requests carry what we are as baggage. */
  writesBaggage: bool;
  /** OFF, MARK or ENFORCE. */
  verification: u32;
  /** The claims that are compared. */
  verifies: u32;
  /** Trust domains that peers may be of, as slices in a row; none: our own certificate's. */
  trustDomains: usize;
  trustDomainCount: u32;
  /** The methods that leave out clusters which are not of the mesh. */
  skipsExternal: u32;
}

const DEFAULT_METADATA_HEADER: Slice = name('x-istio-peer-metadata');
const DEFAULT_ID_HEADER: Slice = name('x-istio-peer-id');
const ISTIO_METADATA_HEADER: Slice = name('x-envoy-peer-metadata');
const ISTIO_ID_HEADER: Slice = name('x-envoy-peer-metadata-id');
const DEFAULT_METADATA_KEY: Slice = name('istio.io/metadata');

/**
 * Reads a configuration, and keeps it for as long as `owner` lives (memory/blocks.ts). An empty text is the default
 * configuration. If anything is wrong, the reason is logged, with the field's path and the offset in bytes, and the
 * answer is null.
 */
export function readConfig(source: Slice, owner: usize): Config | null {
  const at = takeFor(owner, offsetof<Config>());
  if (!at) return null;
  const config = changetype<Config>(at);
  config.metadataHeader = DEFAULT_METADATA_HEADER;
  config.idHeader = DEFAULT_ID_HEADER;
  config.metadataKey = DEFAULT_METADATA_KEY;
  config.usesCluster = false;
  config.methods = BY_DIRECTION;
  config.maxHeaderSize = 8192;
  config.maxPeerCacheSize = 500;
  config.fields = 0;
  config.fieldCount = 0;
  config.speaksIstio = false;
  config.labels = 0;
  config.labelCount = 0;
  config.readsBaggage = false;
  config.baggageFirst = false;
  config.writesBaggage = false;
  config.skipsExternal = 0;
  config.verification = OFF;
  config.verifies = VERIFIES_ALL;
  config.trustDomains = 0;
  config.trustDomainCount = 0;
  if (source.size == 0) return config;
  if (looksLikeStruct(source) && !(reserve(roomForJson(source.size) * 2) && toJson(source, source))) return null;

  begin(source, owner);
  if (!readFields(config) || !(json.finish() || malformed())) return null;
  if (config.speaksIstio) speakIstio(config);
  if (!sameBytes(config.metadataHeader, config.idHeader)) return config;
  refuse(0, 'headers.metadata and headers.id must be two different headers');
  return null;
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
  return UNKNOWN;
}

function readField(config: Config, field: u32): bool {
  if (field == HEADERS) return readHeaders(config);
  if (field == METADATA_KEY) {
    if (!readText()) return false;
    const copy = kept();
    if (!copy) return false;
    config.metadataKey = copy;
    return true;
  }
  if (field == NODE_KEY) {
    if (!readText()) return false;
    config.usesCluster = isText(text, 'cluster');
    return config.usesCluster || isText(text, 'id') || refuse(textOffset, 'must be "id" or "cluster"');
  }
  if (field == MAX_HEADER_SIZE) {
    if (!readNumber(1, 65536)) return false;
    config.maxHeaderSize = number;
    return true;
  }
  if (field == MAX_PEER_CACHE_SIZE) {
    if (!readNumber(0, 4096)) return false;
    config.maxPeerCacheSize = number;
    return true;
  }
  if (field == METADATA_FIELDS) {
    if (!readTexts()) return false;
    config.fields = textsAt;
    config.fieldCount = textCount;
    return true;
  }
  if (field == ADDITIONAL_LABELS) {
    if (!readTexts()) return false;
    config.labels = textsAt;
    config.labelCount = textCount;
    return true;
  }
  if (field == DIALECT) {
    if (!readText()) return false;
    config.speaksIstio = isText(text, 'istio');
    return config.speaksIstio || isText(text, 'generic') || refuse(textOffset, 'must be "generic" or "istio"');
  }
  if (field == VERIFY_PEER) return readVerifyPeer(config);
  if (field == SHARED_WITH_UPSTREAM) {
    const offset = json.offset();
    if (!readBool()) return false;
    return !flag || refuseUpstreamState(offset);
  }
  if (field == DOWNSTREAM_DISCOVERY) return readMethods(config, READ_REQUEST);
  if (field == UPSTREAM_DISCOVERY) return readMethods(config, READ_RESPONSE);
  if (field == DOWNSTREAM_PROPAGATION) return readMethods(config, WRITE_RESPONSE);
  return readMethods(config, WRITE_REQUEST);
}

const VERIFY_MODE: u32 = 1;
const VERIFY_TRUST_DOMAINS: u32 = 2;
const VERIFY_FIELDS: u32 = 3;

function readVerifyPeer(config: Config): bool {
  if (!expect(json.OBJECT)) return false;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    let field = isText(key, 'mode') ? VERIFY_MODE : UNKNOWN;
    if (isNamed('trust_domains')) field = VERIFY_TRUST_DOMAINS;
    if (isText(key, 'fields')) field = VERIFY_FIELDS;
    if (!isNew(field, seen)) return false;
    seen |= 1 << field;
    if (!skipNull()) {
      if (field == VERIFY_MODE) {
        if (!readText()) return false;
        config.verification = isText(text, 'mark') ? MARK : isText(text, 'enforce') ? ENFORCE : OFF;
        if (config.verification == OFF && !isText(text, 'off')) {
          return refuse(textOffset, 'must be "off", "mark" or "enforce"');
        }
      } else if (field == VERIFY_FIELDS) {
        if (!readClaims(config)) return false;
      } else {
        if (!readTexts()) return false;
        config.trustDomains = textsAt;
        config.trustDomainCount = textCount;
      }
    }
    stepBack(size);
  }
  return isWellFormed();
}

/** The list of the claims that are compared. */
function readClaims(config: Config): bool {
  if (!expect(json.ARRAY)) return false;
  config.verifies = 0;
  let index: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(index++);
    if (!readText()) return false;
    if (isText(text, fields.NAMESPACE)) config.verifies |= VERIFIES_NAMESPACE;
    else if (isText(text, fields.SERVICE_ACCOUNT)) config.verifies |= VERIFIES_ACCOUNT;
    else if (isText(text, fields.TRUST_DOMAIN)) config.verifies |= VERIFIES_TRUST_DOMAIN;
    else if (isText(text, fields.IDENTITY)) config.verifies |= VERIFIES_IDENTITY;
    else return refuse(textOffset, 'is not a claim that certificates prove');
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
      if (!readHeaderName()) return false;
      const copy = kept();
      if (!copy) return false;
      if (field == HEADERS_METADATA) config.metadataHeader = copy;
      else config.idHeader = copy;
    }
    stepBack(size);
  }
  return isWellFormed();
}

/** A list of methods. As soon as one list is there, even an empty one, the lists alone decide what streams do. */
function readMethods(config: Config, method: u32): bool {
  if (!expect(json.ARRAY)) return false;
  config.methods &= ~BY_DIRECTION;
  let index: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(index++);
    if (!readMethod(config, method)) return false;
    stepBack(size);
  }
  return isWellFormed();
}

/** One method: an object with one field, that names it, and in it the method's own settings. */
function readMethod(config: Config, method: u32): bool {
  const objectOffset = json.offset();
  if (!expect(json.OBJECT)) return false;
  let count = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    if (++count > 1) return refuse(json.keyOffset(), 'is one method too many: each has an object of its own');
    if (isNamed('istio_headers')) {
      if (!readIstioHeaders(config, method)) return false;
    } else if (isText(key, 'baggage')) {
      if (!readBaggageMethod(config, method)) return false;
    } else {
      return refuseMethod();
    }
    stepBack(size);
  }
  return isWellFormed() && (count == 1 || refuse(objectOffset, 'must name a method'));
}

/** `baggage`, which has no settings: for requests only. */
function readBaggageMethod(config: Config, method: u32): bool {
  if (method == READ_REQUEST) {
    config.baggageFirst = !config.readsBaggage && (config.methods & READ_REQUEST) == 0;
    config.readsBaggage = true;
  } else if (method == WRITE_REQUEST) {
    config.writesBaggage = true;
  } else {
    return refuse(json.keyOffset(), 'is a method for requests: downstream_discovery and upstream_propagation');
  }
  if (!expect(json.OBJECT)) return false;
  json.enter();
  if (!json.nextMember(key)) return isWellFormed();
  step();
  return refuse(json.keyOffset(), 'is not a known field');
}

function refuseUpstreamState(offset: u32): bool {
  return refuse(offset, 'a Wasm filter does not have the filter state of the upstream connection');
}

/** Methods of Istio's native filter that this one does not have, each with the reason. */
function refuseMethod(): bool {
  if (isNamed('upstream_filter_state')) {
    return refuseUpstreamState(json.keyOffset());
  }
  return refuse(json.keyOffset(), 'is not a method that this version has: istio_headers and baggage are');
}

/** The settings of `istio_headers`. */
function readIstioHeaders(config: Config, method: u32): bool {
  if (!expect(json.OBJECT)) return false;
  let seen: u32 = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    const writes = (method & (WRITE_REQUEST | WRITE_RESPONSE)) != 0;
    if (!isNew(writes && isNamed('skip_external_clusters') ? 1 : UNKNOWN, seen)) return false;
    seen = 2;
    if (!skipNull()) {
      if (!readBool()) return false;
      if (flag) config.skipsExternal |= method;
    }
    stepBack(size);
  }
  config.methods |= method;
  return isWellFormed();
}

/** The most texts in a list. */
const MOST_TEXTS: u32 = 100;

/** The list that was read last: slices in a row, and how many. */
let textsAt: usize = 0;
let textCount: u32 = 0;

/** A list of texts. */
function readTexts(): bool {
  if (!expect(json.ARRAY)) return false;
  const at = keepRoom(MOST_TEXTS * <u32>SLICE_SIZE);
  if (!at) return refuse(json.offset(), 'does not fit into memory');
  let count: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(count);
    if (count == MOST_TEXTS) return refuse(json.offset(), 'is one too many: there may be 100');
    if (!readText()) return false;
    const copy = kept();
    if (!copy) return false;
    slice(at + count * <u32>SLICE_SIZE).copy(copy);
    count++;
    stepBack(size);
  }
  textsAt = at;
  textCount = count;
  return isWellFormed();
}
