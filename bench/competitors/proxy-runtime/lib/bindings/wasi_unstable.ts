// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

// AssemblyScript's library no longer declares WASI; @solo-io/proxy-runtime needs this one function to abort. The file's
// name is the module that it is imported from.

export declare function proc_exit(code: u32): void;
