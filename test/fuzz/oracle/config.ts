// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { ROOT } from '../../../testkit/envoy/binary.ts';
import { attempt, fieldsOf, type Listed, Members, messages, toMembers, whyOwnRefused } from './struct.ts';

/** Which configurations are right, by docs/configuration.schema.json, JSON.parse and what README adds to the two. */

export interface Schema {
  $ref?: string;
  type?: string | string[];
  enum?: unknown[];
  pattern?: string;
  default?: unknown;
  minimum?: number;
  maximum?: number;
  items?: Schema;
  properties?: Record<string, Schema>;
}

const schema = JSON.parse(readFileSync(join(ROOT, 'docs/configuration.schema.json'), 'utf8'));
const isValid = new Ajv2020({ strict: true, allowUnionTypes: true }).compile(schema);

/** The schema of the whole configuration, and what a `$ref` in it means. */
export const configSchema: Schema = schema;
export function resolved(part: Schema): Schema {
  const name = part.$ref?.replace('#/$defs/', '');
  return name ? { ...schema.$defs[name], ...part } : part;
}

/** The four methods, by the lists that switch them on. */
export type Method = 'downstream_discovery' | 'upstream_discovery' | 'downstream_propagation' | 'upstream_propagation';
export const METHODS: Method[] = [
  'downstream_discovery',
  'upstream_discovery',
  'downstream_propagation',
  'upstream_propagation',
];

export interface Config {
  metadataHeader: string;
  idHeader: string;
  metadataKey: string;
  usesCluster: boolean;
  /** undefined: by listener direction. */
  methods?: Set<Method>;
  /** The methods of downstream_discovery and of upstream_discovery, in order. */
  discovers: string[];
  learns: string[];
  writesBaggage: boolean;
  answersBaggage: boolean;
  /** How the application is told who its client is; undefined: it is not. */
  application?: { header: string; fields: string[]; onlyVerified: boolean };
  /** Everything that was said, in snake_case, nulls left out. */
  fields: Record<string, unknown>;
}

/** What a field has if nothing is said of it, as the schema tells. */
export function defaultOf(name: string): unknown {
  return configSchema.properties?.[name]?.default;
}

const camelCase = (name: string) => name.replace(/_(.)/g, (_, letter: string) => letter.toUpperCase());
const SNAKE_CASE = new Map(
  [
    ...Object.keys(schema.properties),
    'istio_headers',
    'endpoint_metadata',
    'workload_discovery',
    'upstream_filter_state',
    'peer_metadata_key',
    'skip_external_clusters',
    'trust_domains',
    'max_series',
    'only_verified',
  ].map((name) => [camelCase(name), name] as const),
);

/** Objects whose fields have names of two forms, and may be null. */
const OBJECTS = ['.verify_peer', '.metrics', '.workload_discovery', '.tell_application'];

/** Methods that are taken and do nothing. */
const IDLE = ['workload_discovery', 'upstream_filter_state'];

/** What a configuration says; undefined if it must be refused. */
export function readConfig(bytes: Uint8Array): Config | undefined {
  if (bytes.length === 0) return configOf({});
  const isStruct = (each: Uint8Array) => each[0] === 0x0a && whyOwnRefused(each) === undefined;
  const inside = isStruct(bytes) ? undefined : typedStruct(bytes);
  if (inside?.length === 0) return configOf({});
  if (inside && !isStruct(inside)) return undefined;
  const listed = inside || isStruct(bytes) ? toMembers(inside ?? bytes) : parse(bytes);
  const json = listed === undefined ? undefined : plain(listed);
  if (json === undefined || !isValid(json)) return undefined;
  return configOf(json as Record<string, unknown>);
}

/** What a TypedStruct, or another message of a type's name and content, has as its content; undefined if it is none. */
function typedStruct(bytes: Uint8Array): Uint8Array | undefined {
  const fields = attempt(() => fieldsOf(bytes, 0));
  if (!fields?.every(({ number, type }) => type === 2 && (number === 1 || number === 2))) return undefined;
  const url = Buffer.from(messages(fields, 1).at(-1) ?? []).toString('latin1');
  return /^type\.googleapis\.com\/./s.test(url) ? (messages(fields, 2).at(-1) ?? new Uint8Array()) : undefined;
}

function configOf(json: Record<string, unknown>): Config | undefined {
  const fields = Object.fromEntries(Object.entries(json).filter(([, value]) => value !== null));
  const headers = (fields.headers ?? {}) as Record<string, string | null>;
  const isIstio = fields.dialect === 'istio';
  const named = (name: string, standard: string, istios: string) =>
    headers[name] && headers[name] !== standard ? headers[name] : isIstio && !headers[name] ? istios : standard;
  const metadataHeader = named('metadata', 'x-istio-peer-metadata', 'x-envoy-peer-metadata');
  const idHeader = named('id', 'x-istio-peer-id', 'x-envoy-peer-metadata-id');
  const application = applicationOf(fields);
  if (new Set([metadataHeader, idHeader, application?.header ?? '']).size < 3) return undefined;
  const lists = METHODS.filter((name) => fields[name]);
  const methodsIn = (name: Method) => ((fields[name] ?? []) as object[]).flatMap((each) => Object.keys(each));
  return {
    metadataHeader,
    idHeader,
    metadataKey: (fields.metadata_key as string) ?? 'istio.io/metadata',
    usesCluster: fields.node_key === 'cluster',
    methods: lists.length > 0 ? new Set(lists.filter((name) => methodsIn(name).includes('istio_headers'))) : undefined,
    discovers: methodsIn('downstream_discovery').filter((name) => !IDLE.includes(name)),
    learns: methodsIn('upstream_discovery').filter((name) => !IDLE.includes(name)),
    answersBaggage: methodsIn('downstream_propagation').includes('baggage'),
    writesBaggage: methodsIn('upstream_propagation').includes('baggage'),
    application,
    fields,
  };
}

function applicationOf({ tell_application, verify_peer }: Record<string, unknown>): Config['application'] {
  if (!tell_application) return undefined;
  const { header, fields, only_verified } = tell_application as Record<string, unknown>;
  const { mode } = (verify_peer ?? {}) as { mode?: string };
  return {
    header: (header as string) ?? 'x-client-workload',
    fields: (fields as string[]) ?? ['WORKLOAD_NAME', 'NAMESPACE'],
    onlyVerified: (only_verified as boolean) ?? (mode !== undefined && mode !== 'off'),
  };
}

/** JSON with its keys in snake_case and names of headers in lower case; undefined if a key is there twice. */
function plain(listed: Listed, path = ''): unknown {
  if (Array.isArray(listed)) {
    const elements = listed.map((each) => plain(each, `${path}[]`));
    return elements.includes(undefined) ? undefined : elements;
  }
  if (!(listed instanceof Members)) {
    const isName = ['.headers.metadata', '.headers.id', '.tell_application.header'].includes(path);
    return isName && typeof listed === 'string' ? listed.replace(/[A-Z]/g, (letter) => letter.toLowerCase()) : listed;
  }
  const object: Record<string, unknown> = Object.create(null);
  const nulls: string[] = [];
  for (const [key, value] of listed.list) {
    const isOurs =
      path === '' ||
      path.endsWith('[]') ||
      /\.(istio_headers|upstream_filter_state)$/.test(path) ||
      OBJECTS.includes(path);
    const name = (isOurs && SNAKE_CASE.get(key)) || key;
    if (Object.hasOwn(object, name)) return undefined;
    object[name] = plain(value, `${path}.${name}`);
    if (object[name] === undefined) return undefined;
    if (object[name] === null && (path === '' || path === '.headers' || OBJECTS.includes(path))) nulls.push(name);
  }
  // A field that is null is not there; one that nobody knows stays, to be refused.
  const known = path === '' ? configSchema.properties : configSchema.properties?.[path.slice(1)]?.properties;
  for (const name of nulls) if (known && Object.hasOwn(known, name)) delete object[name];
  return { ...object };
}

/** With the flag `u` a whole pair is one character. */
const HALF_PAIR = /[\ud800-\udfff]/u;
const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

/** A JSON text with every member that it has; undefined if it is none. Half a surrogate pair is none either. */
export function parse(bytes: Uint8Array): Listed | undefined {
  let text: string;
  try {
    text = decoder.decode(bytes);
    JSON.parse(text);
  } catch {
    return undefined;
  }
  // From here on the text is known to be well-formed.
  const tokens = text.match(/"(?:[^"\\]|\\.)*"|[{}[\]:,]|[^\s{}[\]:,"]+/g) ?? [];
  let at = 0;
  let isWhole = true;
  const value = (): Listed => {
    const token = tokens[at++];
    if (token === '[') {
      const list: Listed[] = [];
      while (tokens[at] !== ']') {
        list.push(value());
        if (tokens[at] === ',') at++;
      }
      at++;
      return list;
    }
    if (token === '{') {
      const members: [string, Listed][] = [];
      while (tokens[at] !== '}') {
        const key = value() as string;
        at++;
        members.push([key, value()]);
        if (tokens[at] === ',') at++;
      }
      at++;
      return new Members(members);
    }
    // A number with an exponent is none of ours: the module says that it is not whole.
    const scalar = JSON.parse(/^-?\d.*e/i.test(token) ? '0.5' : token);
    if (typeof scalar === 'string' && HALF_PAIR.test(scalar)) isWhole = false;
    return scalar;
  };
  const result = value();
  return isWhole ? result : undefined;
}
