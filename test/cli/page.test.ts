// SPDX-License-Identifier: Apache-2.0
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Lexer, type Tokens } from 'marked';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ROOT } from '../../testkit/envoy/binary.ts';
import type { Example } from '../support/consumers.ts';
import { startIstioMetrics } from '../support/istio_metrics.ts';

/** docs/cli.md: its commands are typed, and print what it shows. Times and rates are other ones each time. */

const NOT_TYPED = '<!-- not typed by test/cli/page.test.ts';

/** A block of commands, and the block below it: what they print. */
function examples(): [commands: string, shown: string][] {
  const tokens = new Lexer()
    .lex(readFileSync(join(ROOT, 'docs/cli.md'), 'utf8'))
    .filter(({ type }) => type !== 'space');
  return tokens.flatMap((token, i) => {
    const { type, lang, text } = token as Tokens.Code;
    if (type !== 'code' || lang !== 'sh' || tokens[i - 1].raw.startsWith(NOT_TYPED)) return [];
    const next = tokens[i + 1] as Tokens.Code;
    expect(next.lang, `what is printed by ${text}`).toBe('text');
    return [[text, next.text] as [string, string]];
  });
}

let example: Example;
let load: Promise<void>;
let isOver = false;
beforeAll(async () => {
  example = await startIstioMetrics();
  for (let i = 0; i < 40; i++) {
    await example.send('productpage', { path: i % 8 ? '/' : '/broken' });
    if (i % 4 === 0) await example.send('loadtest', {});
  }
  await example.send('reviews', {});
  await sleep(500);
});
afterAll(async () => {
  isOver = true;
  await load;
  await example[Symbol.asyncDispose]();
});

/** Requests that go on while a rate is measured. */
async function callOn(): Promise<void> {
  for (let i = 0; !isOver; i++) {
    await example.send('productpage', { path: i % 8 ? '/' : '/broken' });
    if (i % 4 === 0) await example.send('loadtest', {});
    await sleep(60);
  }
}

/** Without what is another time each time, and the spaces that make room for it. */
function steady(text: string): string {
  return text
    .replaceAll(/(?<= )(\d+\.\d\/s)( +)([\d.]+%)/g, 'RATE$2ERRORS')
    .replaceAll(/[\d.]+ m?s\b/g, 'TIME')
    .replaceAll(/ {2,}(?=\S)/g, '  ');
}

// In the page's order that which needs a rate comes first: totals have to be counted before.
const inOrder = examples().sort(([a], [b]) => Number(/map 127/.test(a)) - Number(/map 127/.test(b)));

test.each(inOrder)('%s', async (commands, shown) => {
  if (commands.includes('map 127')) load = callOn();
  const typed = commands.replaceAll('127.0.0.1:15000', example.envoy.adminAddress());
  const child = spawn('bash', ['-c', `exec 2>&1\n${typed}`], { cwd: ROOT, stdio: ['ignore', 'pipe', 'inherit'] });
  let printed = '';
  child.stdout.setEncoding('utf8').on('data', (chunk) => {
    printed += chunk;
  });
  await once(child, 'close');
  expect(steady(printed.trimEnd())).toBe(steady(shown));
});
