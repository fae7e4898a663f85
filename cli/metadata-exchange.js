#!/usr/bin/env node
// SPDX-License-Identifier: Apache-2.0
// The bin of this package. Node 20 does not run TypeScript by itself: tsx does it.
import { register } from 'tsx/esm/api';

register();
const { main } = await import('./main.ts');
process.exitCode = await main(process.argv.slice(2));
