// SPDX-License-Identifier: Apache-2.0
// Copyright the metadata-exchange authors

import { receive } from '../host/grpc';
import { startOver } from '../memory/arena';
import { Ascii } from '../memory/ascii';
import { Slice, slice } from '../memory/slice';
import { Text } from '../memory/text';
import * as metrics from '../metrics/metrics';
import { DISCOVERY_REFUSED } from '../metrics/table';
import { hasControlCharacter, isUtf8 } from '../wire/utf8';
import { newWorkload, readResource, UID } from '../wire/workload';
import { CUT, Field, MALFORMED, NONCE, REMOVED, RESOURCES } from '../wire/xds';
import { Holdings } from './holdings';
import { Source } from './source';
import { forget, takeIn } from './workloads';

/**
 * A response of the server, read in windows out of the host's buffer: 35 MB of workloads need 64 KiB here. What does not
 * decode is refused by itself, and everything else in the response counts.
 */

const WINDOW: u32 = 65536;
/** The largest field that fits into a window for certain, with its tag and its length. */
const LARGEST_FIELD: u32 = WINDOW - 20;
const LONGEST_NONCE: u32 = 512;
const PROBLEM_ROOM: u32 = 192;

const window = slice(memory.data(8, 4));
const content = slice(memory.data(8, 4));
const field = changetype<Field>(memory.data(16, 4));
const workload = newWorkload();
const nonceBytes = memory.data(512);
const problemBytes = memory.data(192);
const problemLine = changetype<Text>(memory.data(12, 4));

/** What there is to say to a response. */
@unmanaged
export class Verdict {
  /** The response's nonce; size 0: it has none, or one that is too long to be said again. */
  nonce: Slice;
  /** The first thing that was wrong; size 0: nothing was. */
  problem: Slice;

  /** Notes what is wrong with what has this name; the first one is kept. */
  refuse(name: Slice, problem: Ascii): void {
    metrics.count(DISCOVERY_REFUSED);
    if (this.problem.size > 0) return;
    problemLine.open(problemBytes, PROBLEM_ROOM);
    problemLine.addQuoted(name);
    problemLine.add(' ');
    problemLine.add(problem);
    this.problem.set(problemLine.at, problemLine.size);
  }
}

const verdict = changetype<Verdict>(memory.data(8, 4));
verdict.nonce = slice(memory.data(8, 4));
verdict.problem = slice(memory.data(8, 4));
const noName = slice(memory.data(8, 4));

/** Takes in a response of `size` bytes that is being received. */
export function readResponse(source: Source, holdings: Holdings, size: u32): Verdict {
  verdict.nonce.set(0, 0);
  verdict.problem.set(0, 0);
  let position: u32 = 0;
  while (position < size) {
    startOver();
    const wanted = min(WINDOW, size - position);
    if (!receive(position, wanted, window)) {
      verdict.refuse(noName, 'the response cannot be read');
      return verdict;
    }
    const read = readWindow(source, holdings, position + wanted == size);
    if (read == 0) return verdict;
    position += read;
  }
  return verdict;
}

/** Reads the fields of a window; the answer is how many bytes are done with, 0 if there is no going on. */
function readWindow(source: Source, holdings: Holdings, isLast: bool): u32 {
  let at = window.at;
  while (at < window.end()) {
    const result = field.read(at, window.end());
    if (result == MALFORMED || (result == CUT && isLast)) {
      verdict.refuse(noName, 'the response is malformed');
      return 0;
    }
    // The same wherever it stands: what is larger may still fit into a window that begins with it, or may not.
    const isTooLarge = field.size > LARGEST_FIELD;
    // A window begins with it next time.
    if (result == CUT && !isTooLarge) return <u32>(at - window.at);
    if (isTooLarge) {
      verdict.refuse(noName, 'a resource is larger than 64 KiB');
      return <u32>(field.at - window.at) + field.size;
    }
    content.set(field.at, field.size);
    take(source, holdings);
    at = content.end();
  }
  return window.size;
}

function take(source: Source, holdings: Holdings): void {
  if (field.number == RESOURCES) {
    let problem = readResource(content, workload);
    if (!problem) problem = takeIn(source, holdings, workload);
    if (problem) verdict.refuse(workload.text(UID), problem);
  } else if (field.number == REMOVED) {
    forget(source, holdings, content);
  } else if (field.number == NONCE && content.size <= LONGEST_NONCE) {
    if (!isUtf8(content.at, content.end()) || hasControlCharacter(content.at, content.end())) return;
    memory.copy(nonceBytes, content.at, content.size);
    verdict.nonce.set(nonceBytes, content.size);
  }
}
