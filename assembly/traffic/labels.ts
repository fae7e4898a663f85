// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { Traffic } from '../config/traffic';
import { name } from '../host/names';
import { hashOf } from '../memory/hash';
import { Slice, slice } from '../memory/slice';
import { findText } from '../wire/path';

/**
 * What of a workload's Struct becomes labels of metrics, and by what two workloads are told apart: a hash of just these
 * texts. Two pods of one deployment have the same.
 */

/** The labels of a workload, in the order in which they are written. */
export const WORKLOAD: u32 = 0;
export const NAMESPACE: u32 = 1;
export const SERVICE: u32 = 2;
export const REVISION: u32 = 3;
export const APP: u32 = 4;
export const VERSION: u32 = 5;
export const CLUSTER: u32 = 6;
export const LABELS: u32 = 7;

const WORKLOAD_NAME: Slice = name('WORKLOAD_NAME');
const NAMESPACE_NAME: Slice = name('NAMESPACE');
const CANONICAL_NAME: Slice = name('LABELS.service.istio.io/canonical-name');
const CANONICAL_REVISION: Slice = name('LABELS.service.istio.io/canonical-revision');
const APP_LABEL: Slice = name('LABELS.app');
const VERSION_LABEL: Slice = name('LABELS.version');
const CLUSTER_ID: Slice = name('CLUSTER_ID');
const LATEST: Slice = name('latest');

/**
 * Finds a label of a workload; `text` is of size 0 if it has none. As in Istio, a service without a revision has the
 * latest. Where Istio's own labels are missing, `app` and `version`, or the workload's name, stand for them.
 */
export function find(struct: Slice, number: u32, text: Slice): bool {
  if (number == WORKLOAD) return findText(struct, WORKLOAD_NAME, text);
  if (number == NAMESPACE) return findText(struct, NAMESPACE_NAME, text);
  if (number == CLUSTER) return findText(struct, CLUSTER_ID, text);
  if (number == SERVICE) {
    if (findText(struct, CANONICAL_NAME, text) || findText(struct, APP_LABEL, text)) return true;
    return findText(struct, WORKLOAD_NAME, text);
  }
  if (number == APP) return findText(struct, APP_LABEL, text) || findText(struct, CANONICAL_NAME, text);
  const isThere =
    number == REVISION
      ? findText(struct, CANONICAL_REVISION, text) || findText(struct, VERSION_LABEL, text)
      : findText(struct, VERSION_LABEL, text) || findText(struct, CANONICAL_REVISION, text);
  if (!isThere && number == REVISION && find(struct, SERVICE, text)) text.copy(LATEST);
  return text.size > 0;
}

const text = slice(memory.data(8, 4));

/** Structs that were seen lately: their hash, and that of their labels. */
const SEEN: u32 = 256;
const seen = memory.data(4096, 8); // SEEN * 16

/** The hash of a workload's labels, and of those that the configuration adds; never 0. */
export function hashOfLabels(struct: Slice, traffic: Traffic): u64 {
  const seed = traffic.seed;
  const whole = hashOf(struct, seed);
  const at = seen + ((<u32>whole & (SEEN - 1)) << 4);
  if (load<u64>(at) == whole) return load<u64>(at, 8);
  let hash = seed;
  for (let number: u32 = 0; number < LABELS; number++) {
    find(struct, number, text);
    hash = hashOf(text, hash);
  }
  let label = traffic.labels;
  while (label) {
    findText(struct, label.path, text);
    hash = hashOf(text, hash);
    label = label.next;
  }
  hash |= 1;
  store<u64>(at, whole);
  store<u64>(at, hash, 8);
  return hash;
}
