// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Ascii, bytesOf, isText, sizeOf } from '../memory/ascii';
import { compare, Slice, slice } from '../memory/slice';
import * as names from './names';
import { Writer } from './protobuf';
import { closeText, findText } from './struct_fields';

/**
 * The field OWNER, what Kubernetes object a workload is, as Istio writes it (istio/proxy,
 * extensions/common/metadata_object.cc):
 *
 *     kubernetes://apis/apps/v1/namespaces/NAMESPACE/TYPEs/WORKLOAD
 */

const owner = slice(memory.data(8, 4));
const workload = slice(memory.data(8, 4));

const NAMESPACES: Ascii = '/namespaces/';

/** The type of workload that a Struct's OWNER names, if it is one of four: what stands before `s/WORKLOAD` at its end. */
export function typeOf(struct: Slice, type: Slice): bool {
  const size: u32 = findText(struct, names.WORKLOAD_NAME, workload) ? workload.size : 0;
  if (!findText(struct, names.OWNER, owner) || owner.size <= size + 2) return false;
  const end = owner.end() - size - 2;
  let at = end;
  while (at > owner.at && load<u8>(at - 1) != 0x2f) at--;
  if (at == owner.at) return false;
  type.set(at, <u32>(end - at));
  return isText(type, 'deployment') || isText(type, 'pod') || isText(type, 'job') || isText(type, 'cronjob');
}

/** The namespace that a Struct's OWNER names; false if it names none. */
export function namespaceOf(struct: Slice, namespace: Slice): bool {
  if (!findText(struct, names.OWNER, owner)) return false;
  const size: usize = sizeOf(NAMESPACES);
  for (let at = owner.at; at + size <= owner.end(); at++) {
    if (compare(at, bytesOf(NAMESPACES), size) != 0) continue;
    const begin = at + size;
    let end = begin;
    while (end < owner.end() && load<u8>(end) != 0x2f) end++;
    namespace.set(begin, <u32>(end - begin));
    return namespace.size > 0;
  }
  return false;
}

/** Writes OWNER. */
export function putOwner(writer: Writer, namespace: Slice, type: Slice, workload: Slice): void {
  const end = writer.head;
  writer.bytes(workload.at, workload.size);
  put(writer, 's/');
  writer.bytes(type.at, type.size);
  put(writer, '/');
  writer.bytes(namespace.at, namespace.size);
  put(writer, 'kubernetes://apis/apps/v1/namespaces/');
  closeText(writer, bytesOf(names.OWNER), sizeOf(names.OWNER), end);
}

function put(writer: Writer, text: Ascii): void {
  writer.bytes(bytesOf(text), sizeOf(text));
}
