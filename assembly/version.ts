// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

/** The version of package.json, which a test compares. */
export const VERSION = '0.1.0';
