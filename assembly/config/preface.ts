// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { isText } from '../memory/ascii';
import { slice } from '../memory/slice';
import * as json from '../wire/json';
import { REFUSED, readText, refuse } from './reader';

/**
 * The field `preface`: to whom a connection says who we are (tcp.ts). A preface in an application's own bytes breaks it.
 * So a server answers those that sent one, and a client sends one only where it knows that it will be read.
 */

/** To clients that sent one; to no server. */
export const ANSWER: i32 = 0;
/** To clients that sent one, and to servers whose endpoint's metadata say that they read it. */
export const ENDPOINT: i32 = 1;
/** To everybody. */
export const ALWAYS: i32 = 2;

const text = slice(memory.data(8, 4));

/** Reads the field: ANSWER, ENDPOINT or ALWAYS; REFUSED, with the reason in the log. */
export function readPreface(): i32 {
  const offset = json.offset();
  if (!readText(text)) return REFUSED;
  if (isText(text, 'answer')) return ANSWER;
  if (isText(text, 'endpoint_metadata')) return ENDPOINT;
  if (isText(text, 'always')) return ALWAYS;
  refuse(offset, 'must be "answer", "endpoint_metadata" or "always"');
  return REFUSED;
}
