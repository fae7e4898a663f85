// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import { readBaggage, writeBaggage } from './baggage.ts';
import { type Config, defaultOf, METHODS, type Method } from './config.ts';
import { native } from './dialect.ts';
import { canonical, kindOf, readNode, select, whyRefused } from './struct.ts';

/**
 * What the filter does with the two headers, said a second time and in another way: README's tables, on whole lists of
 * headers instead of host calls.
 */

export type HeaderPair = [string, string];
export type FilterState = Record<string, Buffer>;

/** What a proxy says of itself; undefined: nothing. */
export interface Own {
  metadata?: string;
  id?: string;
  baggage?: string;
}

export interface Root {
  config: Config;
  own: Own;
}

/** What is remembered of a stream. */
export interface StreamModel {
  root: Root;
  filterState: FilterState;
  methods: Set<Method>;
  hadMetadata: boolean;
  hadId: boolean;
  requested: boolean;
  answered: boolean;
}

const bytesOf = (text: string) => Buffer.from(text, 'latin1');

/** What a node says of itself with a configuration; undefined if the bytes are no node. */
export function ownOf(node: Uint8Array | undefined, config: Config): Own | undefined {
  const read = node && readNode(node, Buffer.from(config.metadataKey));
  if (!read) return undefined;
  const chosen = config.usesCluster || read.id.length === 0 ? read.cluster : read.id;
  const id = Buffer.from(chosen).toString('latin1');
  const value = kindOf(read.value);
  const keyed = value.kind === 5 ? value.content : undefined;
  const labels = (config.fields.additional_labels as string[] | undefined) ?? [];
  const flat = native(node, labels);
  const chosenStruct = config.fields.dialect === 'istio' ? (flat ?? keyed) : (keyed ?? flat);
  const struct = chosenStruct && canonical(chosenStruct);
  return {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what no header can carry
    id: chosen.length > 0 && isUtf8(chosen) && !/^ | $|[\x00-\x1f\x7f]/.test(id) ? id : undefined,
    metadata: struct && Buffer.from(selected(struct.bytes, config)).toString('base64'),
    baggage: struct && writeBaggage(selected(struct.bytes, config)),
  };
}

function selected(struct: Uint8Array, { fields }: Config): Uint8Array {
  const paths = fields.metadata_fields as string[] | undefined;
  return paths
    ? select(
        struct,
        paths.map((path) => Buffer.from(path)),
      )
    : struct;
}

/** The Struct that a metadata header carries; undefined if it carries none that may be passed on. */
export function readMetadata(header: string): Buffer | undefined {
  const bytes = Buffer.from(header, 'base64');
  const written = bytes.toString('base64');
  if (header === '' || (header !== written && header !== written.replaceAll('=', ''))) return undefined;
  return whyRefused(bytes) === undefined ? bytes : undefined;
}

/** More than a peer's header may have. */
export function limitOf({ fields }: Config): number {
  return Number(fields.max_header_size ?? defaultOf('max_header_size') ?? Number.POSITIVE_INFINITY);
}

export class Exchange {
  /** 1 inbound, 2 outbound, anything else: unspecified. */
  direction = 0;
  /** How many headers were read that could be passed on. */
  published = 0;

  private methodsOf({ methods }: Config): Set<Method> {
    if (methods) return methods;
    if (this.direction === 1) return new Set<Method>(['downstream_discovery', 'downstream_propagation']);
    if (this.direction === 2) return new Set<Method>(['upstream_discovery', 'upstream_propagation']);
    return new Set(METHODS);
  }

  begin(root: Root, filterState: FilterState = {}): StreamModel {
    const flags = { hadMetadata: false, hadId: false, requested: false, answered: false };
    return { root, filterState, methods: new Set(), ...flags };
  }

  /** The headers of a request as they go on. */
  onRequest(stream: StreamModel, headers: HeaderPair[]): HeaderPair[] {
    const { config, own } = stream.root;
    const methods = this.methodsOf(config);
    const [reads, sends] = [methods.has('downstream_discovery'), methods.has('upstream_propagation')];
    stream.requested = true;
    stream.methods = methods;
    if (reads || methods.has('downstream_propagation')) {
      stream.hadMetadata = headers.some(([name]) => name === config.metadataHeader);
      stream.hadId = headers.some(([name]) => name === config.idHeader);
    }
    if (this.isSecondRun(stream, headers, sends)) {
      stream.hadMetadata = knows(stream, 'downstream');
      stream.hadId = knows(stream, 'downstream_id');
    } else {
      const byDirection = reads ? ['istio_headers'] : [];
      this.discover(stream, headers, config.methods ? config.discovers : byDirection);
    }
    const going = config.writesBaggage && own.baggage ? withBaggage(headers, own.baggage) : headers;
    return reads || sends ? settled(going, config, sends ? own : {}) : going;
  }

  /** The headers of a response as they go on. */
  onResponse(stream: StreamModel, headers: HeaderPair[]): HeaderPair[] {
    if (!stream.requested) return headers;
    stream.answered = true;
    const { config, own } = stream.root;
    const [reads, sends] = ['upstream_discovery', 'downstream_propagation'].map((name) =>
      stream.methods.has(name as Method),
    );
    if (reads) this.publish(stream, headers, 'upstream');
    if (!reads && !sends) return headers;
    return settled(headers, config, {
      metadata: sends && stream.hadMetadata ? own.metadata : undefined,
      id: sends && stream.hadId ? own.id : undefined,
    });
  }

  /** Whether a request comes for the second time, sent on once more by an internal redirect. */
  private isSecondRun(stream: StreamModel, headers: HeaderPair[], sends: boolean): boolean {
    const { config, own } = stream.root;
    if (!stream.methods.has('downstream_discovery') && !stream.methods.has('downstream_propagation')) return false;
    const first = (wanted: string) => {
      const copies = headers.filter(([name]) => name === wanted).map(([, value]) => value);
      return copies.find((value) => value !== '') ?? copies[0];
    };
    const isRedirect = headers.some(([name]) => name === 'x-envoy-original-url');
    const isKnown = knows(stream, 'downstream') || knows(stream, 'downstream_id');
    if (!sends) return isRedirect && isKnown && !stream.hadMetadata && !stream.hadId;
    const isOwn = first(config.metadataHeader) === own.metadata && first(config.idHeader) === own.id;
    return isOwn && (isRedirect || isKnown);
  }

  /** Tries the methods in their order; the first one that finds something counts. */
  private discover(stream: StreamModel, headers: HeaderPair[], methods: string[]): void {
    for (const method of methods) {
      if (method === 'istio_headers' && this.publish(stream, headers, 'downstream')) return;
      const struct = method === 'baggage' ? readBaggage(joined(headers)) : undefined;
      if (!struct) continue;
      const name = 'envoy.wasm.metadata_exchange.downstream';
      stream.filterState[name] = struct;
      if (verifies(stream.root.config)) stream.filterState[`${name}_verified`] = UNVERIFIED;
      this.published++;
      return;
    }
  }

  /** Whether the headers said anything of the peer's metadata. */
  private publish(stream: StreamModel, headers: HeaderPair[], side: string): boolean {
    const { config } = stream.root;
    const filled = (wanted: string) => {
      const value = headers.find(([name, value]) => name === wanted && value !== '')?.[1];
      return value && value.length <= limitOf(config) ? value : undefined;
    };
    const [metadata, id] = [filled(config.metadataHeader), filled(config.idHeader)];
    const struct = metadata && readMetadata(metadata);
    const name = `envoy.wasm.metadata_exchange.${side}`;
    if (struct) stream.filterState[name] = struct;
    if (struct && verifies(config)) stream.filterState[`${name}_verified`] = UNVERIFIED;
    if (id && isUtf8(bytesOf(id))) stream.filterState[`${name}_id`] = bytesOf(id);
    if (struct || id) this.published++;
    return struct !== undefined;
  }
}

/** No connection of the fuzzer has certificates. */
const UNVERIFIED = Buffer.from('unverified');

function verifies({ fields }: Config): boolean {
  const { mode } = (fields.verify_peer ?? {}) as { mode?: string };
  return mode === 'mark' || mode === 'enforce';
}

/** Whether filter state has this of the peer. */
function knows({ filterState }: StreamModel, part: string): boolean {
  return `envoy.wasm.metadata_exchange.${part}` in filterState;
}

/** All copies of the baggage header as one list. */
function joined(headers: HeaderPair[]): string {
  const copies = headers.filter(([name, value]) => name === 'baggage' && value !== '');
  return copies.map(([, value]) => value).join(',');
}

/** Headers with more baggage. */
function withBaggage(headers: HeaderPair[], own: string): HeaderPair[] {
  const earlier = joined(headers);
  const others = headers.filter(([name]) => name !== 'baggage');
  return [...others, ['baggage', earlier ? `${earlier},${own}` : own]];
}

/** All copies of the two headers gone, and ours in their place where we have any. */
function settled(headers: HeaderPair[], config: Config, own: Own): HeaderPair[] {
  const left = headers.filter(([name]) => name !== config.metadataHeader && name !== config.idHeader);
  if (own.metadata !== undefined) left.push([config.metadataHeader, own.metadata]);
  if (own.id !== undefined) left.push([config.idHeader, own.id]);
  return left;
}
