// SPDX-License-Identifier: Apache-2.0
import { isUtf8 } from 'node:buffer';
import protobuf from 'protobufjs';
import { isOurs, readBaggage, withoutWorkload, writeBaggage } from './baggage.ts';
import { type Config, defaultOf, METHODS, type Method } from './config.ts';
import { native, writeEntry } from './dialect.ts';
import { encoded, plainOf, publishedAt } from './fields.ts';
import { canonical, fieldsOf, kindOf, messages, readNode, select, whyRefused } from './struct.ts';

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
  /** What first runs noted, by the names of the two headers: it lives as long as filter state. */
  notes: Map<string, Note>;
  methods: Set<Method>;
  note: Note;
  /** Whom this run found on the client's side, and what of it is public; undefined: nobody was found. */
  client?: { struct?: Buffer };
  isLaterRun: boolean;
  requested: boolean;
  answered: boolean;
}

/** What a run knows of the request that the client sent. */
interface Note {
  looked: boolean;
  hadMetadata: boolean;
  hadId: boolean;
  hadBaggage: boolean;
  answered: boolean;
}

const NOTHING: Note = { looked: false, hadMetadata: false, hadId: false, hadBaggage: false, answered: false };

const bytesOf = (text: string) => Buffer.from(text, 'latin1');

/** What a node says of itself with a configuration; undefined if the bytes are no node. */
export function ownOf(node: Uint8Array | undefined, config: Config): Own | undefined {
  const read = node && readNode(node, Buffer.from(config.metadataKey));
  if (!read) return undefined;
  const chosen = config.usesCluster || read.id.length === 0 ? read.cluster : read.id;
  const id = Buffer.from(chosen).toString('latin1');
  const fits = chosen.length <= limitOf(config);
  const value = kindOf(read.value);
  const all = messages(fieldsOf(node, 0), 3).at(-1);
  const ofKey = value.kind === 5 ? value.content : undefined;
  const keyed = config.metadataKey === '' ? (all?.length ? all : undefined) : ofKey;
  const labels = (config.fields.additional_labels as string[] | undefined) ?? [];
  const isIstio = config.fields.dialect === 'istio';
  const flat = native(node, labels, isIstio && !keyed);
  const chosenStruct = isIstio ? (flat ?? keyed) : (keyed ?? flat);
  const struct = chosenStruct && canonical(chosenStruct);
  return {
    // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what no header can carry
    id: chosen.length > 0 && fits && isUtf8(chosen) && !/^ | $|[\x00-\x1f\x7f,]/.test(id) ? id : undefined,
    metadata: struct && Buffer.from(selected(struct.bytes, config)).toString('base64'),
    baggage: struct && ownBaggage(selected(struct.bytes, config), config),
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

/** What is sent as baggage: nothing where it is too large. */
export function ownBaggage(struct: Uint8Array, config: Config): string | undefined {
  const baggage = writeBaggage(struct);
  return baggage.length <= limitOf(config) ? baggage : undefined;
}

/** The Struct that a metadata header carries; undefined if it carries none that may be passed on. */
export function readMetadata(header: string): Buffer | undefined {
  const bytes = decoded(header) ?? (header.includes(',') ? decoded(firstMember(header)) : undefined);
  return bytes && whyRefused(bytes) === undefined ? bytes : undefined;
}

function decoded(text: string): Buffer | undefined {
  const bytes = Buffer.from(text, 'base64');
  const written = bytes.toString('base64');
  return text === '' || (text !== written && text !== written.replaceAll('=', '')) ? undefined : bytes;
}

/** Of copies that were joined with commas, the first one that is not empty. */
function firstMember(value: string): string {
  if (!value.includes(',')) return value;
  const members = value.split(',').map((member) => member.replaceAll(/^ +| +$/g, ''));
  return members.find((member) => member !== '') ?? '';
}

/** More than a peer's header may have. */
export function limitOf({ fields }: Config): number {
  return Number(fields.max_header_size ?? defaultOf('max_header_size') ?? Number.POSITIVE_INFINITY);
}

/** More than our own metadata may have as a header. */
export function ownLimitOf(config: Config): number {
  return Number(config.fields.max_header_size ?? 3072);
}

const PEER = 'envoy.wasm.metadata_exchange.';

export class Exchange {
  /** 1 inbound, 2 outbound, anything else: unspecified. */
  direction = 0;
  /** What the control plane says of the endpoint that answers. */
  endpoint = '';
  /** Whether the metadata of each cluster says `disable_mx`. */
  isDisabled = false;
  /** How many peers were found. */
  published = 0;
  /** The configurations that are alive. */
  readonly roots = new Set<Root>();

  private methodsOf({ methods }: Config): Set<Method> {
    if (methods) return methods;
    if (this.direction === 1) return new Set<Method>(['downstream_discovery', 'downstream_propagation']);
    if (this.direction === 2) return new Set<Method>(['upstream_discovery', 'upstream_propagation']);
    return new Set(METHODS);
  }

  /** Whether configurations learn about clients in different ways, so that one must look what another did. */
  private get severalWays(): boolean {
    const way = ({ config }: Root) =>
      JSON.stringify([config.metadataHeader, config.idHeader, config.discovers.includes('baggage')]);
    return new Set([...this.roots].map(way)).size > 1;
  }

  /** Whether what a configuration writes to requests may be looked at by another one in the same chain. */
  private hasReaders({ methods }: Config): boolean {
    const reads = (lists: Set<Method>) => lists.has('downstream_discovery') || lists.has('downstream_propagation');
    return [...this.roots].some(({ config }) => (config.methods ? reads(config.methods) : methods !== undefined));
  }

  /** Whether a header is what some configuration sends. */
  private isOurs(value: string | undefined): boolean {
    return !!value && [...this.roots].some(({ own }) => own.metadata === value || own.id === value);
  }

  /** Whether the two headers go to a cluster that is told by a list. */
  private goesOn({ fields }: Config, isTold: boolean): boolean {
    return isTold && !(this.isDisabled && fields.dialect === 'istio');
  }

  begin(root: Root, before?: StreamModel): StreamModel {
    const filterState = before?.filterState ?? {};
    const notes = before?.notes ?? new Map<string, Note>();
    const flags = { isLaterRun: false, requested: false, answered: false };
    return { root, filterState, notes, methods: new Set(), note: NOTHING, ...flags };
  }

  /** What is left of a message that no configuration is responsible for. */
  unserved(headers: HeaderPair[], isRequest: boolean): HeaderPair[] {
    const names = [...this.roots].flatMap(({ config }) => {
      const told = isRequest ? config.application?.header : undefined;
      return [config.metadataHeader, config.idHeader, told];
    });
    return headers.filter(([name]) => !names.includes(name));
  }

  /** The headers of a request as they go on. */
  onRequest(stream: StreamModel, headers: HeaderPair[]): HeaderPair[] {
    const { config, own } = stream.root;
    const methods = this.methodsOf(config);
    const [reads, sends] = [methods.has('downstream_discovery'), methods.has('upstream_propagation')];
    const looks = reads || methods.has('downstream_propagation');
    const discovers = config.methods ? config.discovers : reads ? ['istio_headers'] : [];
    const metadata = looks ? first(headers, config.metadataHeader) : undefined;
    const id = looks ? first(headers, config.idHeader) : undefined;
    const isNoted =
      discovers.length > 0 || looks || config.writesBaggage || config.answersBaggage || this.hasReaders(config);
    const isForeign =
      (metadata !== undefined || id !== undefined) && !this.isOurs(metadata) && !this.isOurs(id && firstMember(id));
    const earlier = isForeign || !isNoted ? undefined : this.recall(stream, looks && !this.severalWays);
    stream.requested = true;
    stream.client = undefined;
    stream.methods = methods;
    stream.isLaterRun = earlier !== undefined;
    const isTold = !this.isDisabled || !skips(config, 'upstream_propagation');
    const tells = isTold && (sends || config.writesBaggage);
    if (!isNoted && stream.filterState[`${PEER}upstream_id`]) {
      this.clearServer(stream);
    }
    if (earlier) {
      stream.note = earlier;
      this.clearServer(stream);
    } else if (isNoted) {
      const [hadMetadata, hadId] = [metadata !== undefined, id !== undefined];
      const list = joined(headers);
      const hadBaggage = config.answersBaggage && list.split(',').some(isOurs);
      stream.note = { ...NOTHING, looked: looks, hadMetadata, hadId, hadBaggage };
      const found = this.learnClient(stream, headers, discovers);
      const isSaid = found === 'all of the headers' && !this.severalWays && hadMetadata && hadId && !hadBaggage;
      const learnsServers = config.methods ? config.learns.length > 0 : methods.has('upstream_discovery');
      const isNothing = !found && !hadMetadata && !hadId && !hadBaggage && !tells && !learnsServers;
      if (!isSaid && !isNothing) stream.notes.set(keyOf(config), stream.note);
    }
    let going = headers;
    if (config.writesBaggage && isTold && own.baggage) going = withBaggage(headers, own.baggage);
    else if (config.writesBaggage && !isTold && earlier) going = withoutOwnBaggage(headers);
    if (reads || sends) going = settled(going, config, sends && this.goesOn(config, isTold) ? own : {});
    return this.tellApplication(stream, going, discovers.length > 0);
  }

  /** The headers as the application gets them: no copy of its header but ours. */
  private tellApplication(stream: StreamModel, headers: HeaderPair[], asks: boolean): HeaderPair[] {
    const { config } = stream.root;
    const { application } = config;
    if (!application) return headers;
    const others = headers.filter(([name]) => name !== application.header);
    const earlier = this.severalWays || stream.isLaterRun ? stream.filterState[`${PEER}downstream`] : undefined;
    const struct = stream.client ? stream.client.struct : earlier;
    // No connection of the fuzzer has certificates.
    if (!asks || !struct?.length || application.onlyVerified) return others;
    const parts = application.fields.map((path) => [path, publishedAt(struct, path, config)] as const);
    const line = [...new Map(parts)]
      .map(([path, text]) => [encoded(Buffer.from(path)), encoded(text ?? Buffer.alloc(0))])
      .filter(([, value]) => value !== '' && value.length <= 512)
      .map((part) => part.join('='))
      .join('&');
    return line ? [...others, [application.header, line]] : others;
  }

  private clearServer(stream: StreamModel): void {
    for (const part of ['upstream', 'upstream_id', 'upstream_verified']) clear(stream, part);
    this.clearPlain(stream, 'upstream');
  }

  /** Clears what any configuration may have published of a peer by itself. */
  private clearPlain(stream: StreamModel, side: string): void {
    for (const { config } of this.roots) for (const path of plainOf(config)) clear(stream, `${side}.${path}`);
  }

  /** What an earlier run knew; undefined if there was none. */
  private recall(stream: StreamModel, infers: boolean): Note | undefined {
    const key = keyOf(stream.root.config);
    let note = stream.notes.get(key);
    if (note?.answered) {
      note = { ...note, answered: false };
      stream.notes.set(key, note);
    }
    const isIdPublished = (stream.filterState[`${PEER}downstream_id`]?.length ?? 0) > 0;
    if (infers && !note?.looked && isIdPublished) {
      return { ...NOTHING, ...note, looked: true, hadMetadata: true, hadId: true };
    }
    return note;
  }

  /** Finds out who the client is; what of it was published. */
  private learnClient(stream: StreamModel, headers: HeaderPair[], methods: string[]) {
    const isKnown = ['downstream', 'downstream_id'].some((part) => stream.filterState[PEER + part]?.length);
    if (methods.length === 0 || (this.severalWays && isKnown)) return undefined;
    return this.publish(stream, headers, 'downstream', methods);
  }

  /** The headers of a response as they go on. */
  onResponse(stream: StreamModel, headers: HeaderPair[]): HeaderPair[] {
    if (!stream.requested) return headers;
    stream.answered = true;
    const { config, own } = stream.root;
    const [reads, answers] = ['upstream_discovery', 'downstream_propagation'].map((name) =>
      stream.methods.has(name as Method),
    );
    const sends = answers && this.goesOn(config, !this.isDisabled || !skips(config, 'downstream_propagation'));
    const isOwn =
      reads &&
      (this.isOurs(first(headers, config.metadataHeader)) ||
        this.isOurs(firstMember(first(headers, config.idHeader) ?? '')));
    const isOwnAnswer = isOwn && stream.notes.get(keyOf(config))?.answered;
    const learns = config.methods ? config.learns : reads ? ['istio_headers'] : [];
    if (!isOwnAnswer) this.publish(stream, headers, 'upstream', learns);
    const { hadMetadata, hadId, hadBaggage } = stream.note;
    const isTold = !this.isDisabled || !skips(config, 'downstream_propagation');
    const answersBaggage = config.answersBaggage && hadBaggage && isTold && own.baggage;
    const going = answersBaggage ? withBaggage(headers, own.baggage as string) : headers;
    if (!reads && !answers) return going;
    if (sends && stream.isLaterRun && (hadMetadata || hadId)) {
      stream.notes.set(keyOf(config), { ...stream.note, answered: true });
    }
    return settled(going, config, {
      metadata: sends && hadMetadata ? own.metadata : undefined,
      id: sends && hadId ? own.id : undefined,
    });
  }

  /** Asks the methods in their order; the first that finds a Struct counts, else an id, and what it found changes together. */
  private publish(stream: StreamModel, headers: HeaderPair[], side: string, methods: string[]) {
    const { config } = stream.root;
    const answers = methods.map((method) => ({
      method,
      ...(method === 'endpoint_metadata' ? atEndpoint(this.endpoint) : find(method, headers, config)),
    }));
    const found = answers.find(({ struct }) => struct) ?? answers.find(({ id }) => id);
    if (!found) return undefined;
    this.published++;
    const mode = verification(config);
    const parts: Record<string, Buffer | undefined> = {
      [side]: mode === 'require' ? undefined : found.struct,
      [`${side}_id`]: mode === 'require' || mode === 'enforce' ? undefined : found.id,
      [`${side}_verified`]: mode === 'off' ? undefined : UNVERIFIED,
    };
    if (side === 'downstream') stream.client = { struct: parts[side] };
    for (const [part, value] of Object.entries(parts)) {
      if (value) stream.filterState[PEER + part] = value;
      // A server always leaves an id, if an empty one.
      else if (part === 'upstream_id') stream.filterState[PEER + part] = Buffer.alloc(0);
      else if (this.severalWays) clear(stream, part);
    }
    if (this.severalWays) this.clearPlain(stream, side);
    for (const path of parts[side] ? plainOf(config) : []) {
      const text = publishedAt(parts[side] as Buffer, path, config);
      if (text) stream.filterState[`${PEER}${side}.${path}`] = Buffer.from(text);
    }
    const isAll = parts[side] && parts[`${side}_id`] && found.method === 'istio_headers';
    return isAll ? ('all of the headers' as const) : ('some' as const);
  }
}

const keyOf = ({ metadataHeader, idHeader }: Config) => JSON.stringify([metadataHeader, idHeader]);

/** Filter state cannot be deleted: what is cleared is there, and empty. */
function clear({ filterState }: StreamModel, part: string): void {
  if (filterState[PEER + part]?.length) filterState[PEER + part] = Buffer.alloc(0);
}

/** The first copy of a header that is not empty, or an empty one. */
function first(headers: HeaderPair[], wanted: string): string | undefined {
  const copies = headers.filter(([name]) => name === wanted).map(([, value]) => value);
  return copies.find((value) => value !== '') ?? copies[0];
}

/** Who a method finds: a Struct, an id, or nothing. */
function find(method: string, headers: HeaderPair[], config: Config): { struct?: Buffer; id?: Buffer } {
  const fitting = (value: string | undefined) => (value && value.length <= limitOf(config) ? value : undefined);
  if (method === 'baggage') {
    const list = fitting(joined(headers));
    return { struct: list === undefined ? undefined : readBaggage(list) };
  }
  const metadata = fitting(first(headers, config.metadataHeader));
  const id = fitting(firstMember(first(headers, config.idHeader) ?? ''));
  // biome-ignore lint/suspicious/noControlCharactersInRegex: that is what no id may have
  const isReadable = id !== undefined && isUtf8(bytesOf(id)) && !/[\x00-\x1f\x7f]/.test(id);
  return { struct: metadata && readMetadata(metadata), id: isReadable ? bytesOf(id) : undefined } as {
    struct?: Buffer;
  };
}

/** Who an endpoint is: workload, namespace, service, revision and cluster. */
export function atEndpoint(text: string): { struct?: Buffer; id?: Buffer } {
  const parts = text.split(';').slice(0, 5);
  if (parts.length < 5 || parts.every((part) => part === '')) return {};
  const [workload, namespace, service, revision, cluster] = parts.map((part) => bytesOf(part));
  const written = (fields: [string, Buffer, number?][]) => {
    const writer = protobuf.Writer.create();
    for (const [key, text, kind] of fields) if (text.length || kind) writeEntry(writer, key, kind ?? 3, text);
    return Buffer.from(writer.finish());
  };
  // In the order in which the filter writes, from the end.
  const labels = written([
    ['service.istio.io/canonical-revision', revision],
    ['service.istio.io/canonical-name', service],
  ]);
  const struct = written([
    ['LABELS', labels, 5],
    ['CLUSTER_ID', cluster],
    ['NAMESPACE', namespace],
    ['WORKLOAD_NAME', workload],
  ]);
  return { struct: whyRefused(struct) === undefined ? struct : undefined };
}

/** No connection of the fuzzer has certificates. */
const UNVERIFIED = Buffer.from('unverified');

export function verification({ fields }: Config): string {
  const { mode } = (fields.verify_peer ?? {}) as { mode?: string };
  return mode ?? 'off';
}

/** All copies of the baggage header as one list. */
function joined(headers: HeaderPair[]): string {
  const copies = headers.filter(([name, value]) => name === 'baggage' && value !== '');
  return copies.map(([, value]) => value).join(',');
}

/** Headers with our baggage, in place of what any workload said of itself there. */
function withBaggage(headers: HeaderPair[], own: string): HeaderPair[] {
  const earlier = withoutWorkload(joined(headers));
  const others = headers.filter(([name]) => name !== 'baggage');
  return [...others, ['baggage', earlier ? `${earlier},${own}` : own]];
}

/** Headers without what any workload said of itself, where anything else is left or not; as they are if it said nothing. */
function withoutOwnBaggage(headers: HeaderPair[]): HeaderPair[] {
  const [list, others] = [joined(headers), headers.filter(([name]) => name !== 'baggage')];
  const left = withoutWorkload(list);
  return left.length < list.length ? [...others, ['baggage', left]] : headers;
}

/** Whether a list leaves clusters out. */
export function skips({ fields }: Config, list: Method): boolean {
  const methods = (fields[list] ?? []) as { istio_headers?: { skip_external_clusters?: boolean } }[];
  return methods.some((method) => method.istio_headers?.skip_external_clusters);
}

/** All copies of the two headers gone, and ours in their place where we have any. */
function settled(headers: HeaderPair[], config: Config, own: Own): HeaderPair[] {
  const left = headers.filter(([name]) => name !== config.metadataHeader && name !== config.idHeader);
  if (own.metadata !== undefined) left.push([config.metadataHeader, own.metadata]);
  if (own.id !== undefined) left.push([config.idHeader, own.id]);
  return left;
}
