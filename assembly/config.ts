// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import * as log from './host/log';
import { name } from './host/names';
import { reserve } from './memory/arena';
import { takeFor } from './memory/blocks';
import { isText, SLICE_SIZE, Slice, sameBytes, slice } from './memory/slice';
import { Text } from './memory/text';
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
}

const DEFAULT_METADATA_HEADER: Slice = name('x-istio-peer-metadata');
const DEFAULT_ID_HEADER: Slice = name('x-istio-peer-id');
const DEFAULT_METADATA_KEY: Slice = name('istio.io/metadata');

/** The field that is being read, for error messages: `downstream_discovery[0].istio_headers`. */
const path = changetype<Text>(memory.data(12, 4));
const PATH_ROOM: u32 = 192;
const pathRoom = memory.data(192);

const key = slice(memory.data(8, 4));
const text = slice(memory.data(8, 4));

/** The block that lives as long as the configuration: what is read is kept for it. */
let keeper: usize = 0;

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
  if (source.size == 0) return config;
  if (looksLikeStruct(source) && !(reserve(roomForJson(source.size)) && toJson(source, source))) return null;

  keeper = owner;
  path.open(pathRoom, PATH_ROOM);
  json.open(source);
  if (!readFields(config) || !(json.finish() || malformed())) return null;
  return config;
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
    path.size = size;
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
  if (field == METADATA_FIELDS) return readPaths(config);
  if (field == DOWNSTREAM_DISCOVERY) return readMethods(config, READ_REQUEST);
  if (field == UPSTREAM_DISCOVERY) return readMethods(config, READ_RESPONSE);
  if (field == DOWNSTREAM_PROPAGATION) return readMethods(config, WRITE_RESPONSE);
  return readMethods(config, WRITE_REQUEST);
}

const HEADERS_METADATA: u32 = 1;
const HEADERS_ID: u32 = 2;

function readHeaders(config: Config): bool {
  const objectOffset = json.offset();
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
    path.size = size;
  }
  if (!isWellFormed()) return false;
  if (!sameBytes(config.metadataHeader, config.idHeader)) return true;
  return refuse(objectOffset, 'metadata and id must be two different headers');
}

/** A list of methods. As soon as one list is there, even an empty one, the lists alone decide what streams do. */
function readMethods(config: Config, method: u32): bool {
  if (!expect(json.ARRAY)) return false;
  config.methods &= ~BY_DIRECTION;
  let index: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(index++);
    if (!readMethod()) return false;
    config.methods |= method;
    path.size = size;
  }
  return isWellFormed();
}

/** One method: an object with one field, that names it, and in it the method's own settings: none so far. */
function readMethod(): bool {
  const objectOffset = json.offset();
  if (!expect(json.OBJECT)) return false;
  let count = 0;
  json.enter();
  while (json.nextMember(key)) {
    const size = step();
    if (!isNamed('istio_headers')) {
      return refuse(json.keyOffset(), 'is not a method that this version has: istio_headers is');
    }
    if (++count > 1) return refuse(json.keyOffset(), 'is given twice');
    if (!expect(json.OBJECT)) return false;
    json.enter();
    if (json.nextMember(key)) {
      step();
      return refuse(json.keyOffset(), 'is not a known field');
    }
    if (!isWellFormed()) return false;
    path.size = size;
  }
  return isWellFormed() && (count == 1 || refuse(objectOffset, 'must name a method'));
}

const UNKNOWN: u32 = 0;

/** Whether the key that was just read is this name, in snake_case or in camelCase. */
function isNamed(name: string): bool {
  let at = key.at;
  const end = key.end();
  for (let i = 0; i < name.length; i++, at++) {
    if (at >= end) return false;
    let letter = <u8>name.charCodeAt(i);
    const found = load<u8>(at);
    if (letter == 0x5f && found != 0x5f) letter = <u8>name.charCodeAt(++i) & 0xdf;
    if (found != letter) return false;
  }
  return at == end;
}

/** Adds the key that was just read to the path; the answer is the size to go back to. */
function step(): u32 {
  const size = path.size;
  if (size) path.add('.');
  path.addQuoted(key);
  return size;
}

/** Adds the place in a list to the path; the answer is the size to go back to. */
function stepInto(index: u32): u32 {
  const size = path.size;
  path.add('[');
  path.addNumber(index);
  path.add(']');
  return size;
}

function isNew(field: u32, seen: u32): bool {
  if (field == UNKNOWN) return refuse(json.keyOffset(), 'is not a known field');
  return (seen & (1 << field)) == 0 || refuse(json.keyOffset(), 'is given twice');
}

/** null is the same as no field at all, as in every protobuf message written as JSON. */
function skipNull(): bool {
  if (json.peek() != json.NULL) return false;
  json.readNull();
  return true;
}

/** Where the text begins that was read last. */
let textOffset: u32 = 0;

/** Reads a string that is not empty, as `text`. */
function readText(): bool {
  if (!expect(json.STRING)) return false;
  textOffset = json.offset();
  if (!json.readString(text)) return malformed();
  return text.size > 0 || refuse(textOffset, 'must not be empty');
}

/** The number that was read last. */
let number: u32 = 0;

/** Reads a whole number from `least` to `most`, as `number`. */
function readNumber(least: u32, most: u32): bool {
  if (!expect(json.NUMBER)) return false;
  const offset = json.offset();
  number = json.readWhole();
  if (!isWellFormed()) return false;
  if (number >= least && number <= most) return true;
  const message = refusal(offset);
  message.add('must be a whole number from ');
  message.addNumber(least);
  message.add(' to ');
  message.addNumber(most);
  log.error();
  return false;
}

/** The most paths in `metadata_fields`. */
const MOST_PATHS: u32 = 100;

/** A list of paths, kept as slices in a row. */
function readPaths(config: Config): bool {
  if (!expect(json.ARRAY)) return false;
  const at = takeFor(keeper, MOST_PATHS * <u32>SLICE_SIZE);
  if (!at) return refuse(json.offset(), 'does not fit into memory');
  let count: u32 = 0;
  json.enter();
  while (json.nextElement()) {
    const size = stepInto(count);
    if (count == MOST_PATHS) return refuse(json.offset(), 'is one path too many: there may be 100');
    if (!readText()) return false;
    const copy = kept();
    if (!copy) return false;
    slice(at + count * <u32>SLICE_SIZE).copy(copy);
    count++;
    path.size = size;
  }
  config.fields = at;
  config.fieldCount = count;
  return isWellFormed();
}

/** Reads a field name as RFC 9110 has it, as `text`, in lower case as HTTP/2 wants it. */
function readHeaderName(): bool {
  if (!readText()) return false;
  for (let at = text.at; at < text.end(); at++) {
    const byte: u32 = load<u8>(at);
    if (!isTokenByte(byte)) return refuse(textOffset, 'is not a valid header name');
    if (byte >= 0x41 && byte <= 0x5a) store<u8>(at, <u8>(byte | 0x20));
  }
  return !isReserved() || refuse(textOffset, 'is a header that HTTP itself needs');
}

function isTokenByte(byte: u32): bool {
  const lower = byte | 0x20;
  if ((byte >= 0x30 && byte <= 0x39) || (lower >= 0x61 && lower <= 0x7a)) return true;
  // ! # $ % & ' * + - . ^ _ ` | ~
  if (byte == 0x21 || byte == 0x5e || byte == 0x5f || byte == 0x60 || byte == 0x7c || byte == 0x7e) return true;
  return (byte >= 0x23 && byte <= 0x27) || byte == 0x2a || byte == 0x2b || byte == 0x2d || byte == 0x2e;
}

/** Headers that frame a message or say where it goes: to strip or overwrite one would break the request itself. */
function isReserved(): bool {
  return (
    isText(text, 'host') ||
    isText(text, 'connection') ||
    isText(text, 'content-length') ||
    isText(text, 'content-type') ||
    isText(text, 'keep-alive') ||
    isText(text, 'proxy-connection') ||
    isText(text, 'te') ||
    isText(text, 'trailer') ||
    isText(text, 'transfer-encoding') ||
    isText(text, 'upgrade')
  );
}

/** `text`, kept as long as the configuration; null if there is no memory. */
function kept(): Slice | null {
  const at = takeFor(keeper, SLICE_SIZE + text.size);
  if (!at) {
    refuse(textOffset, 'does not fit into memory');
    return null;
  }
  memory.copy(at + SLICE_SIZE, text.at, text.size);
  const copy = slice(at);
  copy.set(at + SLICE_SIZE, text.size);
  return copy;
}

function expect(kind: u32): bool {
  const found = json.peek();
  if (found == kind) return true;
  if (found == json.MALFORMED) return malformed();
  const message = refusal(json.offset());
  message.add('expected ');
  message.add(kindName(kind));
  message.add(', found ');
  message.add(kindName(found));
  log.error();
  return false;
}

function kindName(kind: u32): string {
  if (kind == json.OBJECT) return 'an object';
  if (kind == json.ARRAY) return 'a list';
  if (kind == json.STRING) return 'a string';
  if (kind == json.NUMBER) return 'a number';
  if (kind == json.BOOL) return 'a boolean';
  return 'null';
}

/** Whether the JSON is well-formed so far; if not, that is what is logged. */
function isWellFormed(): bool {
  return json.problem().length == 0 || malformed();
}

function malformed(): bool {
  return refuse(json.offset(), json.problem());
}

/** Says what is wrong with the field of the path; always false. */
function refuse(offset: u32, problem: string): bool {
  refusal(offset).add(problem);
  log.error();
  return false;
}

/** `metadata_exchange: configuration refused at byte 24: headers.metadata: ` */
function refusal(offset: u32): Text {
  const message = log.line();
  message.add('configuration refused at byte ');
  message.addNumber(offset);
  message.add(': ');
  if (path.size) {
    message.addBytes(path.at, path.size);
    message.add(': ');
  }
  return message;
}
