// SPDX-License-Identifier: Apache-2.0
import { type Document, isAlias, isCollection, LineCounter, type Node, parseAllDocuments } from 'yaml';
import { struct } from '../../testkit/struct.ts';

/** Finds plugin configurations in a file: the file itself, or those in resources of Envoy and Istio. */

// biome-ignore lint/suspicious/noExplicitAny: anybody's JSON
type Json = any;

/** A plugin configuration, as a proxy hands it to the module. */
export interface Found {
  /** What it is: `the file`, `Envoy's filter x, as Struct`, `WasmPlugin x`. */
  what: string;
  /** The line of the file that it stands at; undefined if that is the whole file. */
  line?: number;
  /** What the module gets. */
  bytes: Buffer;
  /** What the byte in a complaint counts in; undefined if that is nothing that one can show. */
  text?: string;
  /** The node that runs it, where the file says so. */
  node?: Json;
}

/** The types of Envoy's Wasm filters. */
export const WASM = /\/envoy\.extensions\.filters\.(http|network)\.wasm\.v3\.Wasm$/;
const OURS = /metadata[-_]exchange/;

/** Whether something is ours, by any of the names that a configuration gives it. */
export const isOurs = (...names: unknown[]) => OURS.test(JSON.stringify(names));

/** All plugin configurations of a file. Throws if it is YAML that nobody can read. */
export function configurationsIn(source: string): Found[] {
  // JSON comes first: a mistake in it is the module's to find, and YAML forgives some.
  const isJson = /^\s*[{[]/.test(source);
  const lines = new LineCounter();
  const documents = parseAllDocuments(source, { lineCounter: lines, logLevel: 'silent' });
  const broken = documents.flatMap(({ errors }) => errors)[0];
  const found = broken ? [] : documents.flatMap((document) => configurationsOf(document, lines));
  if (found.length > 0) return found.some(({ isOurs }) => isOurs) ? found.filter(({ isOurs }) => isOurs) : found;
  if (isJson || source.trim() === '') return [{ what: 'the file, as JSON', ...asText(source) }];
  if (broken) throw new Error(broken.message);
  if (documents.length > 1) throw new Error('several YAML documents, and no Wasm filter or WasmPlugin in them');
  return [{ what: 'the file, as YAML', ...asText(JSON.stringify(documents[0].toJS())) }];
}

const asText = (text: string) => ({ bytes: Buffer.from(text), text });

interface Candidate extends Found {
  isOurs: boolean;
}

/** A plugin configuration in JSON of Envoy's or Istio's. */
export interface Filter extends Pick<Found, 'what' | 'bytes' | 'text'> {
  /** Whether the filter is this project's. */
  isOurs: boolean;
  /** Whether it is a filter of connections, and not of requests. */
  isNetwork: boolean;
  /** Where the configuration stands. */
  path: (string | number)[];
}

/** All plugin configurations in JSON. */
export function* filtersIn(json: Json, path: (string | number)[] = []): Generator<Filter> {
  if (json === null || typeof json !== 'object') return;
  if (json.kind === 'WasmPlugin') {
    const { metadata, spec = {} } = json;
    const text = spec.pluginConfig === undefined ? '' : JSON.stringify(spec.pluginConfig);
    const what = `WasmPlugin ${metadata?.name ?? ''}`;
    const isNetwork = spec.type === 'NETWORK';
    yield {
      path: [...path, 'spec', 'pluginConfig'],
      isOurs: isOurs(spec.pluginName, spec.url),
      isNetwork,
      what,
      ...asText(text),
    };
  } else if (WASM.test(json['@type'])) {
    const { config = {} } = json;
    const { configuration, name, root_id, rootId, vm_config, vmConfig } = config;
    const { form, ...content } = contentOf(configuration);
    const isNetwork = json['@type'].includes('.filters.network.');
    yield {
      path: [...path, 'config', 'configuration'],
      isOurs: isOurs(name, root_id, rootId, vm_config ?? vmConfig),
      isNetwork,
      what: `Envoy's filter ${name ?? ''}, ${form}`,
      ...content,
    };
  } else {
    for (const [key, value] of Object.entries(json)) {
      yield* filtersIn(value, [...path, Array.isArray(json) ? Number(key) : key]);
    }
  }
}

function configurationsOf(document: Document, lines: LineCounter): Candidate[] {
  const root: Json = document.toJS();
  return Array.from(filtersIn(root), ({ path, ...found }) => {
    const at = nodeAt(document, path)?.range?.[0];
    return { ...found, node: root.node, line: at === undefined ? undefined : lines.linePos(at).line };
  });
}

/** What Envoy hands the module of a `configuration`, which is a google.protobuf.Any. */
export function contentOf(any: Json): { form: string; bytes: Buffer; text?: string } {
  if (any === undefined || any === null) return { form: 'without a configuration', ...asText('') };
  const type = String(any['@type']).replace(/^.*[./]/, '');
  if (type === 'StringValue') return { form: 'as StringValue', ...asText(String(any.value ?? '')) };
  if (type === 'BytesValue') {
    const bytes = Buffer.from(String(any.value ?? ''), 'base64');
    return { form: 'as BytesValue', bytes, text: bytes.toString('utf8') };
  }
  if (type === 'Struct' || type === 'TypedStruct') {
    const value = any.value ?? {};
    return { form: `as ${type}`, bytes: struct.write(value), text: JSON.stringify(value) };
  }
  throw new Error(`a configuration of the type ${any['@type']}: it must be a StringValue, a Struct or a TypedStruct`);
}

/** What stands at a path, behind aliases. */
function nodeAt(document: Document, path: (string | number)[]): Node | undefined {
  let node: unknown = document.contents;
  for (const key of path) {
    if (isAlias(node)) node = node.resolve(document);
    if (!isCollection(node)) return undefined;
    node = node.get(key, true);
  }
  return (node ?? undefined) as Node | undefined;
}
