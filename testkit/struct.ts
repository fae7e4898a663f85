// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import type { StructModel, ValueModel } from './random.ts';

/** google.protobuf.Struct by protobufjs: what our own codecs are compared with. */

// biome-ignore lint/suspicious/noExplicitAny: protobufjs' objects, as its reflection makes them
type Message = any;

const common = protobuf.common.get('google/protobuf/struct.proto');
if (!common?.nested) throw new Error('protobufjs has no google/protobuf/struct.proto');
const Struct = protobuf.Root.fromJSON({ nested: common.nested }).lookupType('google.protobuf.Struct');

function toValue(json: unknown): Message {
  if (json === null) return { nullValue: 0 };
  if (typeof json === 'number') return { numberValue: json };
  if (typeof json === 'string') return { stringValue: json };
  if (typeof json === 'boolean') return { boolValue: json };
  if (Array.isArray(json)) return { listValue: { values: json.map(toValue) } };
  return { structValue: toStruct(json as object) };
}

function toStruct(json: object): Message {
  return { fields: Object.fromEntries(Object.entries(json).map(([key, value]) => [key, toValue(value)])) };
}

function fromValue(value: Message): unknown {
  switch (value.kind) {
    case 'nullValue':
      return null;
    case 'structValue':
      return fromStruct(value.structValue);
    case 'listValue':
      return value.listValue.values.map(fromValue);
    case undefined:
      throw new Error('a Value has no kind');
    default:
      return value[value.kind];
  }
}

function fromStruct(message: Message): Record<string, unknown> {
  return Object.fromEntries(Object.entries(message.fields).map(([key, value]) => [key, fromValue(value)]));
}

export const struct = {
  /** JSON to the bytes of a Struct. */
  write: (json: object): Buffer => Buffer.from(Struct.encode(Struct.fromObject(toStruct(json))).finish()),
  /** The bytes of a Struct to JSON; throws if they are not one. */
  read: (bytes: Uint8Array): Record<string, unknown> => fromStruct(Struct.decode(bytes)),
  /** JSON to what stands in the metadata header. */
  header: (json: object): string => struct.write(json).toString('base64'),
};

/** Whether protobufjs reads the bytes as a Struct, with a kind for every Value and finite numbers. */
export function protobufjsTakes(bytes: Uint8Array): boolean {
  try {
    return hasJsonForm({ structValue: Struct.decode(bytes) as unknown as StructModel });
  } catch {
    return false;
  }
}

function hasJsonForm(value: ValueModel): boolean {
  if (!value) return false;
  if ('structValue' in value && value.structValue) return Object.values(value.structValue.fields).every(hasJsonForm);
  if ('listValue' in value && value.listValue) return (value.listValue.values ?? []).every(hasJsonForm);
  if (Object.hasOwn(value, 'numberValue')) return Number.isFinite((value as { numberValue: number }).numberValue);
  return ['nullValue', 'stringValue', 'boolValue'].some((kind) => Object.hasOwn(value, kind));
}
