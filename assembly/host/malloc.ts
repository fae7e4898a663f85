// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { take } from '../memory/arena';

/**
 * Where the host puts what it answers: it calls this from inside a host call of ours that returns data.
 * 0 says that there is no room; Envoy then answers that host call with an error, and goes on.
 */
export function malloc(size: usize): usize {
  return take(size);
}
