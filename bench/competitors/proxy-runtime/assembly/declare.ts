// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { proxy_call_foreign_function } from '@solo-io/proxy-runtime/assembly/imports';
import { Reference } from '@solo-io/proxy-runtime/assembly/runtime';

/**
 * Envoy's foreign function `declare_property`, which the SDK's classes do not know: its raw host call is used. The
 * arguments are a DeclarePropertyArguments: 1 name, 3 type, 4 schema, 5 span. All texts are shorter than 128 bytes.
 */

const STRUCT = 'type.googleapis.com/google.protobuf.Struct';

const STRING_TYPE: u8 = 1;
const PROTOBUF_TYPE: u8 = 3;
const DOWNSTREAM_REQUEST: u8 = 1;

export function declareStruct(name: string): void {
  declare(name, PROTOBUF_TYPE, STRUCT);
}

export function declareString(name: string): void {
  declare(name, STRING_TYPE, '');
}

function declare(name: string, type: u8, schema: string): void {
  const message = String.UTF8.encode(text(1, name) + number(3, type) + text(4, schema) + number(5, DOWNSTREAM_REQUEST));
  const functionName = String.UTF8.encode('declare_property');
  const result = new Reference<usize>();
  const resultSize = new Reference<usize>();
  // Declared already by another configuration in this VM: as good.
  proxy_call_foreign_function(
    changetype<usize>(functionName),
    functionName.byteLength,
    changetype<usize>(message),
    message.byteLength,
    result.ptr(),
    resultSize.ptr(),
  );
}

function text(field: u8, value: string): string {
  return String.fromCharCode((field << 3) | 2) + String.fromCharCode(value.length) + value;
}

function number(field: u8, value: u8): string {
  return String.fromCharCode(field << 3) + String.fromCharCode(value);
}
