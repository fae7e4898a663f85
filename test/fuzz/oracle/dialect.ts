// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { attempt, fieldsOf, kindOf, messages, NOTHING } from './struct.ts';

/** What Istio's native filter says of a node, said a second time: assembly/own/istio.ts, on maps instead of bytes. */

const [STRING, STRUCT] = [3, 5];
const PLAIN = ['NAME', 'NAMESPACE', 'WORKLOAD_NAME', 'CLUSTER_ID', 'IDENTITY'];
const LABELS: [from: string, to: string][] = [
  ['service.istio.io/canonical-name', 'service.istio.io/canonical-name'],
  ['service.istio.io/canonical-revision', 'service.istio.io/canonical-revision'],
  ['app', 'app'],
  ['version', 'version'],
  ['app.kubernetes.io/name', 'app'],
  ['app.kubernetes.io/version', 'version'],
];

/** The serialized Struct of a node's flat metadata; undefined if it has none, unless it is sent without any. */
export function native(node: Uint8Array, additional: string[], isSentEmpty: boolean): Uint8Array | undefined {
  const fields = fieldsOf(node, 0);
  const metadata = readStruct(messages(fields, 3).at(-1) ?? NOTHING);
  const out = new Map<string, Uint8Array>();
  const copy = (key: string) => {
    const text = find(metadata, key, STRING);
    if (text?.length) out.set(key, text);
  };
  PLAIN.forEach(copy);
  const owner = ownerOf(metadata);
  if (owner) out.set('OWNER', owner);
  const sent = find(metadata, 'LABELS', STRUCT);
  if (out.size === 0 && !sent && !isSentEmpty) return undefined;
  copy('REGION');
  copy('AVAILABILITY_ZONE');
  for (const [key, number] of [['REGION', 1] as const, ['AVAILABILITY_ZONE', 2] as const]) {
    let said: Uint8Array = NOTHING;
    for (const bytes of messages(fields, 4)) {
      const found = attempt(() => messages(fieldsOf(bytes, 1), number));
      said = found ? (found.at(-1) ?? said) : NOTHING;
    }
    if (!out.has(key) && said.length > 0) out.set(key, said);
  }

  const labels = new Map<string, Uint8Array>();
  const known = readStruct(sent ?? NOTHING);
  for (const [from, to] of [...additional.map((name) => [name, name] as const), ...LABELS]) {
    const text = find(known, from, STRING);
    if (text?.length) labels.set(to, text);
  }
  const writer = protobuf.Writer.create();
  for (const [key, text] of out) writeEntry(writer, key, STRING, text);
  const inner = protobuf.Writer.create();
  for (const [key, text] of labels) writeEntry(inner, key, STRING, text);
  writeEntry(writer, 'LABELS', STRUCT, inner.finish());
  return writer.finish();
}

const textOf = (metadata: Map<string, Uint8Array>, key: string) =>
  Buffer.from(find(metadata, key, STRING) ?? NOTHING).toString('latin1');

/** The type of workload that OWNER names, if Istio knows it. */
export function ownerTypeOf(metadata: Map<string, Uint8Array>): string | undefined {
  const [owner, workload] = [textOf(metadata, 'OWNER'), textOf(metadata, 'WORKLOAD_NAME')];
  const before = owner.slice(0, Math.max(0, owner.length - workload.length - 2));
  return /\/(deployment|pod|job|cronjob)$/.exec(before)?.[1];
}

/** The namespace that OWNER names. */
export function ownerNamespaceOf(metadata: Map<string, Uint8Array>): Uint8Array | undefined {
  const [, ...rest] = textOf(metadata, 'OWNER').split('/namespaces/');
  const namespace = rest.length > 0 ? rest.join('/namespaces/').split('/')[0] : '';
  return namespace === '' ? undefined : Buffer.from(namespace, 'latin1');
}

function ownerOf(metadata: Map<string, Uint8Array>): Uint8Array | undefined {
  const type = ownerTypeOf(metadata);
  if (!type) return undefined;
  const [namespace, workload] = [textOf(metadata, 'NAMESPACE'), textOf(metadata, 'WORKLOAD_NAME')];
  return Buffer.from(`kubernetes://apis/apps/v1/namespaces/${namespace}/${type}s/${workload}`, 'latin1');
}

/** The entries of a Struct: keys, as bytes in a string, and serialized Values. None if it is malformed. */
export function readStruct(bytes: Uint8Array): Map<string, Uint8Array> {
  const read = attempt(() =>
    messages(fieldsOf(bytes, 1), 1).map((content): [string, Uint8Array] => {
      const entry = fieldsOf(content, 2);
      const key = Buffer.from(messages(entry, 1).at(-1) ?? NOTHING).toString('latin1');
      return [key, messages(entry, 2).at(-1) ?? NOTHING];
    }),
  );
  return new Map(read);
}

export { find as nativeField };

function find(struct: Map<string, Uint8Array>, key: string, kind: number): Uint8Array | undefined {
  const value = struct.get(Buffer.from(key).toString('latin1'));
  const found = value?.length ? kindOf(value) : undefined;
  return found?.kind === kind ? found.content : undefined;
}

/** Writes an entry of a Struct whose Value is of this kind. */
export function writeEntry(writer: protobuf.Writer, key: string, kind: number, content: Uint8Array): void {
  writer.uint32(0x0a).fork().uint32(0x0a).string(key).uint32(0x12).fork();
  writer
    .uint32((kind << 3) | 2)
    .bytes(content)
    .ldelim()
    .ldelim();
}
