// SPDX-License-Identifier: Apache-2.0

/** Why the module refuses a header: the counter `metadata_exchange_refused_…` that it adds to. */
export type Counter = 'base64' | 'protobuf' | 'utf8' | 'control' | 'no_json_form' | 'nesting';

/** A header that the module refuses: why, and where. */
export class Broken extends Error {
  constructor(
    readonly counter: Counter,
    /** A byte of the header's value; where base64 is not the problem, of what it says. */
    readonly at: number,
    reason: string,
  ) {
    super(reason);
  }
}
