// SPDX-License-Identifier: Apache-2.0

/** Reading Envoy's configuration as JSON, in either spelling of its fields. */

// biome-ignore lint/suspicious/noExplicitAny: anybody's JSON
export type Json = any;

const camelCase = (name: string) => name.replaceAll(/_([a-z0-9])/g, (_, letter) => letter.toUpperCase());

/** What stands at a path of fields; files may have `httpFilters` in place of `http_filters`. */
export function field(json: Json, ...path: string[]): Json {
  let at = json;
  for (const name of path) {
    if (at === null || typeof at !== 'object') return undefined;
    at = at[name] ?? at[camelCase(name)];
  }
  return at ?? undefined;
}

/** The same for a list: an empty one where there is none. */
export function list(json: Json, ...path: string[]): Json[] {
  const found = field(json, ...path);
  return Array.isArray(found) ? found : [];
}

/** The same for an object whose keys are names of somebody's, such as a `typed_per_filter_config`. */
export function entries(json: Json, ...path: string[]): [string, Json][] {
  const found = field(json, ...path);
  return found !== null && typeof found === 'object' && !Array.isArray(found) ? Object.entries(found) : [];
}

/** The same for a text: an empty one where there is none. */
export const text = (json: Json, ...path: string[]) => asText(field(json, ...path));

/** The same for a list of texts. */
export const texts = (json: Json, ...path: string[]) => list(json, ...path).map(asText);

const asText = (json: Json) => (typeof json === 'object' || json === undefined ? '' : String(json));

/** The name of an Any's message, without the address before it. What is in a TypedStruct counts. */
export function typeOf(any: Json): string {
  return (isWrapped(any) ? text(any, 'type_url') : text(any, '@type')).replace(/^.*\//, '');
}

/** The fields of an Any, which may be in a TypedStruct. */
export const messageOf = (any: Json): Json => (isWrapped(any) ? (field(any, 'value') ?? {}) : any);

const isWrapped = (any: Json) => /\.TypedStruct$/.test(text(any, '@type'));

/** A duration of protobuf's in seconds. */
export function seconds(duration: Json): number | undefined {
  const found = /^(\d+(?:\.\d+)?)s$/.exec(asText(duration));
  return found ? Number(found[1]) : undefined;
}

/** All strings of a JSON value, keys too, each with the keys that lead to it. */
export function* strings(json: Json, path: string[] = []): Generator<[string, string[]]> {
  if (typeof json === 'string') yield [json, path];
  if (json === null || typeof json !== 'object') return;
  for (const [key, value] of Object.entries(json)) {
    if (!Array.isArray(json)) yield [key, path];
    yield* strings(value, Array.isArray(json) ? path : [...path, key]);
  }
}
