// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// The runtime that @solo-io/proxy-runtime was written for counted references; today's collects garbage. What the host
// fills must stay until it is taken.

export function __retain(ptr: usize): usize {
  return __pin(ptr);
}

export function __release(ptr: usize): void {
  __unpin(ptr);
}
