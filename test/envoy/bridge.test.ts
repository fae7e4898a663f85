// SPDX-License-Identifier: Apache-2.0
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ROOT } from '../../tools/envoy/binary.ts';
import { lua, proxy } from '../../tools/envoy/config.ts';
import { Envoy } from '../../tools/envoy/process.ts';
import { send } from '../support/http.ts';
import { randomBytes, randomStruct, seeded } from '../support/random.ts';
import { struct } from '../support/struct.ts';
