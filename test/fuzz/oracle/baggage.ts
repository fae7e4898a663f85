// SPDX-License-Identifier: Apache-2.0
import protobuf from 'protobufjs';
import { nativeField, ownerTypeOf, readStruct, writeEntry } from './dialect.ts';
import { whyRefused } from './struct.ts';

/** W3C baggage as the filter reads and writes it, said a second time. Headers are bytes, one character each. */

const [STRING, STRUCT] = [3, 5];
const FIELDS: Record<string, string> = {
  'k8s.namespace.name': 'NAMESPACE',
  'k8s.cluster.name': 'CLUSTER_ID',
  'k8s.instance.name': 'NAME',
  'cloud.region': 'REGION',
  'cloud.availability_zone': 'AVAILABILITY_ZONE',
};
const LABELS: Record<string, string> = {
  'service.name': 'service.istio.io/canonical-name',
  'service.version': 'service.istio.io/canonical-revision',
  'app.name': 'app',
  'app.version': 'version',
};

/** What is said once stands for both. */
const TWINS = [
  ['service.istio.io/canonical-name', 'app'],
  ['service.istio.io/canonical-revision', 'version'],
];

/** A member of a baggage list: key and value without spaces around them. */
function memberOf(text: string): [key: string, value: string] | undefined {
  const [, key, value] = /^[ \t]*([^=]*?)[ \t]*=[ \t]*(.*?)[ \t]*$/s.exec(text.split(';')[0]) ?? [];
  return key === undefined ? undefined : [key, value];
}

const WORKLOAD = /^k8s\.(deployment|pod|job|cronjob)\.name$/;

/** Whether a member is one of those that say who a workload is. */
export function isOurs(text: string): boolean {
  const key = memberOf(text)?.[0];
  return key !== undefined && (WORKLOAD.test(key) || Object.hasOwn(FIELDS, key) || Object.hasOwn(LABELS, key));
}

/** A list without the members that say who a workload is. */
export function withoutWorkload(list: string): string {
  if (list === '') return '';
  // Nothing stands behind a comma at the end.
  const members = list.endsWith(',') ? list.slice(0, -1).split(',') : list.split(',');
  let left = '';
  for (const member of members.filter((each) => !isOurs(each))) left += left ? `,${member}` : member;
  return left;
}

/**
 * What a baggage header says of a workload, as a serialized Struct; undefined if it says nothing, or has a key twice: then
 * it says something of two.
 */
export function readBaggage(header: string): Buffer | undefined {
  const fields = new Map<string, string>();
  const labels = new Map<string, string>();
  const seen = new Set<string>();
  let type = '';
  for (const member of header.split(',')) {
    const [key = '', text] = memberOf(member) ?? [];
    if (!text) continue;
    const value = text.replaceAll(/%([0-9A-Fa-f]{2})/g, (_, hex) => String.fromCharCode(Number.parseInt(hex, 16)));
    const workload = WORKLOAD.exec(key);
    const name = workload ? 'WORKLOAD_NAME' : key;
    if (workload || Object.hasOwn(FIELDS, key) || Object.hasOwn(LABELS, key)) {
      if (seen.has(name)) return undefined;
      seen.add(name);
    }
    if (workload) {
      type = workload[1];
      fields.set('WORKLOAD_NAME', value);
    } else if (Object.hasOwn(FIELDS, key)) fields.set(FIELDS[key], value);
    else if (Object.hasOwn(LABELS, key)) labels.set(LABELS[key], value);
  }
  if (fields.size === 0 && labels.size === 0) return undefined;
  if (type) {
    const [namespace, workload] = [fields.get('NAMESPACE') ?? '', fields.get('WORKLOAD_NAME')];
    fields.set('OWNER', `kubernetes://apis/apps/v1/namespaces/${namespace}/${type}s/${workload}`);
  }
  for (const [one, other] of [...TWINS, ...TWINS.map(([one, other]) => [other, one])]) {
    if (labels.has(one)) labels.set(other, labels.get(other) ?? (labels.get(one) as string));
  }
  // In the order in which the filter writes, from the end.
  const bytes = (text: string) => Buffer.from(text, 'latin1');
  const order = (names: string[], from: Map<string, string>) =>
    names.filter((name) => from.has(name)).map((name) => [name, bytes(from.get(name) as string)] as const);
  const writer = protobuf.Writer.create();
  for (const [key, text] of order(['AVAILABILITY_ZONE', 'REGION', 'OWNER'], fields))
    writeEntry(writer, key, STRING, text);
  const inner = protobuf.Writer.create();
  for (const [key, text] of order(Object.values(LABELS).reverse(), labels)) writeEntry(inner, key, STRING, text);
  writeEntry(writer, 'LABELS', STRUCT, inner.finish());
  const plain = ['CLUSTER_ID', 'WORKLOAD_NAME', 'NAMESPACE', 'NAME'];
  for (const [key, text] of order(plain, fields)) writeEntry(writer, key, STRING, text);
  const struct = Buffer.from(writer.finish());
  return whyRefused(struct) === undefined ? struct : undefined;
}

/** A Struct as baggage. */
export function writeBaggage(struct: Uint8Array): string {
  const fields = readStruct(struct);
  const labels = readStruct(nativeField(fields, 'LABELS', STRUCT) ?? new Uint8Array());
  const field = (name: string) => nativeField(fields, name, STRING);
  const label = (name: string) => nativeField(labels, name, STRING);
  const unlike = (name: string, twin: string) => {
    const [text, said] = [label(name), label(twin)];
    return text && said && Buffer.from(text).equals(said) ? undefined : text;
  };
  const members: [string, Uint8Array | undefined][] = [
    [`k8s.${ownerTypeOf(fields) ?? 'pod'}.name`, field('WORKLOAD_NAME')],
    ['service.name', label('service.istio.io/canonical-name')],
    ['app.name', unlike('app', 'service.istio.io/canonical-name')],
    ['service.version', label('service.istio.io/canonical-revision')],
    ['app.version', unlike('version', 'service.istio.io/canonical-revision')],
    ...Object.entries(FIELDS).map(([key, name]) => [key, field(name)] as [string, Uint8Array | undefined]),
  ];
  const hex = (byte: number) => `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
  const encoded = (text: Uint8Array) =>
    [...text]
      .map((byte) =>
        byte > 0x20 && byte < 0x7f && !'"%,;\\'.includes(String.fromCharCode(byte))
          ? String.fromCharCode(byte)
          : hex(byte),
      )
      .join('');
  return members.flatMap(([key, text]) => (text?.length ? [`${key}=${encoded(text)}`] : [])).join(',');
}
