// SPDX-License-Identifier: Apache-2.0
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, posix } from 'node:path';
import { ROOT } from '../testkit/envoy/binary.ts';
import { markdown } from '../testkit/tables.ts';
import { CONSUMERS, type Consumer, OLDEST } from './consumers.ts';
import { generate } from './generated.ts';

/**
 * Makes the table of docs/consume.md from tools/consumers.ts, or checks it: see generated.ts. A row must not say what
 * nobody runs: what it tells users to write stands in its folder, and a test proves it.
 */

const TESTS = 'test/envoy/consumers';

const tests = readdirSync(join(ROOT, TESTS))
  .map((file) => readFileSync(join(ROOT, TESTS, file), 'utf8'))
  .join('\n');

/** Why a row is not to be believed; nothing if it is. */
function problems({ id, folder, write }: Consumer): string[] {
  const names = ['envoy.yaml', 'stats_logger.yaml', 'server.yaml', 'reader.ts'];
  const files = names.map((file) => join(ROOT, 'envoy/consumers', folder, file));
  const shown = files
    .filter((file) => existsSync(file))
    .map((file) => readFileSync(file, 'utf8'))
    .join('\n');
  const missing = write.filter((text) => !shown.includes(text));
  return [
    ...missing.map((text) => `${id}: envoy/consumers/${folder} does not have: ${text}`),
    ...(tests.includes(`test(row('${id}')`) ? [] : [`${id}: no test under ${TESTS} proves it`]),
  ];
}

function row({ consumer, folder, peer, from, write, place, since, caveat }: Consumer): string[] {
  const source = from === 'both' ? 'either' : from;
  const code = write.map((text) => `\`${text}\``).join('<br>');
  const name = `[${consumer}](${posix.join('../envoy/consumers', folder)})`;
  return [name, peer, source, code, place, since ?? OLDEST, caveat ?? ''];
}

const found = CONSUMERS.flatMap(problems);
for (const problem of found) console.error(`tools/consumers.ts: ${problem}`);
if (found.length > 0) process.exitCode = 1;

const header = ['consumer', 'peer', 'from', 'what to write', 'where it stands', 'since', 'to know'];
generate('docs/consume.md', 'consumers', 'tools/consumers.ts', markdown([header, ...CONSUMERS.map(row)]));
